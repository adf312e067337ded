#!/usr/bin/env python3
"""`log.codes`: for equal weights the codes of a batch are the same bits on every grid, for every
number of threads and every instruction set; shown by their hash at step 1 of fresh runs.
timeout: 240"""

import os
import re
import tempfile
import unittest

import support

# Neither divides by two, three or four.
LATENTS, BATCH = 301, 151
SELECTIONS = {
    "topk": ["model.selection=topk", "model.k=9", "init.scheme=gao"],
    "topafa": ["model.selection=topafa", "init.scheme=kaiming", "afa.coefficient=1/24"],
    "batchtopk": ["model.selection=batchtopk", "model.k=9", "init.scheme=kaiming"],
    "multi-topk": ["model.selection=topk", "model.k=5", "loss.multi_k=4", "init.scheme=gao"],
}
GRIDS = [(1, 2), (2, 1), (1, 3), (3, 1), (2, 2), (1, 4)]
FEW_GRIDS = [(3, 1), (2, 2)]


def instruction_sets():
    """The kernel sets that this processor runs, by the program's own words."""
    done = support.run(["--version"], env={"ORTHANT_ISA": "no-such-set"})
    return re.search(r"use one of: (.*)", done.stdout)[1].split()


class Codes(unittest.TestCase):
    def first_step(self, selection, grid=(1, 1), env=None, more=()):
        """What step 1 logs."""
        with tempfile.TemporaryDirectory(prefix="orthant-codes-") as folder:
            run_dir, config = os.path.join(folder, "run"), os.path.join(folder, "config.yaml")
            data = os.path.join(support.DATA, "sample-train.h5")
            with open(config, "w") as file:
                file.write(f"run: {{dir: {run_dir}, steps: 1}}\ndata: {{files: {data}}}\n"
                           "log: {every: 1, codes: true}\ninput: {norm: layernorm}\n"
                           f"model: {{n_latent: {LATENTS}}}\ntrain: {{batch: {BATCH}}}\n"
                           f"grid: {{n_group: {grid[0]}, n_shard: {grid[1]}}}\n")
            overrides = [*SELECTIONS[selection], *more]
            done = support.run(["train", config, "--quiet", "--set", *overrides],
                               grid[0] * grid[1], env=env)
            self.assertEqual(done.code, 0, done.stderr)
            line = support.metrics(run_dir)[0]
        self.assertEqual(line["step"], 1)
        return line

    def assert_equal(self, line, reference, what):
        self.assertEqual(line["code_hash"], reference["code_hash"], what)
        self.assertEqual((line["l0"], line["n_dead"]), (reference["l0"], reference["n_dead"]), what)

    def test_grids_threads_and_instruction_sets(self):
        sets = instruction_sets()
        self.assertIn("reference", sets)
        for selection in SELECTIONS:
            reference = self.first_step(selection)
            self.assertGreater(reference["l0"], 1)
            every = selection in ("topk", "topafa")
            for grid in GRIDS if every else FEW_GRIDS:
                with self.subTest(selection=selection, grid=grid):
                    self.assert_equal(self.first_step(selection, grid), reference, grid)
            for threads in ("2", "3") if every else ("3",):
                with self.subTest(selection=selection, threads=threads):
                    line = self.first_step(selection, env={"OMP_NUM_THREADS": threads})
                    self.assert_equal(line, reference, threads)
            for name in sets if every else sets[-1:]:
                with self.subTest(selection=selection, isa=name):
                    line = self.first_step(selection, env={"ORTHANT_ISA": name})
                    self.assert_equal(line, reference, name)

    def test_the_hash_tells_codes_apart(self):
        """Other weights, another k: another hash; the same run again: the same."""
        reference = self.first_step("topk")
        self.assertEqual(self.first_step("topk")["code_hash"], reference["code_hash"])
        hashes = {reference["code_hash"]}
        for more in (["run.seed=50"], ["model.k=10"], ["data.shuffle=false"]):
            hashes.add(self.first_step("topk", more=more)["code_hash"])
        self.assertEqual(len(hashes), 4)


if __name__ == "__main__":
    unittest.main()
