# A checkpoint goes on, on any grid and any number of threads.
# timeout: 400
"""FAULTS 27: from one checkpoint, each grid has one continuation, bit for bit: undisturbed, killed
and resumed, or from the same checkpoint written again by that grid. All grids read the same tokens
in the same order. The whole table of grids is in test_grids_long.py."""
import json
import os
import shutil
import unittest

import numpy as np

import support
from support import run, tokens, write_activations

FIRST, KILLED, LAST = 6, 9, 12
MODELS = {
    "topk": {"model__selection": "topk", "model__k": 6, "train__ema": 0.99, "aux__k": 12,
             "dead__tokens": 500, "input__norm": "unit", "train__clip": 1},
    "topafa": {"model__selection": "topafa", "afa__coefficient": "1/24",
               "input__norm": "layernorm", "init__scheme": "kaiming", "loss__kind": "mse",
               "aux__variant": "topafa", "aux__k": 12, "dead__variant": "batches",
               "train__decoder_norm": "topafa"},
}
MADE_ON = ((1, 1), (2, 2), (1, 3))
CONTINUED_ON = ((1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (1, 4))
CHANGING = ("time", "tokens_per_s", "phase")


class Grids(support.Case):
    def setUp(self):
        super().setUp()
        # an epoch ends within the steps, in the middle of a batch
        self.data = write_activations(self.path("data.h5"), tokens(830, 20))

    def train(self, model, run_dir, grid, threads, *arguments, steps=LAST, fault=None):
        config = self.write_config(f"{run_dir}.yaml", **{
            **MODELS[model], "run__dir": self.path(run_dir), "run__steps": steps,
            "data__files": self.data, "model__n_latent": 203, "train__batch": 101,
            "train__lr": 1e-3, "grid__n_group": grid[0], "grid__n_shard": grid[1],
            "checkpoint__every": 2, "log__every": 1, "log__codes": True})
        env, ranks = {"OMP_NUM_THREADS": str(threads)}, grid[0] * grid[1]
        if fault is None:
            return run(["train", config, *arguments], ranks, env=env)
        env["ORTHANT_FAULT"] = fault
        return support.Running(["train", config, *arguments], ranks, env=env).wait()

    def end(self, run_dir):
        arrays = support.checkpoint(self.path(run_dir), LAST)
        lines = [{key: value for key, value in line.items() if key not in CHANGING}
                 for line in support.metrics(self.path(run_dir)) if line["step"] > FIRST]
        return arrays, lines

    def make(self, model, grid):
        """A checkpoint of step FIRST."""
        self.check_success(self.train(model, "made", grid, 1, steps=FIRST))
        path = self.path("made.h5")
        os.replace(support.checkpoint_path(self.path("made"), FIRST), path)
        shutil.rmtree(self.path("made"))
        return path

    def check_continuation(self, model, source, grid, threads):
        """The three ways from `source` on; the metrics of the first of them."""
        self.check_success(self.train(model, "whole", grid, threads, "--resume", source))
        arrays, lines = self.end("whole")
        self.assertEqual([line["step"] for line in lines], list(range(FIRST + 1, LAST + 1)))

        result = self.train(model, "killed", grid, threads, "--resume", source,
                            fault=f"step.begin:{KILLED - FIRST}:kill@0")
        self.assertNotEqual(result.code, 0)
        self.assertEqual(support.steps(self.path("killed"))[-1], KILLED - 1)
        result = self.train(model, "killed", grid, threads)
        self.check_success(result)
        self.assertIn("bit for bit that of an undisturbed run", "\n".join(result.lines))

        self.check_success(self.train(model, "again", grid, threads, "--resume", source,
                                      steps=FIRST))
        self.check_equal(support.checkpoint(self.path("again"), FIRST),
                         support.checkpoint(source))
        self.check_success(self.train(model, "again", grid, threads))

        for run_dir in ("killed", "again"):
            other, other_lines = self.end(run_dir)
            self.check_equal(other, arrays)
            self.assertEqual(other_lines, lines, run_dir)
        for run_dir in ("whole", "killed", "again"):
            shutil.rmtree(self.path(run_dir))
        return arrays, lines

    def check_tokens(self, found):
        """Every grid has read the same tokens in the same order: from equal weights the first step
        selects the same, token by token, and the cursors agree."""
        (_, (arrays, lines)), *others = found.items()
        for grid, (other, other_lines) in others:
            with self.subTest(grid=grid):
                self.assertEqual(other_lines[0]["code_hash"], lines[0]["code_hash"])
                for name in ("state/cursor", "data_fingerprint"):
                    self.assertEqual(other[name].tolist(), arrays[name].tolist())
                for line, expected in zip(other_lines, lines, strict=True):
                    for key in ("step", "tokens", "epoch"):
                        self.assertEqual(line[key], expected[key])
                    self.assertAlmostEqual(line["loss"], expected["loss"],
                                           delta=1e-4 * expected["loss"])
                error = np.abs(other["model/b_dec"] - arrays["model/b_dec"]).max()
                self.assertLess(error, 1e-3 * np.abs(arrays["model/b_dec"]).max())

    def check_table(self, model, made_on, continued_on):
        for made in made_on:
            source = self.make(model, made)
            found = {}
            for grid, threads in continued_on:
                with self.subTest(model=model, made_on=made, grid=grid, threads=threads):
                    found[grid, threads] = self.check_continuation(model, source, grid, threads)
            self.check_tokens(found)


class Some(Grids):
    def test_topk(self):
        self.check_table("topk", [(2, 2)], [((1, 2), 2), ((1, 1), 1), ((3, 1), 1)])

    def test_topafa(self):
        self.check_table("topafa", [(1, 3)], [((2, 1), 1), ((1, 1), 2), ((2, 2), 1)])


if __name__ == "__main__":
    unittest.main()
