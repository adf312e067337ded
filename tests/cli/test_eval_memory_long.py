# labels: long
# timeout: 600
"""The memory of an evaluation, latents included, and of probes does not depend on the number of
tokens: one small file, listed many times, is a table of millions."""
import os
import subprocess
import sys
import unittest

import h5py
import numpy as np

import support

WIDTH, LATENTS, ROWS = 16, 64, 50_000
# Runs a command and prints its peak resident bytes.
MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(code)
"""


@unittest.skipIf(float(os.environ.get("ORTHANT_TEST_PATIENCE", "1")) > 1,
                 "an instrumented build needs more memory")
class EvaluationMemory(support.Case):
    def peak(self, *arguments):
        done = subprocess.run([sys.executable, "-c", MEASURE, support.ORTHANT, *arguments],
                              env={**os.environ, **support.ENVIRONMENT, "OMP_NUM_THREADS": "1"},
                              capture_output=True, text=True, timeout=500, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return int(done.stdout)

    def setUp(self):
        super().setUp()
        data = support.write_activations(self.path("a.h5"),
                                         support.tokens(ROWS, WIDTH).astype("f2"))
        config = self.write_config(run__dir=self.path("run"), run__steps=20, data__files=data,
                                   model__n_latent=LATENTS, model__k=4, train__batch=4096)
        self.assertEqual(support.run(["train", config, "--quiet"]).code, 0)
        self.data = data

    def test_flat(self):
        data = self.data
        peaks = [self.peak("eval", self.path("run"), "--data", *[data] * times, "--json",
                           self.path("out.json"), "--latents", self.path("latents.json"))
                 for times in (1, 8, 80)]
        print("50 thousand, 400 thousand and 4 million tokens:",
              ", ".join(f"{peak / 2**20:.1f} MiB" for peak in peaks))
        # Quantiles: 8 bytes a token until there are 2^20, then bins; 8 MiB either way.
        self.assertLess(peaks[2], peaks[0] + (12 << 20))
        self.assertLess(peaks[2], peaks[1] + (8 << 20))

    def test_probes(self):
        """Labels come with each batch, codes stay within --memory."""
        peaks, labels = [], self.path("labels.h5")
        for times in (8, 80):
            with h5py.File(labels, "w") as file:
                random = np.random.default_rng(times)
                file["labels"] = random.integers(0, 2, (times * ROWS, 1), np.int8)
            peaks.append(self.peak("probe", self.path("run"), "--data", *[self.data] * times,
                                   "--labels", labels, "--memory", "2^23"))
        print("400 thousand and 4 million labelled tokens:",
              ", ".join(f"{peak / 2**20:.1f} MiB" for peak in peaks))
        # A byte for each label would be 3.4 MiB more.
        self.assertLess(peaks[1], peaks[0] + (2 << 20))


if __name__ == "__main__":
    unittest.main()
