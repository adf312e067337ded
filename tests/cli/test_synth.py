# orthant synth: the file holds what was asked for, the same from any number of ranks; bad options
# are refused with exit code 2, an unwritable place with 4.
import os
import stat
import subprocess
import tempfile
import unittest

import h5py
import numpy as np

ORTHANT = os.environ["ORTHANT"]


def run(arguments, ranks=1):
    launcher = ["mpirun", "--oversubscribe", "-n", str(ranks)] if ranks > 1 else []
    return subprocess.run(launcher + [ORTHANT, "synth"] + arguments, capture_output=True,
                          text=True, timeout=100)


def error_lines(result):
    return [line for line in result.stderr.splitlines() if line.startswith("orthant: error:")]


class Synth(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def test_file(self):
        options = ["--tokens", "2^9", "--d-model", "24", "--latents", "40", "--active", "3",
                   "--noise", "0", "--seed", "7"]
        made = {}
        for ranks in (1, 3):
            for kind in ("float32", "float16"):
                name = self.path(f"{kind}-{ranks}.h5")
                result = run(["--out", name, "--dtype", kind] + options, ranks)
                self.assertEqual(result.returncode, 0, result.stderr)
                with h5py.File(name) as file:
                    self.assertEqual(file["activations"].dtype, np.dtype(kind))
                    self.assertIsNone(file["activations"].chunks)
                    made[kind, ranks] = file["activations"][:], file["dictionary"][:]
        for kind in ("float32", "float16"):
            for one, three in zip(made[kind, 1], made[kind, 3]):
                self.assertTrue(np.array_equal(one, three))
        tokens, truth = made["float32", 1]
        self.assertEqual((tokens.shape, truth.shape), ((512, 24), (40, 24)))
        self.assertTrue(np.array_equal(made["float16", 1][0], tokens.astype("f2")))
        self.assertLess(abs(np.linalg.norm(truth, axis=1) - 1).max(), 1e-6)
        # Of one active latent, a token is its positive multiple.
        name = self.path("one.h5")
        result = run(["--out", name, "--dtype", "f32", "--tokens", "50", "--active", "1",
                      "--noise", "0"])
        self.assertEqual(result.returncode, 0, result.stderr)
        with h5py.File(name) as file:
            tokens, truth = file["activations"][:], file["dictionary"][:]
        cosine = (tokens / np.linalg.norm(tokens, axis=1, keepdims=True)) @ truth.T
        self.assertGreater(cosine.max(axis=1).min(), 1 - 1e-5)

    def refused(self, arguments, code, *says, ranks=1):
        result = run(arguments, ranks)
        self.assertEqual(result.returncode, code, result.stderr)
        lines = error_lines(result)
        self.assertEqual(len(lines), 1, result.stderr)
        for text in says:
            self.assertIn(text, lines[0])

    def test_refusals(self):
        out = self.path("x.h5")
        for ranks in (1, 3):
            self.refused([], 2, "--out", ranks=ranks)
            self.refused(["--out", out, "--latents", "4", "--active", "5"], 2, "active",
                         ranks=ranks)
            self.refused(["--out", out, "--dtype", "int8"], 2, "int8", "bfloat16", ranks=ranks)
            self.refused(["--out", self.path("no/x.h5")], 4, "no/x.h5", "No such file",
                         ranks=ranks)
            pipe = self.path("pipe%d" % ranks)
            os.mkfifo(pipe)
            self.refused(["--out", pipe], 4, "pipe", ranks=ranks)
            self.assertTrue(stat.S_ISFIFO(os.stat(pipe).st_mode))
        self.refused(["--out", out, "--tokens", "-3"], 2, "tokens")
        self.refused(["--out", out, "--noise", "nan"], 2, "noise")
        self.assertFalse(os.path.exists(out))


if __name__ == "__main__":
    unittest.main()
