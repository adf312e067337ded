# A run that was killed goes on as if it had not been.
# timeout: 300
"""Kill and resume on one grid (bit for bit), on another (the same values), runs that are extended,
in file order and shuffled, over the ends of epochs, for every recipe with a state of its own."""
import os
import shutil
import signal
import time
import unittest

import numpy as np

import support
from support import run, tokens, write_activations

TOPK = {"model__selection": "topk", "model__k": 8}
TOPAFA = {"model__selection": "topafa", "afa__coefficient": "1/24", "input__norm": "layernorm",
          "init__scheme": "kaiming", "loss__kind": "mse", "aux__variant": "topafa", "aux__k": 16,
          "dead__variant": "batches", "train__decoder_norm": "topafa", "train__beta2": 0.99,
          "train__eps": 1e-8, "train__clip": 1e5}
GAO = {"model__selection": "topk", "model__k": 8, "input__norm": "unit", "loss__multi_k": 2,
       "train__ema": 0.99, "train__clip": 1, "dead__tokens": 3000, "train__warmup": 20,
       "train__decay": 0.2}
CHANGING = ("time", "tokens_per_s", "phase")


def steady(lines):
    """Metrics without what a clock says."""
    return [{key: value for key, value in line.items() if key not in CHANGING} for line in lines]


class Resume(support.Case):
    """The runs of these tests."""

    def setUp(self):
        super().setUp()
        # epochs end within batches, in steps 7, 13, 19 ...
        self.data = write_activations(self.path("data.h5"), tokens(5000, 64))

    def config(self, run_dir, **keys):
        defaults = {"run__dir": self.path(run_dir), "run__steps": 60, "data__files": self.data,
                    "model__n_latent": 301, "train__batch": 800, "train__lr": 1e-3,
                    "checkpoint__every": 10, "log__every": 1, "log__codes": True}
        return self.write_config(f"{run_dir}.yaml", **{**defaults, **keys})

    def train(self, run_dir, grid=(1, 1), **keys):
        result = run(["train", self.config(run_dir, grid__n_group=grid[0], grid__n_shard=grid[1],
                                           **keys)], grid[0] * grid[1])
        self.check_success(result)
        return result

    def train_and_kill(self, run_dir, grid, step, **keys):
        """SIGKILL to one rank after this step, and before a later one, where the run would stay
        for ever if the kill were late."""
        try:
            resumed = support.steps(self.path(run_dir))[-1]
        except (OSError, IndexError):
            resumed = 0
        running = support.Running(
            ["train", self.config(run_dir, grid__n_group=grid[0], grid__n_shard=grid[1], **keys)],
            grid[0] * grid[1], env={"ORTHANT_FAULT": f"step.begin:{step + 12 - resumed}:hang@0"})
        pids = running.wait_for_ranks()
        running.wait_for_step(self.path(run_dir), step)
        start = time.monotonic()
        os.kill(pids[max(pids)], signal.SIGKILL)
        result = running.wait()
        self.assertLess(time.monotonic() - start, 20, "the others went on")
        self.assertNotEqual(result.code, 0, "the others went on")
        self.assertIn(support.metrics(self.path(run_dir), torn=True)[-1]["step"],
                      range(step, step + 12))

    def check_undisturbed(self, grid, **keys):
        self.train("whole", grid, **keys)
        self.train_and_kill("killed", grid, 32, **keys)
        result = self.train("killed", grid, **keys)
        self.assertIn("bit for bit", "\n".join(result.lines))
        self.check_equal(support.checkpoint(self.path("killed"), 60),
                         support.checkpoint(self.path("whole"), 60))
        lines = support.metrics(self.path("killed"))
        self.assertEqual([line["step"] for line in lines], list(range(1, 61)))
        self.assertEqual(steady(lines), steady(support.metrics(self.path("whole"))))
        for run_dir in ("killed", "whole"):
            self.assertEqual(support.steps(self.path(run_dir)), [50, 60])


class Killed(Resume):
    """Killed between steps 32 and 43 of 60 and resumed, against an undisturbed run."""

    def test_topk_1x1(self):
        self.check_undisturbed((1, 1), **TOPK)

    def test_topk_2x2_in_order(self):
        self.check_undisturbed((2, 2), data__shuffle=False, **TOPK)

    def test_topafa_2x2(self):
        self.check_undisturbed((2, 2), **TOPAFA)

    def test_gao_1x1_in_order(self):
        self.check_undisturbed((1, 1), data__shuffle=False, **GAO)

    def test_gao_2x2(self):
        self.check_undisturbed((2, 2), **GAO)

    def test_batchtopk_3x1(self):
        self.check_undisturbed((3, 1), **{**TOPK, "model__selection": "batchtopk"})


class Others(Resume):
    """Other grids and other lengths."""

    def test_values_2x2_1x3_and_back(self):
        """Every grid reads what the one before it wrote, and writes just that."""
        for name, keys in (("topafa", TOPAFA), ("gao", GAO)):
            self.train(name, (2, 2), run__steps=12, **keys)
            path = support.checkpoint_path(self.path(name), 12)
            values = support.checkpoint(path)
            for grid in ((1, 3), (2, 2), (3, 1), (1, 1)):
                run_dir = f"{name}-{grid[0]}x{grid[1]}"
                config = self.config(run_dir, grid__n_group=grid[0], grid__n_shard=grid[1],
                                     run__steps=12, **keys)
                result = run(["train", config, "--resume", path], grid[0] * grid[1])
                self.check_success(result)
                self.assertIn("all 12 steps are done", "\n".join(result.lines))
                path = support.checkpoint_path(self.path(run_dir), 12)
                self.check_equal(support.checkpoint(path), values)

    def test_steps_2x2_1x3_and_back(self):
        """Steps taken on another grid are those of the first grid up to rounding."""
        self.train("whole", (2, 2), run__steps=18, **TOPK)
        self.train("moved", (2, 2), run__steps=12, **TOPK)
        for grid, steps in (((1, 3), 15), ((2, 2), 18)):
            result = self.train("moved", grid, run__steps=steps, **TOPK)
            self.assertIn("the grid differs", "\n".join(result.lines))
        lines = support.metrics(self.path("moved"))
        for line, expected in zip(lines, support.metrics(self.path("whole")), strict=True):
            self.assertEqual((line["step"], line["tokens"], line["epoch"]),
                             (expected["step"], expected["tokens"], expected["epoch"]))
            self.assertAlmostEqual(line["loss"], expected["loss"], delta=1e-5 * expected["loss"])
        a = support.checkpoint(self.path("moved"), 18)
        b = support.checkpoint(self.path("whole"), 18)
        self.assertEqual(a["state/cursor"].tolist(), b["state/cursor"].tolist())
        for name in ("model/W_enc", "model/W_dec", "model/b_dec"):
            error = np.abs(a[name] - b[name]).max() / np.abs(b[name]).max()
            self.assertLess(error, 1e-3, name)

    def test_extended(self):
        """A finished run goes on to more steps: as a run of that length from the start."""
        self.train("whole", (1, 2), run__steps=25, **TOPAFA)
        self.train("grown", (1, 2), run__steps=12, **TOPAFA)
        self.train("grown", (1, 2), run__steps=25, **TOPAFA)
        self.check_equal(support.checkpoint(self.path("grown"), 25),
                         support.checkpoint(self.path("whole"), 25))
        self.assertEqual(steady(support.metrics(self.path("grown"))),
                         steady(support.metrics(self.path("whole"))))
        # a shorter run.steps finds all of its steps done, and takes nothing away
        before = support.checkpoint(self.path("grown"), 25)
        for ranks in (1, 3):
            result = run(["train", self.config("grown", run__steps=20, **TOPAFA)], ranks)
            self.check_success(result)
            self.assertIn("all 20 steps are done already", "\n".join(result.lines))
        self.check_equal(support.checkpoint(self.path("grown"), 25), before)
        self.assertEqual(support.metrics(self.path("grown"))[-1]["step"], 25)

    def test_killed_everywhere(self):
        """SIGKILL at many instants, checkpoints being written or not: never an error, never a
        step lost or repeated, no partial file left (FAULTS 1 to 4)."""
        keys = {"run__steps": 80, "checkpoint__every": 2, "train__batch": 500, **TOPK}
        self.train("whole", (1, 2), **{**keys, "checkpoint__every": 80})
        for step in range(3, 60, 12):
            self.train_and_kill("killed", (1, 2), step, **keys)
        self.train("killed", (1, 2), **keys)
        self.check_equal(support.checkpoint(self.path("killed"), 80),
                         support.checkpoint(self.path("whole"), 80))
        self.assertEqual(steady(support.metrics(self.path("killed"))),
                         steady(support.metrics(self.path("whole"))))
        self.assertEqual(sorted(os.listdir(self.path("killed", "checkpoints"))),
                         ["step-000000078.h5", "step-000000080.h5"])

    def test_torn_line(self):
        """Half a line of metrics, and lines after the checkpoint, are cut off (FAULTS 4)."""
        self.train("run", run__steps=20, **TOPK)
        whole = steady(support.metrics(self.path("run")))
        with open(self.path("run", "metrics.jsonl"), "a") as file:
            file.write('{"step":21,"tokens":42')
        os.unlink(support.checkpoint_path(self.path("run"), 20))
        self.train("run", run__steps=20, **TOPK)
        self.assertEqual(steady(support.metrics(self.path("run"))), whole)


if __name__ == "__main__":
    unittest.main()
