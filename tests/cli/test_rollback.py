# A batch that spoils the model is left out, and the run goes on as if it had never been there.
# timeout: 300
"""run.rollback: back to the newest checkpoint, the same batches again, the bad one left out; said in
the metrics; the same after a kill at any time; never without end. What is to blame is named on every
grid alike (FAULTS 48)."""
import os
import signal
import unittest

import numpy as np

import support
from support import run, tokens, write_activations

WIDTH, BATCH = 32, 48
GRIDS = ((1, 1), (1, 2), (2, 1), (2, 2))

# without a sample, which would hold the bad rows too
TOPK = {"model__selection": "topk", "init__scheme": "kaiming", "loss__kind": "mse",
        "aux__k": 8, "dead__tokens": 100, "train__ema": 0.9}
TOPAFA = {"model__selection": "topafa", "afa__coefficient": "1/24", "init__scheme": "kaiming",
          "loss__kind": "mse", "aux__variant": "topafa", "dead__variant": "batches",
          "dead__batches": 2, "train__decoder_norm": "topafa", "train__clip": 1e5}
CHANGING = ("time", "tokens_per_s", "phase")


def steady(lines):
    return [{key: value for key, value in line.items() if key not in CHANGING} for line in lines]


def is_record(line):
    return "rollback" in line


class Case(support.Case):
    """The runs of these tests."""

    def setUp(self):
        super().setUp()
        # row 200 is in the fifth batch of file order, row 300 in the seventh
        self.good = tokens(10 * BATCH, WIDTH)
        self.write_bad({200: 1e30})

    def write_bad(self, rows, name="bad.h5"):
        values = self.good.copy()
        for row, factor in rows.items():
            values[row] = np.clip(values[row].astype("f8") * factor, -3e38, 3e38)
        return write_activations(self.path(name), values)

    def write_rest(self, *batches):
        """The data without these batches, for file order."""
        rows = np.concatenate([np.arange(b * BATCH, (b + 1) * BATCH) for b in batches])
        return write_activations(self.path("rest.h5"), np.delete(self.good, rows, axis=0))

    def train(self, run_dir, grid=(1, 1), env=None, **keys):
        defaults = {"run__dir": self.path(run_dir), "run__steps": 8, "run__rollback": 2,
                    "data__files": self.path("bad.h5"), "data__shuffle": False,
                    "model__n_latent": 100, "model__k": 6, "train__batch": BATCH,
                    "train__lr": 1e-3, "checkpoint__every": 3, "log__every": 1,
                    "log__codes": True, "grid__n_group": grid[0], "grid__n_shard": grid[1]}
        config = self.write_config(f"{run_dir}.yaml", **{**defaults, **TOPK, **keys})
        return run(["train", config], grid[0] * grid[1], env=env)

    def check_same_run(self, run_dir, other, step=8):
        """All but the order of tokens: bit for bit."""
        a, b = (support.checkpoint(self.path(name), step) for name in (run_dir, other))
        names = [name for name in b if name.split("/")[-1] not in ("cursor", "data_fingerprint")]
        self.check_equal({name: a[name] for name in names}, {name: b[name] for name in names})
        lines = [line for line in support.metrics(self.path(run_dir)) if not is_record(line)]
        self.assertEqual([line["step"] for line in lines], list(range(1, step + 1)))
        for one, two in zip(steady(lines), steady(support.metrics(self.path(other))), strict=True):
            self.assertEqual({**one, "epoch": 0}, {**two, "epoch": 0})

    def records(self, run_dir):
        return [line for line in support.metrics(self.path(run_dir)) if is_record(line)]

    def check_grids(self, recipe):
        rest = self.write_rest(4)
        for grid in GRIDS:
            name = f"{grid[0]}x{grid[1]}"
            result = self.train(name, grid, **recipe)
            self.check_success(result)
            self.assertIn("row 200 of", "\n".join(result.warnings))
            self.assertIn("run.rollback: 1 of 2", "\n".join(result.warnings))
            self.check_success(self.train(name + "-rest", grid, data__files=rest, **recipe))
            self.check_same_run(name, name + "-rest")
            [record] = self.records(name)
            self.assertEqual(record["step"], 3)
            expected = {"number": 1, "from": 5, "to": 3, "skipped_epoch": 0,
                        "skipped_position": 4 * BATCH, "file": self.path("bad.h5"), "row": 200}
            self.assertEqual({key: record["rollback"][key] for key in expected}, expected)
            self.assertIn("not finite", record["rollback"]["what"])


class Rollback(Case):
    """The run goes on without the batch."""

    def test_topk(self):
        self.check_grids(TOPK)

    def test_topafa(self):
        self.check_grids(TOPAFA)

    def test_without_checkpoint(self):
        """Back to the initial model, which is the same again."""
        rest = self.write_rest(4)
        for grid in ((1, 1), (2, 2)):
            name = f"{grid[0]}x{grid[1]}"
            keys = {"checkpoint__every": "none"}
            self.check_success(self.train(name, grid, **keys))
            self.check_success(self.train(name + "-rest", grid, data__files=rest, **keys))
            self.check_same_run(name, name + "-rest")
            self.assertEqual([line["step"] for line in self.records(name)], [0])

    def test_from_another_run(self):
        """A run that started from a checkpoint elsewhere and has none of its own yet."""
        self.check_success(self.train("first", run__steps=3))
        path = support.checkpoint_path(self.path("first"), 3)
        config = self.path("first.yaml")
        result = run(["train", config, "--resume", path, "--set", f"run.dir={self.path('second')}",
                      "--set", "run.steps=8", "--set", "checkpoint.every=none"])
        self.check_success(result)
        self.check_success(self.train("whole"))
        self.check_equal(support.checkpoint(self.path("second"), 8),
                         support.checkpoint(self.path("whole"), 8))

    def test_killed(self):
        """Killed before, within and after each replay: the same end, metrics and all."""
        self.write_bad({200: 1e30, 300: 1e38})
        rest = self.write_rest(4, 6)
        # begun steps: 1-4, 5 (bad), 4, 5, 6 (bad), 4-6, then the checkpoint of 6, then 7, 8
        for grid, visits in (((1, 1), (4, 6, 8, 9, 11, 12)), ((2, 2), (7, 9))):
            whole = f"whole-{grid[0]}x{grid[1]}"
            self.check_success(self.train(whole, grid))
            self.assertEqual([line["rollback"]["number"] for line in self.records(whole)], [1, 2])
            if grid == (1, 1):
                self.check_success(self.train("rest", grid, data__files=rest))
                self.check_same_run(whole, "rest")
            arrays = support.checkpoint(self.path(whole), 8)
            self.assertEqual(arrays["state/skipped"].tolist(), [0, 4 * BATCH, 0, 6 * BATCH])
            result = run(["info", support.checkpoint_path(self.path(whole), 8), "--verify"])
            self.check_success(result)
            self.assertEqual(result.stdout.count("left out"), 2)
            for visit in visits:
                name = f"killed-{grid[0]}x{grid[1]}-{visit}"
                result = self.train(name, grid, env={"ORTHANT_FAULT": f"step.begin:{visit}:kill@0"})
                self.assertNotEqual(result.code, 0, result.stderr)
                self.check_success(self.train(name, grid))
                self.check_equal(support.checkpoint(self.path(name), 8), arrays)
                self.assertEqual(steady(support.metrics(self.path(name))),
                                 steady(support.metrics(self.path(whole))), visit)

    def test_passing_fault(self):
        """A NaN that does not come again, a roll-back, a kill before the next checkpoint: nothing
        is left of it. Evaluations are recorded once each."""
        write_activations(self.path("bad.h5"), self.good)
        keys = {"data__eval_files": self.path("bad.h5"), "eval__every": 2}
        self.check_success(self.train("whole", **keys))
        result = self.train("run", env={"ORTHANT_FAULT": "step.gradient:5:nan,step.begin:8:kill"},
                            **keys)
        self.assertEqual(result.code, -signal.SIGKILL, result.stderr)
        lines = support.metrics(self.path("run"))
        self.assertEqual([line["step"] for line in lines if "eval" in line], [2, 4])
        self.assertEqual([line["step"] for line in lines if "loss" in line], [1, 2, 3, 4, 5])
        self.assertEqual(len(self.records("run")), 1)
        self.check_success(self.train("run", **keys))
        self.assertEqual(self.records("run"), [])
        self.check_equal(support.checkpoint(self.path("run"), 8),
                         support.checkpoint(self.path("whole"), 8))
        a, b = (steady(line for line in support.metrics(self.path(name)) if "eval" not in line)
                for name in ("run", "whole"))
        self.assertEqual(a, b)

    def test_used_up(self):
        """The second bad batch is one too many, killed in between or not, started again or not."""
        self.write_bad({200: 1e30, 300: 1e38})
        words = ("step 6", "row 300 of", "position 288", "checkpoint is of step 3", "all 1 are used")
        self.check_failure(self.train("whole", run__rollback=1), 6, *words)
        lines = steady(support.metrics(self.path("whole")))
        self.assertEqual([line["step"] for line in lines], [1, 2, 3, 3, 4, 5])
        self.check_failure(self.train("whole", run__rollback=1), 6, *words)
        self.assertEqual(steady(support.metrics(self.path("whole"))), lines)
        result = self.train("killed", run__rollback=1, env={"ORTHANT_FAULT": "step.begin:7:kill"})
        self.assertEqual(result.code, -signal.SIGKILL)
        self.check_failure(self.train("killed", run__rollback=1), 6, *words)
        self.assertEqual(steady(support.metrics(self.path("killed"))), lines)
        self.check_success(self.train("killed", run__rollback=2))

    def test_divergence(self):
        """A learning rate that is too high ends after as many roll-backs as are allowed."""
        write_activations(self.path("bad.h5"), self.good)
        for grid in ((1, 1), (2, 1)):
            name = f"{grid[0]}x{grid[1]}"
            result = self.train(name, grid, train__lr=1e25, run__rollback=3)
            self.check_failure(result, 6, "not finite", "train.lr")
            self.assertLessEqual(len(self.records(name)), 3)
            self.assertEqual(len(result.warnings), len(self.records(name)), result.stderr)
        result = self.train("high", train__lr=1e39, run__rollback=3)
        self.check_failure(result, 6, "because a weight was not", "lower train.lr")
        self.assertEqual(self.records("high"), [])

    def test_damaged_checkpoint(self):
        """The newest checkpoint was damaged since: the one before it."""
        self.write_bad({7 * BATCH + 5: 1e30})
        self.check_success(self.train("whole"))
        defaults = self.path("whole.yaml")
        running = support.Running(["train", defaults, "--set", f"run.dir={self.path('run')}"],
                                  env={"ORTHANT_FAULT": "step.begin:8:stop"})
        running.wait_for(lambda: "fault: step.begin:8:stop" in running.said(), "stop")
        path = support.checkpoint_path(self.path("run"), 6)
        with open(path, "r+b") as file:
            file.seek(os.path.getsize(path) // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
        os.kill(running.process.pid, signal.SIGCONT)
        result = running.wait()
        self.check_success(result)
        self.assertIn("damaged", "\n".join(result.warnings))
        self.assertEqual([line["rollback"]["to"] for line in self.records("run")], [3])
        self.check_equal(support.checkpoint(self.path("run"), 8),
                         support.checkpoint(self.path("whole"), 8))


class Blame(Case):
    """What the one error line names."""

    def test_row(self):
        """The file and row, shuffled or not, whichever rank has it; too large for the loss or
        for the gradient alone."""
        for factor, what in ((1e30, "the gradient"), (1e39, "the loss")):
            self.write_bad({200: factor}, "second.h5")
            files = [write_activations(self.path("first.h5"), self.good),
                     self.path("second.h5")]
            steps = set()
            for grid in GRIDS:
                run_dir = f"{factor}-{grid[0]}x{grid[1]}"
                result = self.train(run_dir, grid, data__files=files, data__shuffle=True,
                                    run__rollback="none", run__steps=20)
                self.check_failure(result, 6, f"first in row 200 of {files[1]}", "not finite",
                                   "epoch 0", what, "run.rollback")
                steps.add(result.errors[0].split(":")[2])
                with open(self.path(run_dir, "orthant.log")) as file:
                    self.assertIn(result.errors[0], file.read())
            self.assertEqual(len(steps), 1, "not the same step on every grid")

    def test_first_of_several(self):
        self.write_bad({200: 1e30, 213: 1e38, 231: 1e30})
        for grid in GRIDS:
            result = self.train(f"{grid[0]}x{grid[1]}", grid, run__rollback="none")
            self.check_failure(result, 6, "step 5", "row 200 of", "checkpoint is of step 3")

    def test_injected(self):
        """A NaN that comes from nowhere: in one token's error, in the gradient."""
        write_activations(self.path("bad.h5"), self.good)
        for grid, rank, row in (((1, 1), 0, 96), ((1, 2), 1, 120), ((2, 1), 1, 120),
                                ((2, 2), 3, 132)):
            name = f"{grid[0]}x{grid[1]}"
            keys = {"run__rollback": "none", "checkpoint__every": "none"}
            result = self.train(name + "-loss", grid, **keys,
                                env={"ORTHANT_FAULT": f"step.loss:3:nan@{rank}"})
            self.check_failure(result, 6, "step 3: the loss is not finite", f"first in row {row} of",
                               "position 96", "no checkpoint yet")
            result = self.train(name + "-gradient", grid, **keys,
                                env={"ORTHANT_FAULT": f"step.gradient:3:nan@{rank}"})
            self.check_failure(result, 6, "step 3: the gradient is not finite (of b_dec)",
                               "no single row", "position 96")
            result = self.train(name, grid, env={"ORTHANT_FAULT": f"step.gradient:3:nan@{rank}"})
            self.check_success(result)
            self.assertIsNone(self.records(name)[0]["rollback"]["row"])

    def test_moments(self):
        """A gradient whose squares fp32 does not hold would spoil Adam unseen."""
        self.write_bad({200: 1e13})
        result = self.train("run", run__rollback="none")
        self.check_failure(result, 6, "step 5", "moments hold squares", "row 200 of")
        # the clip makes it small enough
        self.check_success(self.train("clipped", train__clip=1))



if __name__ == "__main__":
    unittest.main()
