"""What the tests of the command line share: start orthant at any number of ranks, read what it
says, write small activation files, read checkpoints."""
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import h5py
import numpy as np

ORTHANT = os.environ["ORTHANT"]
LAUNCHER = shlex.split(os.environ.get("ORTHANT_MPIRUN", "mpirun --oversubscribe --bind-to none"))
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
    "OMPI_MCA_mpi_yield_when_idle": "1",  # other tests run at the same time
}
# Seconds. Nothing in these tests takes so long unless it hangs, on a machine that does ten other
# things as well, or under a sanitizer.
TIMEOUT = 200 * int(os.environ.get("ORTHANT_TEST_PATIENCE", "1"))


EACH = "a rank's exit code: "


class Result:
    """How a run ended: the exit code (of every rank, where each was asked), what it printed."""

    def __init__(self, code, stdout, stderr, ranks):
        lines = stderr.splitlines()
        codes = [int(line[len(EACH):]) for line in lines if line.startswith(EACH)]
        if len(codes) == ranks and code == 0:
            assert len(set(codes)) == 1, f"exit codes {codes}:\n{stderr}"
            code = codes[0]
        self.code, self.stdout, self.stderr = code, stdout, stderr
        self.lines = [line for line in lines if line.startswith("orthant:")]
        self.errors = [line for line in self.lines if line.startswith("orthant: error:")]
        self.warnings = [line for line in self.lines if line.startswith("orthant: warning:")]


def fast_folder():
    """Where files go: a disk's fsync would be most of the time of these tests."""
    try:
        room = os.statvfs("/dev/shm")
        if room.f_bavail * room.f_frsize > 2**30 and os.access("/dev/shm", os.W_OK):
            return "/dev/shm"
    except OSError:
        pass
    return None


class Running:
    """A started run. `ranks` 1 starts the program itself, without a launcher. `prefix`: words
    before the whole command; `launcher`: words in place of mpirun's. `err`: a descriptor that takes
    stderr instead of `said`. `each`: ask every rank for its exit code; mpirun tells the first one's
    only, and ends the other ranks after it, which would hide a rank that hangs."""

    all = []  # those that may still run

    def __init__(self, arguments, ranks=1, env=None, cwd=None, prefix=(), launcher=None,
                 err=None, each=False):
        command = [ORTHANT, *map(str, arguments)]
        if launcher is not None:
            command = [*launcher, *command]
        elif ranks > 1:
            each_rank = ["sh", "-c", f'"$@"; echo "{EACH}$?" >&2', "sh"] if each else []
            command = [*LAUNCHER, "-n", str(ranks), *each_rank, *command]
        command = [*prefix, *command]
        self.command, self.ranks = command, ranks
        self.out, self.err = (tempfile.TemporaryFile("w+", errors="backslashreplace")
                              for _ in range(2))
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.out, stderr=err or self.err,
            cwd=cwd, env={**os.environ, **ENVIRONMENT, **(env or {})}, start_new_session=True)
        Running.all.append(self)

    def said(self):
        """What it has said so far. It may go on, and the file's position is the run's too: reading
        must not move it."""
        size = os.fstat(self.err.fileno()).st_size
        return os.pread(self.err.fileno(), size, 0).decode(errors="backslashreplace")

    def kill(self):
        if self.process.poll() is not None:
            return
        for pid in [*self.pids().values(), self.process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()

    def wait(self, timeout=None):
        """The result; a run that takes too long is ended and fails the test."""
        try:
            code = self.process.wait(timeout or TIMEOUT)
        except subprocess.TimeoutExpired:
            alive = sorted(self.pids())
            self.kill()
            said = self.said()
            self.close()
            raise AssertionError(f"hangs (ranks {alive} are alive): {shlex.join(self.command)}\n"
                                 f"{said}") from None
        self.out.seek(0)
        result = Result(code, self.out.read(), self.said(), self.ranks)
        self.close()
        return result

    def close(self):
        self.out.close()
        self.err.close()
        Running.all.remove(self)

    def pids(self):
        """{rank: pid} of the program's processes that run now."""
        if self.ranks == 1 and self.command[0] == ORTHANT:
            return {0: self.process.pid} if self.process.poll() is None else {}
        found, parents = {}, {}
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/stat") as file:
                    parents[int(name)] = int(file.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
        for pid in parents:
            above = pid
            while above in parents and above != self.process.pid:
                above = parents[above]
            if above != self.process.pid or pid == above:
                continue
            try:
                if not os.path.samefile(f"/proc/{pid}/exe", ORTHANT):
                    continue
                with open(f"/proc/{pid}/environ", "rb") as file:
                    variables = dict(item.split(b"=", 1) for item in file.read().split(b"\0")
                                     if b"=" in item)
            except OSError:
                continue
            rank = variables.get(b"OMPI_COMM_WORLD_RANK", variables.get(b"PMI_RANK"))
            if rank is not None:
                found[int(rank)] = pid
        return found

    def wait_for(self, condition, what, timeout=None):
        end = time.monotonic() + (timeout or TIMEOUT)
        while True:
            over = self.process.poll() is not None
            if condition():
                return
            if over:
                raise AssertionError(f"ended before {what}:\n{self.said()}")
            if time.monotonic() > end:
                self.kill()
                raise AssertionError(f"no {what}:\n{self.said()}")
            time.sleep(0.005)  # and not less: the ranks need the processors

    def wait_for_ranks(self):
        """{rank: pid} once all are there."""
        found = {}

        def there():
            found.update(self.pids())
            return len(found) == self.ranks

        self.wait_for(there, f"{self.ranks} ranks")
        return found

    def wait_for_step(self, run_dir, step):
        """Wait until metrics.jsonl has this step."""
        path = os.path.join(run_dir, "metrics.jsonl")

        def there():
            try:
                with open(path) as file:
                    return json.loads(file.read().split("\n")[-2])["step"] >= step
            except (OSError, IndexError):
                return False

        self.wait_for(there, f"step {step}")


def run(arguments, ranks=1, timeout=None, **options):
    """Run to the end; see Running."""
    return Running(arguments, ranks, each=True, **options).wait(timeout)


def metrics(path, torn=False):
    """The objects of a metrics file, or of that in a run directory. `torn`: it is being written,
    and may end in half a line."""
    if os.path.isdir(path):
        path = os.path.join(path, "metrics.jsonl")
    with open(path) as file:
        lines = file.read().split("\n")
    assert torn or lines[-1] == "", f"{path}: the last line is torn"
    return [json.loads(line) for line in lines[:-1]]


def steps(run_dir):
    """The steps of the checkpoints in a run directory."""
    folder = os.path.join(run_dir, "checkpoints")
    names = [name for name in sorted(os.listdir(folder)) if name.endswith(".h5")]
    return [int(name[len("step-"):-len(".h5")]) for name in names]


def checkpoint_path(run_dir, step):
    return os.path.join(run_dir, "checkpoints", f"step-{step:09d}.h5")


def checkpoint(path, step=None):
    """{name: array} of all datasets of a checkpoint but `config`, which names its run."""
    arrays = {}
    with h5py.File(checkpoint_path(path, step) if step is not None else path) as file:
        file.visititems(lambda name, item: arrays.update({name: item[()]})
                        if isinstance(item, h5py.Dataset) and "config" not in name else None)
    return arrays


def write_activations(path, values, name="activations", **options):
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=values, **options)
    return path


def tokens(rows, width, seed=0):
    """Activations with some structure: a few directions, noise and an offset."""
    random = np.random.default_rng(seed)
    directions = random.normal(size=(2 * width, width))
    code = random.exponential(size=(rows, 2 * width)) * (random.random((rows, 2 * width)) < 0.05)
    x = code @ directions + 0.1 * random.normal(size=(rows, width)) + random.normal(size=width)
    return x.astype("f4")


class Case(unittest.TestCase):
    """A test in a folder of its own, `self.folder`, which is the working folder of its runs."""

    maxDiff = None

    def setUp(self):
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix="orthant-", dir=fast_folder()))
        self.addCleanup(shutil.rmtree, self.folder)
        self.addCleanup(self.end_all)

    @staticmethod
    def end_all():
        """A test that failed may have left a run without end."""
        for running in list(Running.all):
            running.kill()
            running.close()

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def write_config(self, name="config.yaml", **keys):
        """A configuration of nested maps: write_config(model__k=4). JSON is YAML."""
        tree = {}
        for key, value in keys.items():
            section, leaf = key.split("__")
            tree.setdefault(section, {})[leaf] = value
        with open(self.path(name), "w") as file:
            json.dump(tree, file)
        return self.path(name)

    def check_failure(self, result, code, *words):
        """One error line, with these words, and this exit code."""
        self.assertEqual(result.code, code, result.stderr)
        self.assertEqual(len(result.errors), 1, result.stderr)
        for word in words:
            self.assertIn(str(word), result.errors[0])

    def check_success(self, result, code=0):
        self.assertEqual(result.code, code, result.stderr)
        self.assertEqual(result.errors, [], result.stderr)

    def check_equal(self, a, b):
        """Two results of `checkpoint` are the same bit for bit."""
        self.assertEqual(sorted(a), sorted(b))
        for name in a:
            self.assertEqual(a[name].tobytes(), b[name].tobytes(), name)
