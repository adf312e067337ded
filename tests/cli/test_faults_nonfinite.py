# NaN and Inf: in the data, and in the loss.
# timeout: 240
"""FAULTS 37 and 48: rows that are not finite end the run by name or are left out, the same on every
grid; a loss that is not finite ends it with what was saved intact."""
import os
import unittest

import numpy as np

import support
from support import run, tokens, write_activations

WIDTH = 32
BAD = (3, 17, 40, 41, 42, 43, 44, 45, 46, 47, 95, 99, 128)  # of 150 rows; 48 a batch

TOPK = {"model__selection": "topk"}
TOPAFA = {"model__selection": "topafa", "afa__coefficient": "1/24", "input__norm": "layernorm",
          "init__scheme": "kaiming", "loss__kind": "mse", "aux__variant": "topafa",
          "dead__variant": "batches", "dead__batches": 2, "train__decoder_norm": "topafa",
          "train__clip": 1e5}
BATCHTOPK = {"model__selection": "batchtopk", "loss__kind": "normalised", "train__ema": 0.9}
GAO = {"model__selection": "topk", "input__norm": "scale", "loss__multi_k": 2, "train__clip": 1,
       "dead__tokens": 60, "aux__k": 8}


def spoil(values, rows=BAD):
    values = values.copy()
    for number, row in enumerate(rows):
        values[row, row % values.shape[1]] = (np.nan, np.inf, -np.inf)[number % 3]
    return values


class Case(support.Case):
    def config(self, run_dir, grid=(1, 1), **keys):
        defaults = {"run__dir": self.path(run_dir), "data__files": self.path("data.h5"),
                    "run__steps": 6, "model__n_latent": 100, "model__k": 6, "train__batch": 48,
                    "train__lr": 1e-3, "log__every": 1, "grid__n_group": grid[0],
                    "grid__n_shard": grid[1]}
        return self.write_config(f"{run_dir}.yaml", **{**defaults, **keys})

    def train(self, run_dir, grid=(1, 1), **keys):
        return run(["train", self.config(run_dir, grid, **keys)], grid[0] * grid[1])


class Data(Case):
    def test_abort(self):
        good, bad = tokens(60, WIDTH), spoil(tokens(90, WIDTH, 1), (35, 77, 78))
        files = [write_activations(self.path("good.h5"), good),
                 write_activations(self.path("bad.h5"), bad)]
        for grid in ((1, 1), (1, 3), (3, 1)):  # row 35 of the second file is row 95: step 2
            result = self.train(f"order-{grid}", grid, data__files=files, data__shuffle=False)
            self.check_failure(result, 3, files[1], "row 35 ", "data.nonfinite")
            self.assertEqual(support.metrics(self.path(f"order-{grid}"))[-1]["step"], 1)
            result = self.train(f"shuffle-{grid}", grid, data__files=files)
            self.check_failure(result, 3, files[1], "NaN or Inf")
            self.assertRegex(result.errors[0], "row (35|77|78) ")

    def test_first_is_named(self):
        """Whichever rank finds it: the first in the order of the batch, on every grid."""
        write_activations(self.path("data.h5"), spoil(tokens(150, WIDTH), (5, 20, 47)))
        for grid in ((1, 1), (1, 3), (3, 1)):
            result = self.train(f"{grid}", grid, data__shuffle=False)
            self.check_failure(result, 3, "row 5 ")

    def test_skip(self):
        """The run is that on the same batches without these rows, on every grid."""
        values = spoil(tokens(150, WIDTH))
        write_activations(self.path("data.h5"), values)
        for name, recipe in (("topk", TOPK), ("topafa", TOPAFA), ("batchtopk", BATCHTOPK),
                             ("gao", GAO)):
            keys = {"data__nonfinite": "skip", "data__shuffle": name != "gao", **recipe}
            self.check_success(self.train(name, **keys))
            models = {(1, 1): support.checkpoint(self.path(name), 6)}
            for grid in ((1, 2), (2, 1), (3, 1)):
                run_dir = f"{name}-{grid[0]}x{grid[1]}"
                result = self.train(run_dir, grid, **keys)
                self.check_success(result)
                models[grid] = support.checkpoint(self.path(run_dir), 6)
                self.check_close(models[grid], models[1, 1], (name, grid))
                for one, other in zip(support.metrics(self.path(name)),
                                      support.metrics(self.path(run_dir)), strict=True):
                    self.assertEqual((one["tokens"], one["n_dead"]),
                                     (other["tokens"], other["n_dead"]))
                    for key in ("loss", "l0", "fvu", "grad_norm"):
                        self.assertAlmostEqual(one[key], other[key], delta=2e-5 * abs(one[key]))
                # six batches of 48 over 150 rows: each bad row once an epoch
                self.assertIn("rows with NaN or Inf were left out", "\n".join(result.warnings))

    def check_close(self, a, b, what):
        for name in b:
            if name.startswith("model/"):
                error = np.abs(a[name] - b[name]).max()
                self.assertLessEqual(error, 2e-5 * np.abs(b[name]).max(), (what, name))

    def test_means(self):
        """Every batch of 30 has the same 3 bad rows: as batches of 27 without them."""
        values = tokens(120, WIDTH)
        where = [start + offset for start in range(0, 120, 30) for offset in (0, 11, 29)]
        write_activations(self.path("data.h5"), spoil(values, where))
        rest = write_activations(self.path("rest.h5"), np.delete(values, where, axis=0))
        for name, recipe in (("topk", TOPK), ("topafa", TOPAFA), ("batchtopk", BATCHTOPK),
                             ("gao", {**GAO, "dead__variant": "batches"})):
            keys = {"data__shuffle": False, **recipe}
            self.check_success(self.train(name, (2, 1), data__nonfinite="skip", train__batch=30,
                                          **keys))
            self.check_success(self.train(name + "-rest", data__files=rest, train__batch=27,
                                          **keys))
            for one, other in zip(support.metrics(self.path(name)),
                                  support.metrics(self.path(name + "-rest")), strict=True):
                for key in ("loss", "mse", "aux", "afa", "l0", "fvu", "grad_norm", "n_dead"):
                    self.assertAlmostEqual(one[key], other[key], delta=2e-5 * abs(other[key]),
                                           msg=(name, key))
            self.check_close(support.checkpoint(self.path(name), 6),
                             support.checkpoint(self.path(name + "-rest"), 6), name)

    def test_all_bad(self):
        """A batch without a good row cannot be trained on."""
        write_activations(self.path("data.h5"), spoil(tokens(150, WIDTH), range(48, 96)))
        for grid in ((1, 1), (3, 1)):
            result = self.train(f"{grid}", grid, data__nonfinite="skip", data__shuffle=False)
            self.check_failure(result, 3, "step 2", "every row")
        write_activations(self.path("data.h5"), np.full((50, WIDTH), np.nan, "f4"))
        for grid in ((1, 1), (3, 1)):
            result = self.train(f"all-{grid}", grid, data__nonfinite="skip")
            self.check_failure(result, 3, "finite")

    def test_large(self):
        """Finite values whose squares are not: found as a loss, not taken for bad rows."""
        write_activations(self.path("data.h5"), tokens(100, WIDTH) * np.float32(1e30))
        result = self.train("run")
        self.assertIn(result.code, (0, 6), result.stderr)
        self.assertEqual(len(result.errors), result.code // 6, result.stderr)


class Loss(Case):
    def setUp(self):
        super().setUp()
        write_activations(self.path("data.h5"), tokens(150, WIDTH))

    def test_loss(self):
        for grid in ((1, 1), (1, 3), (2, 1)):
            run_dir = f"{grid[0]}x{grid[1]}"
            keys = {"run__steps": 60, "checkpoint__every": 2}
            self.check_success(self.train(run_dir, grid, run__steps=10, checkpoint__every=2))
            before = {step: support.checkpoint(self.path(run_dir), step) for step in (8, 10)}
            # a learning rate that blows up later: the warm-up reaches it step by step
            other = f"{run_dir}-high"
            result = self.train(other, grid, train__lr=1e30, **keys)
            self.check_failure(result, 6, "step", "not finite", "train.lr")
            for step in support.steps(self.path(other)):
                path = support.checkpoint_path(self.path(other), step)
                self.check_success(run(["info", path, "--verify"]))
                for name, values in support.checkpoint(path).items():
                    self.assertTrue(np.isfinite(values).all(), name)
            # going on fails in the same way, and takes nothing away
            steps = support.steps(self.path(other))
            result = self.train(other, grid, train__lr=1e30, **keys)
            self.check_failure(result, 6, "not finite")
            self.assertEqual(support.steps(self.path(other)), steps)
            for step, arrays in before.items():
                self.check_equal(support.checkpoint(self.path(run_dir), step), arrays)

    def test_no_bad_checkpoint(self):
        """Weights that overflow in the very step of a checkpoint: the ones before are kept."""
        for grid in ((1, 1), (1, 3)):
            run_dir = f"{grid[0]}x{grid[1]}"
            keys = {"train__lr": 1e38, "train__warmup": 10, "checkpoint__every": 1,
                    "checkpoint__keep": 1, "run__steps": 10}
            result = self.train(run_dir, grid, **keys)
            self.check_failure(result, 6, "not finite")
            for step in support.steps(self.path(run_dir)):
                for name, values in support.checkpoint(self.path(run_dir), step).items():
                    self.assertTrue(np.isfinite(values).all(), name)
            result = self.train(f"{run_dir}-last", grid, train__lr=1e39, run__steps=1)
            self.check_failure(result, 6, "not finite")
            self.assertEqual(os.listdir(self.path(f"{run_dir}-last", "checkpoints")), [])


if __name__ == "__main__":
    unittest.main()
