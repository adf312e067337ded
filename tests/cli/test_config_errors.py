# What a wrong configuration or command line says and returns, at 1 and 3 ranks.
# timeout: 400
"""Each case: one line `orthant: error: ...` on stderr whatever the number of ranks, and the
documented exit code of every rank. FAULTS 45-47, 55 and 57 (YAML), and those of the command line."""
import os
import shlex
import subprocess
import sys
import tempfile
import unittest

ORTHANT = os.environ["ORTHANT"]
MPIRUN = shlex.split(os.environ.get("ORTHANT_MPIRUN", "mpirun --oversubscribe"))
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "sample-train.h5")
ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

GOOD = f"""run:
  dir: runs/never
  steps: 2
data:
  files: {DATA}
model:
  n_latent: 64
  k: 4
train:
  batch: 32
"""

# (what replaces what in GOOD, words that the error holds)
CASES = [
    # 45 unknown key: the nearest name
    (("  k: 4", "  kk: 4"), ["line 8", "unknown key 'model.kk'", "did you mean model.k?"]),
    (("train:", "trian:"), ["line 9", "unknown key 'trian'", "did you mean train?"]),
    # 46 ranges, NaN, empty strings: with the line
    (("  k: 4", "  k: 65"), ["line 8", "model.k", "65", "64"]),
    (("  k: 4", "  k: 0"), ["line 8", "model.k", "out of range", ">= 1"]),
    (("  batch: 32", "  lr: -1e-3"), ["line 10", "train.lr", "-1e-3", "out of range"]),
    (("  batch: 32", "  lr: .nan"), ["line 10", "train.lr", ".nan"]),
    (("  batch: 32", "  eps: nan"), ["line 10", "train.eps", "nan"]),
    (("  dir: runs/never", "  dir: ''"), ["line 2", "run.dir", "empty"]),
    (("  dir: runs/never", "  dir:"), ["line 2", "run.dir", "empty"]),
    (("  dir: runs/never\n", ""), ["run.dir is missing"]),
    ((f"  files: {DATA}", "  dataset: x"), ["data.files is missing"]),
    (("  steps: 2", "  steps: 2\n  tokens: 99"), ["line 4", "run.tokens", "run.steps"]),
    (("  k: 4", "  k: four"), ["line 8", "model.k", "'four'", "not a number"]),
    (("  k: 4", "  k: 4\n  k: 5"), ["line 9", "model.k", "twice", "line 8"]),
    (("  steps: 2", "  rollback: 0"), ["line 3", "run.rollback", "out of range"]),
    # 47 sizes beyond 2^31
    (("  n_latent: 64", "  n_latent: 4294967296"), ["line 7", "model.n_latent", "out of range"]),
    (("  batch: 32", "  batch: 2^40"), ["line 10", "train.batch", "out of range"]),
    (("  n_latent: 64", "  n_latent: 2^80"), ["line 7", "model.n_latent", "too large"]),
    # 57 malformed YAML: with the position
    (("  k: 4", " k: 4"), ["line 8", "malformed YAML"]),
    (("  k: 4", "  k: [4"), ["malformed YAML"]),
    (("  k: 4", "\tk: 4"), ["line 8", "malformed YAML"]),
    (("run:", "- run:"), ["line 1", "not a map"]),
    (("  k: 4", "  k: &a 4"), ["line 8", "anchors"]),
    (("  k: 4", "  k: {a: [[[["), ["line 8", "model.k"]),
]

# arguments after `orthant`; {c}: the good file
COMMANDS = [
    ([], ["no verb"]),
    (["tarin"], ["unknown verb 'tarin'", "info"]),
    (["info"], ["argument is missing"]),
    (["info", "a", "b"], ["'b'", "too many"]),
    (["info", "a", "--stat=3"], ["--stat=3"]),
    (["info", "a", "--data"], ["--data", "needs a value"]),
    (["train", "/nonexistent/x.yaml"], ["/nonexistent/x.yaml", "No such file"]),
    (["train", "{c}", "--set", "model.k=0"], ["--set", "model.k", "out of range"]),
    (["train", "{c}", "--set", "model.l=1"], ["--set", "unknown key 'model.l'", "model.k"]),
    (["train", "{c}", "--set", "model.k="], ["--set", "model.k", "empty"]),
    (["train", "{c}", "--set", "run.epochs=3"], ["run.epochs", "run.steps"]),
]

# 55 grids and sizes that do not fit, which depends on the number of ranks: {overrides: words}
GRIDS = [
    (3, ["grid.n_shard=2", "grid.n_group=2"], ["2", "3"]),
    (3, ["grid.n_shard=2"], ["2", "3"]),
    (1, ["grid.n_group=7"], ["7", "1"]),
]


class Errors(unittest.TestCase):
    def run_program(self, arguments, ranks, timeout=60):
        command = [ORTHANT, *arguments]
        if ranks > 1:
            command = [*MPIRUN, "-n", str(ranks), *command]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout,
                              env={**os.environ, **ROOT}, cwd=self.folder.name)

    def expect(self, arguments, ranks, code, words):
        result = self.run_program(arguments, ranks)
        errors = [line for line in result.stderr.splitlines() if line.startswith("orthant: error:")]
        self.assertEqual(len(errors), 1, result.stderr)
        for word in words:
            self.assertIn(word, errors[0])
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertFalse(os.path.exists(os.path.join(self.folder.name, "runs")))

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="orthant-test-")
        self.path = os.path.join(self.folder.name, "c.yaml")

    def tearDown(self):
        self.folder.cleanup()

    def write(self, text, name="c.yaml"):
        with open(os.path.join(self.folder.name, name), "w", encoding="utf-8") as file:
            file.write(text)

    def check_files(self, ranks):
        for (old, new), words in CASES:
            self.assertIn(old, GOOD)
            with self.subTest(new=new, ranks=ranks):
                self.write(GOOD.replace(old, new))
                self.expect(["train", "c.yaml"], ranks, 2, words + ([] if "missing" in words[0]
                                                                   else ["c.yaml"]))

    def check_commands(self, ranks):
        self.write(GOOD)
        for arguments, words in COMMANDS:
            with self.subTest(arguments=arguments, ranks=ranks):
                self.expect([a.replace("{c}", "c.yaml") for a in arguments], ranks, 2, words)

    def test_files_on_one_rank(self):
        self.check_files(1)

    def test_files_on_three_ranks(self):
        self.check_files(3)

    def test_commands_on_one_rank(self):
        self.check_commands(1)

    def test_commands_on_three_ranks(self):
        self.check_commands(3)

    def test_grids_that_do_not_fit(self):
        self.write(GOOD)
        for ranks, overrides, words in GRIDS:
            with self.subTest(ranks=ranks, overrides=overrides):
                self.expect(["train", "c.yaml", "--set", *overrides], ranks, 2, words)

    def test_bytes_that_are_no_text(self):
        with open(self.path, "wb") as file:
            file.write(b"run:\n  steps: 2\n\x00\xff\xfe\x80")
        for ranks in 1, 3:
            self.expect(["train", "c.yaml"], ranks, 2, ["line 3", "malformed YAML"])
        with open(self.path, "wb") as file:
            file.write(os.urandom(4096))
        self.expect(["train", "c.yaml"], 1, 2, ["c.yaml"])

    def test_nesting_bomb(self):
        self.write("[" * 500000)
        self.expect(["train", "c.yaml"], 1, 2, ["c.yaml", "line 1"])
        self.write("data:\n  files: " + "[" * 500000)
        self.expect(["train", "c.yaml"], 1, 2, ["c.yaml", "line 2"])

    def test_ranks_with_different_arguments(self):
        """Fault 52."""
        self.write(GOOD)
        result = subprocess.run(
            [*MPIRUN, "-n", "2", ORTHANT, "info", DATA, ":", "-n", "1", ORTHANT, "info", "other"],
            capture_output=True, text=True, timeout=60, env={**os.environ, **ROOT},
            cwd=self.folder.name)
        errors = [l for l in result.stderr.splitlines() if l.startswith("orthant: error:")]
        self.assertEqual(len(errors), 1, result.stderr)
        self.assertIn("rank 2 has other arguments than rank 0", errors[0])
        self.assertEqual(result.returncode, 7)


if __name__ == "__main__":
    sys.exit(not unittest.main(verbosity=1, exit=False).result.wasSuccessful())
