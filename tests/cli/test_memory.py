#!/usr/bin/env python3
# processors: 2
"""Peak resident memory of every rank while it trains at 12288 latents of 768 values and batches of
4096: at most its shard's parameters and moments and 10 %, where a clip may bind also gradients, 64
MiB, 24 bytes for each value of its tokens and 24 for each stored entry of a code.
timeout: 300"""

import os
import sys
import tempfile
import unittest

import h5py
import numpy as np

import support

LATENTS, WIDTH, BATCH, STEPS = 12288, 768, 4096, 2
# Runs a command and writes its peak resident bytes to the file of its rank.
MEASURE = """
import os, resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
rank = os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK", "0"))
with open(os.path.join(sys.argv[1], "peak-" + rank), "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024))
sys.exit(code)
"""


def shard_bytes(n_own, held):
    """Weights, both moments and, when it is held, the gradient of a shard, in fp32."""
    return (4 if held else 3) * 4 * (2 * n_own * WIDTH + n_own + WIDTH)


@unittest.skipIf(float(os.environ.get("ORTHANT_TEST_PATIENCE", "1")) > 1,
                 "an instrumented build needs more memory")
class Memory(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="orthant-memory-")
        cls.data = os.path.join(cls.folder.name, "activations.h5")
        rng = np.random.default_rng(3)
        with h5py.File(cls.data, "w") as file:
            file["activations"] = rng.standard_normal((STEPS * BATCH, WIDTH), np.float32).astype(
                np.float16)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def train(self, ranks, *overrides):
        """The peak of each rank, and what the last step logged."""
        with tempfile.TemporaryDirectory(dir=self.folder.name) as folder:
            run_dir, config = os.path.join(folder, "run"), os.path.join(folder, "config.yaml")
            measure = os.path.join(folder, "measure.py")
            with open(measure, "w") as file:
                file.write(MEASURE)
            with open(config, "w") as file:
                file.write(f"run: {{dir: {run_dir}, steps: {STEPS}}}\nlog: {{every: 1}}\n"
                           f"data: {{files: {self.data}}}\ngrid: {{n_group: 1}}\n"
                           f"train: {{batch: {BATCH}}}\nmodel: {{n_latent: {LATENTS}}}\n"
                           "init: {scheme: kaiming}\n")
            launcher = support.LAUNCHER + ["-n", str(ranks)] if ranks > 1 else []
            launcher = [*launcher, sys.executable, measure, folder]
            done = support.run(["train", config, "--quiet", "--set", *overrides], ranks,
                               launcher=launcher, timeout=200)
            self.assertEqual(done.code, 0, done.stderr)
            peaks = []
            for rank in range(ranks):
                with open(os.path.join(folder, f"peak-{rank}")) as file:
                    peaks.append(int(file.read()))
            return peaks, support.metrics(run_dir)

    def check(self, ranks, *overrides, more_entries=0):
        """`more_entries`: stored for each token besides the code that l0 counts."""
        peaks, lines = self.train(ranks, *overrides)
        entries = (max(line["l0"] for line in lines) + more_entries) * BATCH / ranks
        own = shard_bytes(LATENTS // ranks, "train.clip=1" in overrides)
        # A shard may hold a little more than its share of the entries.
        entries *= 1.02 if ranks > 1 else 1.0
        limit = 1.1 * own + (64 << 20) + 24 * BATCH * WIDTH + 24 * entries
        for rank, peak in enumerate(peaks):
            print(f"{ranks} ranks, {' '.join(overrides)}: rank {rank}: {peak / 2**20:.0f} MiB of "
                  f"{limit / 2**20:.0f} (shard {own / 2**20:.0f}, entries {entries:.3g})")
        # What cannot be less: else the measurement is of something else.
        self.assertGreater(min(peaks), 0.75 * own)
        self.assertLess(max(peaks), limit)

    def test_topk(self):
        """Two steps on one rank; the others end after one, when every buffer has been used."""
        self.check(1, "model.selection=topk", "model.k=32", "train.clip=1")
        for ranks, clip in ((1, "none"), (2, "none"), (2, "1")):
            with self.subTest(ranks=ranks, clip=clip):
                self.check(ranks, "model.selection=topk", "model.k=32", f"train.clip={clip}",
                           "run.steps=1")

    def test_larger_sets(self):
        """AuxK with every latent dead from the start, multi-topk's second code, a clip's gradient:
        on small shards the buffers of tokens weigh most."""
        self.check(4, "model.k=32", "loss.multi_k=4", "aux.k=512", "dead.tokens=1", "train.clip=1",
                   "run.steps=1", more_entries=128 + 512)

    def test_topafa(self):
        for ranks in (1, 2):
            with self.subTest(ranks=ranks):
                self.check(ranks, "model.selection=topafa", "afa.coefficient=1/24", "run.steps=1")


if __name__ == "__main__":
    unittest.main()
