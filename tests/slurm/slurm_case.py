"""What the tests of jobs/*.sbatch on a real SLURM share: a cluster for each class, small runs, and
the questions they ask about a job. The job scripts are the ones users call, unmodified: only
sbatch's options make the jobs small."""
import os
import signal
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.realpath(os.path.join(HERE, "..", ".."))
sys.path.insert(0, os.path.join(HERE, "..", "cli"))
sys.path.insert(0, HERE)

import cluster  # noqa: E402
import support  # noqa: E402

STEPS = 200
PAUSE = 30  # the step after which a run is held until something happens to it
CHANGING = ("time", "tokens_per_s", "phase")
# Two ranks on two nodes.
SPREAD = ("--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1")


SCALING_HEAD = ("threads n_latent batch ms/step tokens/s speed-up efficiency reduce "
                "exchange").split()


def stand_in(case, text):
    """A program of bash in Orthant's place; its path."""
    path = case.path("stand-in")
    with open(path, "w") as file:
        file.write(f"#!/usr/bin/env bash\n{text}\n")
    os.chmod(path, 0o755)
    return path


def scaling_rows(mode):
    """The first columns of the table of jobs/scaling.sbatch at 1 and 2 nodes of one rank each."""
    return [["1", "1", "1", "384", "256"],
            ["2", "2", "1", "768" if mode == "dictionary" else "384",
             "512" if mode == "batch" else "256"]]


def check_scaling(case, rows, run_dirs, steps=20, left_out=4):
    """The other columns, computed again from the metrics of the runs."""
    rates = []
    for row, run_dir in zip(rows, run_dirs, strict=True):
        lines = support.metrics(run_dir)
        case.assertEqual(len(lines), steps)
        a, b = lines[left_out - 1], lines[-1]
        seconds = b["time"] - a["time"]
        rates.append((b["tokens"] - a["tokens"]) / seconds)
        case.assertAlmostEqual(float(row[5]), 1000 * seconds / (steps - left_out), delta=0.06)
        case.assertAlmostEqual(float(row[6]), rates[-1], delta=0.51)
        speedup = rates[-1] * int(row[3]) / (rates[0] * int(rows[0][3]))
        case.assertAlmostEqual(float(row[7]), speedup, delta=0.0051)
        case.assertAlmostEqual(float(row[8].rstrip("%")),
                               100 * speedup * int(rows[0][0]) / int(row[0]), delta=0.051)
        for column, phase in ((9, "reduce"), (10, "exchange")):
            share = (b["phase"][phase] - a["phase"][phase]) / seconds
            case.assertAlmostEqual(float(row[column].rstrip("%")), 100 * share, delta=0.051)
        case.assertFalse(os.path.exists(os.path.join(run_dir, "checkpoints")))


def main():
    reason = cluster.missing()
    if reason:
        print(f"skipped: no SLURM here: {reason}")
        sys.exit(77)
    unittest.main()


def steady(lines):
    """Metrics without what a clock says."""
    return [{key: value for key, value in line.items() if key not in CHANGING} for line in lines]


class SlurmCase(support.Case):
    options = {}  # of the cluster

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Open MPI's shared memory takes two nodes of one host for one, and crashes.
        environment = {**support.ENVIRONMENT, "OMP_WAIT_POLICY": "passive",
                       "OMPI_MCA_btl": "tcp,self", "ORTHANT": support.ORTHANT}
        cls.cluster = cluster.Cluster(environment, **cls.options)
        cls.addClassCleanup(cls.cluster.stop)
        cls.cluster.start()

    def setUp(self):
        super().setUp()
        self.addCleanup(self.end_jobs)

    def end_jobs(self):
        """Before the folder goes. What the jobs said is told where a test failed."""
        self.cluster.command("scancel", "--user", str(os.getuid()), check=False)
        try:
            self.cluster.wait_for(
                lambda: not self.cluster.command("squeue", "-h", "-o", "%i", check=False),
                "end of the jobs")
        except AssertionError:
            cluster.kill(self.ranks())
            raise

    def config(self, name="run", **keys):
        defaults = {"run__dir": self.path(name), "run__steps": STEPS,
                    "data__files": os.path.join(support.DATA, "sample-train.h5"),
                    "model__n_latent": 384, "model__k": 8, "train__batch": 256, "train__lr": 1e-3,
                    "log__every": 1}
        return self.write_config(f"{name}.yaml", **{**defaults, **keys})

    def submit(self, script, *words, options=SPREAD, cwd=ROOT, **environment):
        """sbatch as a user calls it; the job's number. Its log is in this test's folder."""
        return self.cluster.command(
            "sbatch", "--parsable", f"--output={self.folder}/%x-%j.log", "--time=10", *options,
            os.path.join(ROOT, "jobs", script), *words, cwd=cwd, **environment)

    def log(self, job):
        """What a job said, in all of its starts."""
        found = [name for name in os.listdir(self.folder) if name.endswith(f"-{job}.log")]
        if not found:
            return ""
        with open(self.path(found[0]), errors="replace") as file:
            return file.read()

    def job(self, job):
        """{field: value} of scontrol show job."""
        text = self.cluster.command("scontrol", "--oneliner", "show", "job", job)
        return dict(word.split("=", 1) for word in text.split() if "=" in word)

    def wait_for_state(self, job, *states, timeout=None, **expected):
        """The job's fields once it is in one of these states and these fields are so."""
        end_states = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}

        def there():
            fields = self.job(job)
            if fields["JobState"] in states:
                return fields if expected.items() <= fields.items() else None
            if fields["JobState"] in end_states:
                raise AssertionError(f"job {job}: {fields['JobState']}, not {states}\n"
                                     f"{self.cluster.logs()}")
            return None

        try:
            return self.cluster.wait_for(there, f"{states} of job {job}", timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log(job)}") from None

    def check_ended(self, job, state="COMPLETED", code=0, restarts=0, timeout=None):
        fields = self.wait_for_state(job, state, timeout=timeout)
        self.assertEqual(fields["ExitCode"], f"{code}:0", self.log(job))
        self.assertEqual(fields["Restarts"], str(restarts), self.log(job))

    def check_requeued(self, job, restarts=1, timeout=None):
        """Back in the queue; then the two minutes' wait for the next start is over."""
        self.wait_for_state(job, "PENDING", timeout=timeout, Restarts=str(restarts),
                            Reason="BeginTime")

    def release(self, job):
        """In place of the two minutes that a requeued job waits. What a node hears of a job in the
        second in which it ended that job is void: the next start comes later."""
        time.sleep(2)
        self.cluster.command("scontrol", "update", f"JobId={job}", "StartTime=now")

    def ranks(self, job=None):
        """{pid: node} of the program's processes that run now, of one job or of all."""
        found = {}
        for pid in cluster.marked(self.cluster.folder):
            try:
                if not os.path.samefile(f"/proc/{pid}/exe", support.ORTHANT):
                    continue
                with open(f"/proc/{pid}/environ", "rb") as file:
                    variables = dict(item.decode(errors="replace").split("=", 1)
                                     for item in file.read().split(b"\0") if b"=" in item)
            except OSError:
                continue
            if job in (None, variables.get("SLURM_JOB_ID")):
                found[pid] = variables.get("SLURMD_NODENAME")
        return found

    def hold(self, job, run_dir, ranks=2, step=PAUSE):
        """Stop the ranks after this step, so that what comes next hits the middle of the run
        however busy the machine is. SLURM sends CONT before any signal of its own."""
        def there():
            try:
                return support.metrics(self.path(run_dir, "metrics.jsonl"),
                                       torn=True)[-1]["step"] >= step
            except (OSError, IndexError):
                if self.job(job)["JobState"] not in ("PENDING", "RUNNING"):
                    raise AssertionError(f"job {job} is over:\n{self.log(job)}") from None
                return False

        self.cluster.wait_for(there, f"step {step} of job {job}: {self.log(job)}")
        pids = self.ranks(job)
        self.assertEqual(len(pids), ranks, self.log(job))
        cluster.kill(pids, signal.SIGSTOP)
        return pids

    def check_undisturbed(self, run_dir, expected):
        """The same end, bit for bit, and each step once."""
        lines = support.metrics(self.path(run_dir))
        self.assertEqual([line["step"] for line in lines], list(range(1, STEPS + 1)))
        self.assertEqual(steady(lines), expected["metrics"])
        self.check_equal(support.checkpoint(self.path(run_dir), STEPS), expected["checkpoint"])

    def undisturbed(self, name="whole", options=SPREAD, **keys):
        """Metrics and checkpoint of a job that nothing happens to."""
        job = self.submit("train.sbatch", self.config(name, **keys), options=options)
        self.check_ended(job)
        return {"metrics": steady(support.metrics(self.path(name))),
                "checkpoint": support.checkpoint(self.path(name), STEPS)}
