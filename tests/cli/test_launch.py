# How the program is started: help, version, launchers that MPI does not understand, info.
# timeout: 200
"""The command line without training: FAULTS 49, and `orthant info`."""
import fcntl
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

import h5py
import numpy as np

ORTHANT = os.environ["ORTHANT"]
MPIRUN = shlex.split(os.environ.get("ORTHANT_MPIRUN", "mpirun --oversubscribe"))
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "sample-train.h5")
ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
LAUNCHER = ("SLURM_", "PMI", "OMPI_COMM", "OMPI_UNIVERSE")


def run(arguments, ranks=1, extra=None, **options):
    command = [*MPIRUN, "-n", str(ranks), *arguments] if ranks > 1 else arguments
    plain = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER)}
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60,
                          env={**plain, **ROOT, **(extra or {})},
                          **{"stdout": subprocess.PIPE, **options})


def table(text):
    return {line[:22].strip(): line[22:].strip() for line in text.splitlines()}


class Launch(unittest.TestCase):
    def test_version_names_every_library(self):
        for ranks in 1, 3:
            result = run([ORTHANT, "--version"], ranks)
            self.assertEqual(result.returncode, 0)
            lines = result.stdout.splitlines()
            self.assertRegex(lines[0], r"^orthant \d+\.\d+\.\d+")
            names = [line.split(":")[0] for line in lines[1:]]
            self.assertEqual(names, ["compiler", "MPI", "HDF5", "BLAS", "kernels"])

    def core_type(self, extra=None, ranks=1):
        """What --version says of the BLAS kernels: the core type in use, and why."""
        result = run([ORTHANT, "--version"], ranks, extra)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        blas = next(l for l in result.stdout.splitlines() if l.startswith("BLAS: "))
        if "DYNAMIC_ARCH" not in blas:
            self.skipTest("no BLAS here that chooses kernels when it is loaded")
        return re.search(r"core type (\w+) \((.*)\)$", blas).groups()

    def test_blas_kernels_suit_the_processor(self):
        clean = {"OPENBLAS_CORETYPE": "", "ORTHANT_BLAS_CORE": ""}
        with open("/proc/cpuinfo", encoding="ascii") as file:
            text = file.read()
        core, why = self.core_type(clean)
        if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= set(text.split()):
            half = "AuthenticAMD" in text and re.search(r"cpu family\s*: 25\b", text)
            self.assertIn(core, ["Haswell"] if half else
                          ["SkylakeX", "Cooperlake", "SapphireRapids"])
        self.assertEqual(self.core_type(clean, 2), (core, why))
        # What was chosen once is not chosen again, whatever the library made of it.
        own = self.core_type({"ORTHANT_BLAS_CORE": "Haswell", "OPENBLAS_CORETYPE": ""})[0]
        self.assertEqual("asked for by orthant" in why, own != core)

    def test_the_users_blas_kernels_are_left_alone(self):
        core, why = self.core_type({"OPENBLAS_CORETYPE": "SANDYBRIDGE", "ORTHANT_BLAS_CORE": ""})
        self.assertEqual((core.lower(), why), ("sandybridge", "OPENBLAS_CORETYPE=SANDYBRIDGE"))

    def test_the_program_keeps_its_name_and_arguments(self):
        """Where it starts itself again for other BLAS kernels, as where it does not."""
        arguments = ["train", "--help", "a b\tc"]
        # Its help is longer than the pipe: when the first byte has come it waits to write the others.
        end, to = os.pipe()
        fcntl.fcntl(to, fcntl.F_SETPIPE_SZ, 4096)
        with open(end, "rb") as said, subprocess.Popen([ORTHANT, *arguments], stdout=to) as process:
            os.close(to)
            text = os.read(end, 1)
            with open(f"/proc/{process.pid}/comm", encoding="utf-8") as file:
                self.assertEqual(file.read().strip(), os.path.basename(ORTHANT)[:15])
            with open(f"/proc/{process.pid}/cmdline", "rb") as file:
                self.assertEqual(file.read().decode().split("\0")[1:-1], arguments)
            text += said.read()
        self.assertEqual(process.returncode, 0)
        self.assertGreater(len(text), 8192)

    def test_help(self):
        for arguments in ["--help"], ["-h"], ["help"]:
            result = run([ORTHANT, *arguments])
            self.assertEqual(result.returncode, 0)
            for word in "VERB", "info", "75 stopped early":
                self.assertIn(word, result.stdout)
        result = run([ORTHANT, "info", "--help"])
        for word in "info FILE", "--stats", "--verify", "--dataset NAME [default: activations]":
            self.assertIn(word, result.stdout)

    def test_help_of_train_lists_every_key(self):
        result = run([ORTHANT, "train", "--help"])
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        for line in ["  model.k: an integer >= 1 and at most 2147483647 [default: 32]",
                     "  topafa.target: centred | raw [default: centred]",
                     "  log.codes: true or false [default: false]"]:
            self.assertIn(line, result.stdout.splitlines())
        self.assertIn("--resume", result.stdout)

    def test_more_threads_than_processors(self):
        processors = len(os.sched_getaffinity(0))
        result = run([ORTHANT, "info", DATA], extra={"OMP_NUM_THREADS": str(processors + 1)})
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(f"orthant: warning: {processors + 1} threads take turns on {processors} "
                      "processor", result.stderr)
        self.assertIn(f"; set OMP_NUM_THREADS={processors}\n", result.stderr)
        result = run([ORTHANT, "info", DATA], extra={"OMP_NUM_THREADS": str(processors)})
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_threads_on_one_core(self):
        """Fault 50: all threads bound to one core, while others stay idle."""
        processors = sorted(os.sched_getaffinity(0))
        if len(processors) < 2:
            self.skipTest("there is one processor")
        bound = ["taskset", "-c", str(processors[1]), ORTHANT, "info", DATA]
        result = run(bound, extra={"OMP_NUM_THREADS": "2"})
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stderr, "orthant: warning: ranks of 2 threads are bound to 1 core "
                                        "each and [0-9]+ cores? of the node stay idle; use .*PE=")

    def test_tasks_that_mpi_did_not_join(self):
        """Fault 49: N processes that each see one rank. The first speaks, all return 7."""
        step = {"SLURM_JOB_ID": "5", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "4",
                "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0"}
        result = run([ORTHANT, "info", DATA], extra=step)
        self.assertEqual(result.returncode, 7)
        self.assertEqual(len(result.stderr.splitlines()), 1)
        self.assertIn("started 4 processes", result.stderr)
        self.assertIn("srun --mpi=pmix", result.stderr)
        result = run([ORTHANT, "info", DATA], extra={**step, "SLURM_PROCID": "2"})
        self.assertEqual((result.returncode, result.stderr), (7, ""))
        result = run([ORTHANT, "info", DATA], extra={"PMI_SIZE": "3", "PMI_RANK": "0"})
        self.assertEqual(result.returncode, 7)
        self.assertIn("started 3 processes", result.stderr)

    def test_one_process_inside_a_job_is_in_order(self):
        job = {"SLURM_JOB_ID": "5", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}
        result = run([ORTHANT, "info", DATA], extra=job)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("orthant: warning: runs on one rank", result.stderr)
        one = {**job, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1"}
        result = run([ORTHANT, "info", DATA], extra=one)
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_another_executable_on_one_rank(self):
        """Fault 52."""
        with tempfile.TemporaryDirectory(prefix="orthant-test-") as folder:
            other = shutil.copy(ORTHANT, os.path.join(folder, "orthant"))
            with open(other, "ab") as file:
                file.write(b"another build")
            command = [*MPIRUN, "-n", "2", ORTHANT, "info", DATA, ":", "-n", "1", other, "info",
                       DATA]
            result = run(command)
            errors = [l for l in result.stderr.splitlines() if l.startswith("orthant: error:")]
            self.assertEqual(len(errors), 1, result.stderr)
            self.assertIn("rank 2 runs another executable", errors[0])
            self.assertEqual(result.returncode, 7)

    def test_results_that_cannot_be_written(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            result = run([ORTHANT, "info", DATA], stdout=full)
        self.assertEqual(result.returncode, 4)
        self.assertIn("standard output", result.stderr)


class Info(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="orthant-test-")
        self.path = os.path.join(self.folder.name, "a.h5")

    def tearDown(self):
        self.folder.cleanup()

    def test_sample(self):
        for ranks in 1, 3:
            result = run([ORTHANT, "info", DATA], ranks)
            self.assertEqual(result.returncode, 0, result.stderr)
            found = table(result.stdout)
            for label, value in {"kind": "activations", "rows": "16384", "width": "384",
                                 "type": "float16", "layout": "contiguous", "layer": "4",
                                 "hook": "hidden_states[4]"}.items():
                self.assertEqual(found[label], value)
            self.assertNotIn("mean norm", found)

    def test_stats(self):
        x = np.random.default_rng(0).normal(0.25, 1.5, (1001, 48)).astype("f4")
        x[:, 7] *= 40
        x[5] = 0
        x[17, 3], x[900, 0] = np.nan, np.inf
        with h5py.File(self.path, "w") as file:
            file.create_dataset("x", data=x, chunks=(64, 48), fletcher32=True)
        good = x[np.isfinite(x).all(1)].astype("f8")
        for ranks in 1, 3:
            result = run([ORTHANT, "info", self.path, "--dataset", "x", "--stats", "--verify"],
                         ranks)
            self.assertEqual(result.returncode, 0, result.stderr)
            found = table(result.stdout)
            self.assertEqual(found["layout"], "chunks of 64 rows")
            np.testing.assert_allclose(float(found["mean norm"]),
                                       np.linalg.norm(good, axis=1).mean(), rtol=1e-8)
            np.testing.assert_allclose(float(found["mean"]), good.mean(), rtol=1e-8)
            np.testing.assert_allclose(float(found["std"]), good.std(), rtol=1e-8)
            self.assertEqual(found["zero rows"], "1")
            self.assertEqual(found["rows with NaN or Inf"], "2, the first is row 17")
            self.assertRegex(found["outlier dimensions"], r"^1 with .*: 7 \((39|40)\.\dx\)$")
            self.assertIn("checksums", found)

    def test_a_wrong_checksum(self):
        with h5py.File(self.path, "w") as file:
            file.create_dataset("activations", data=np.ones((4096, 64), "f4"), chunks=(256, 64),
                                fletcher32=True)
            chunk = file["activations"].id.get_chunk_info(9)
        with open(self.path, "r+b") as file:
            file.seek(chunk.byte_offset + 100)
            file.write(b"\x55")
        for ranks in 1, 3:
            result = run([ORTHANT, "info", self.path, "--verify"], ranks)
            errors = [l for l in result.stderr.splitlines() if l.startswith("orthant: error:")]
            self.assertEqual(len(errors), 1, result.stderr)
            self.assertIn(self.path, errors[0])
            self.assertEqual(result.returncode, 5)

    def test_checkpoint(self):
        folder = os.path.join(self.folder.name, "run")
        config = os.path.join(self.folder.name, "c.yaml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"run: {{dir: '{folder}', steps: 3}}\ndata: {{files: '{DATA}'}}\n"
                       "model: {n_latent: 100, k: 4}\ntrain: {batch: 64}\n")
        result = run([ORTHANT, "train", config, "--quiet"], 2)
        self.assertEqual(result.returncode, 0, result.stderr)
        newest = os.path.join(folder, "checkpoints", "step-000000003.h5")
        for ranks, path in (1, newest), (3, newest), (1, folder):
            result = run([ORTHANT, "info", path, "--verify"], ranks)
            self.assertEqual(result.returncode, 0, result.stderr)
            found = table(result.stdout)
            for label, value in {"kind": "checkpoint, format version 1", "step": "3",
                                 "tokens seen": "192", "n_latent": "100", "d_model": "384",
                                 "optimizer state": "yes", "checksums": "all are right"}.items():
                self.assertEqual(found[label], value)
            self.assertIn("    n_latent: 100\n", result.stdout)
        with h5py.File(newest) as file:
            offset = file["model/W_dec"].id.get_offset()
        with open(newest, "r+b") as file:
            file.seek(offset + 40 * 384 * 4)
            file.write(b"\x55\xaa")
        for ranks in 1, 3:
            result = run([ORTHANT, "info", newest, "--verify"], ranks)
            errors = [l for l in result.stderr.splitlines() if l.startswith("orthant: error:")]
            self.assertEqual(len(errors), 1, result.stderr)
            self.assertIn("W_dec", errors[0])
            self.assertEqual(result.returncode, 5)

    def test_what_cannot_be_shown(self):
        with open(os.path.join(self.folder.name, "step-000000001.h5"), "wb") as file:
            file.write(b"\x89HDF\r\n\x1a\n" + bytes(500))
        for arguments, code, word in [
                (["missing.h5"], 3, "missing.h5"), ([self.folder.name], 3, "folder"),
                ([DATA, "--dataset", "nothing"], 3, "activations, documents"),
                (["step-000000001.h5"], 5, "step-000000001.h5")]:
            with self.subTest(arguments=arguments):
                result = run([ORTHANT, "info", *arguments], cwd=self.folder.name)
                self.assertEqual(result.returncode, code, result.stderr)
                self.assertIn(word, result.stderr)


if __name__ == "__main__":
    sys.exit(not unittest.main(verbosity=1, exit=False).result.wasSuccessful())
