# Certified screening leaves no trace: codes have the same bits in every arithmetic.
# timeout: 240
"""compute.encode fp32, bf16, int8 and auto give the same codes, step by step, for every selection
that is screened, on every grid and with every kernel set, also where screening is of no use."""
import os
import unittest

import h5py
import numpy as np

import support
from support import run

SAMPLE = os.path.join(support.DATA, "sample-train.h5")
WIDTH, LATENTS, STEPS = 384, 1024, 20
SELECTIONS = {
    "topk": {"model__selection": "topk", "model__k": 8},
    "batchtopk": {"model__selection": "batchtopk", "model__k": 8},
    "multi": {"model__selection": "topk", "model__k": 4, "loss__multi_k": 4},
}
SETS = ["avx512bf16", "avx512", "avx2", "reference"]


class Screening(support.Case):
    def hashes(self, name, encode, grid=(1, 1), isa=None, **keys):
        """The code hashes of a run, None where the processor lacks the kernel set."""
        config = self.write_config(
            run__dir=name, run__steps=STEPS, data__files=SAMPLE, model__n_latent=LATENTS,
            train__batch=100, train__lr=1e-3, log__every=1, log__codes=True, grid__n_group=grid[0],
            grid__n_shard=grid[1], compute__encode=encode, **keys)
        env = {"OMP_NUM_THREADS": "1", **({"ORTHANT_ISA": isa} if isa else {})}
        result = run(["train", config], grid[0] * grid[1], env=env, cwd=self.folder)
        if isa and result.code and "is not a kernel set that this processor runs" in result.stderr:
            return None
        self.check_success(result)
        hashes = [line["code_hash"] for line in support.metrics(self.path(name))]
        self.assertEqual(len(set(hashes)), STEPS)
        return hashes

    def check_selection(self, selection):
        keys = SELECTIONS[selection]
        for grid in [(1, 1), (1, 2), (2, 1)]:
            at = f"{selection}-{grid[0]}x{grid[1]}"
            exact = self.hashes(f"{at}-fp32", "fp32", grid, **keys)
            for encode in ["bf16", "int8"]:
                self.assertEqual(self.hashes(f"{at}-{encode}", encode, grid, **keys), exact, at)

    def test_topk(self):
        self.check_selection("topk")

    def test_batchtopk(self):
        self.check_selection("batchtopk")

    def test_multi_topk(self):
        self.check_selection("multi")

    def test_kernel_sets(self):
        keys = SELECTIONS["topk"]
        exact = self.hashes("fp32", "fp32", **keys)
        self.assertEqual(self.hashes("auto", "auto", **keys), exact)
        found = 0
        for isa in SETS:
            for encode in ["bf16", "int8"]:
                hashes = self.hashes(f"{isa}-{encode}", encode, isa=isa, **keys)
                found += hashes is not None
                self.assertIn(hashes, [exact, None], isa)
        self.assertGreaterEqual(found, 2)

    def check_latents(self, name, W_enc):
        with h5py.File(self.path("init.h5"), "w") as file:
            file["W_enc"] = W_enc.astype("f4")
        keys = {**SELECTIONS["topk"], "init__scheme": "file", "init__file": self.path("init.h5"),
                "data__shuffle": False}
        for grid in [(1, 1), (1, 2)]:
            at = f"{name}-{grid[0]}x{grid[1]}"
            exact = self.hashes(f"{at}-fp32", "fp32", grid, **keys)
            for encode in ["bf16", "int8"]:
                self.assertEqual(self.hashes(f"{at}-{encode}", encode, grid, **keys), exact, at)

    def test_latents_that_no_bound_tells_apart(self):
        """Every token is given up by the screening, as all latents are nearly equal."""
        random = np.random.default_rng(3)
        one = random.normal(size=WIDTH) / WIDTH**0.5
        noise = random.normal(size=(LATENTS, WIDTH)) / WIDTH**0.5
        self.check_latents("equal", one + 1e-5 * noise)
        # With two shards the first one alone gives them up.
        half = np.arange(LATENTS)[:, None] < LATENTS // 2
        self.check_latents("half", np.where(half, one + 1e-5 * noise, noise))

    def test_latents_in_ascending_order(self):
        """Every cut that is guessed from the latents before is too low, or else too high."""
        random = np.random.default_rng(4)
        rows = random.normal(size=(LATENTS, WIDTH)) / WIDTH**0.5
        sizes = np.linspace(0.1, 1.0, LATENTS)[:, None]
        self.check_latents("ascending", sizes * rows)
        self.check_latents("descending", sizes[::-1] * rows)


if __name__ == "__main__":
    unittest.main()
