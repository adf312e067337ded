# Time limits, and jobs that start again and again.
# timeout: 200
"""SLURM's time limit beside run.max_time: what ends the run is named, with a checkpoint and exit code
75 in time (FAULTS 9); a job that is requeued without progress stops (FAULTS 11)."""
import json
import os
import signal
import time
import unittest

import support
from support import run, tokens, write_activations

FRESH = {"SLURM_JOB_ID": "4711"}


class Case(support.Case):
    def setUp(self):
        super().setUp()
        write_activations(self.path("data.h5"), tokens(2000, 32))
        self.run_dir = self.path("run")

    def config(self, **keys):
        defaults = {"run__dir": self.run_dir, "run__steps": 10**6, "data__files":
                    self.path("data.h5"), "model__n_latent": 256, "train__batch": 200,
                    "checkpoint__every": "none"}
        return self.write_config(**{**defaults, **keys})

    def train(self, ranks=1, env=None, resume="auto", **keys):
        return run(["train", self.config(**keys), "--resume", resume], ranks, env=env)


class Limit(Case):
    def test_slurm(self):
        """Every rank but the first may have another environment: the first one's counts."""
        for ranks in (1, 3):
            self.run_dir = self.path(f"run-{ranks}")
            end = int(time.time()) + 11
            result = self.train(ranks, {"SLURM_JOB_END_TIME": str(end)}, eval__every="none")
            self.check_success(result, 75)
            self.assertLess(time.time(), end)
            text = "\n".join(result.lines)
            self.assertIn("SLURM's time limit ends the run in", text)
            self.assertIn("stopped by SLURM's time limit", text)
            last = support.metrics(self.run_dir)[-1]["step"]
            self.assertGreaterEqual(support.steps(self.run_dir)[-1], last)

    def test_the_earlier_counts(self):
        env = {"SLURM_JOB_END_TIME": str(int(time.time()) + 3600)}
        result = self.train(1, env, run__max_time="00:00:03")
        self.check_success(result, 75)
        self.assertIn("stopped by run.max_time", "\n".join(result.lines))
        env = {"SLURM_JOB_END_TIME": str(int(time.time()) - 5)}  # over: a step, then the end
        result = self.train(1, env, run__max_time="01:00:00")
        self.check_success(result, 75)
        self.assertIn("stopped by SLURM's time limit", "\n".join(result.lines))

    def test_nonsense(self):
        for text in ("tomorrow", "12345"):
            self.run_dir = self.path("run-" + text)
            result = self.train(3, {"SLURM_JOB_END_TIME": text}, run__steps=3)
            self.check_success(result)
            self.assertEqual(len(result.warnings), 1 + ("take turns" in result.stderr))
            self.assertIn(f"SLURM_JOB_END_TIME is '{text}'", result.stderr)


class Restarts(Case):
    def killed(self, count, visit=1, **env):
        """A start that dies when it begins a step."""
        result = self.train(1, {**FRESH, "SLURM_RESTART_COUNT": str(count), **env,
                                "ORTHANT_FAULT": f"step.begin:{visit}:kill"},
                            run__steps=6, checkpoint__every=1)
        self.assertEqual(result.code, -signal.SIGKILL, result.stderr)

    def test_no_progress(self):
        self.killed(0)
        self.killed(1, 3)  # two steps made, two saved: seen by the next start
        for count in (2, 3, 4):
            self.killed(count)
        for ranks in (1, 3):
            result = self.train(ranks, {**FRESH, "SLURM_RESTART_COUNT": "5"}, run__steps=6)
            self.check_failure(result, 7, "3 starts", "step 2", "orthant.log", "submit")
        with open(os.path.join(self.run_dir, "orthant.log")) as file:
            self.assertIn("3 starts made no progress", file.read())
        # the same by hand, or as a new job, is none of that
        self.killed(0, SLURM_JOB_ID="4712")
        self.check_success(self.train(1, {"SLURM_JOB_ID": "4712", "SLURM_RESTART_COUNT": "1"},
                                      run__steps=6))
        self.check_success(self.train(run__steps=7))
        self.assertFalse(os.path.exists(os.path.join(self.run_dir, "restarts.json")))

    def test_resume_is_for_the_first_start(self):
        """--resume PATH or never with a job: requeued, it goes on from what it has saved."""
        self.check_success(self.train(run__steps=4))
        origin = support.checkpoint_path(self.run_dir, 4)
        for name, resume in (("path", origin), ("never", "never")):
            self.run_dir = self.path(name)
            fault = {**FRESH, "ORTHANT_FAULT": "step.begin:3:kill"}
            for count, told in ((0, origin if resume == origin else None), (1, self.run_dir)):
                result = self.train(1, {**fault, "SLURM_RESTART_COUNT": str(count)}, run__steps=12,
                                    resume=resume, checkpoint__every=1)
                self.assertEqual(result.code, -signal.SIGKILL, result.stderr)
                self.assertEqual(f"resuming from {told}" in result.stderr, told is not None)
            newest = 8 if resume == origin else 4
            self.assertEqual(support.steps(self.run_dir)[-1], newest)
        # in its own folder, where later ones are
        self.run_dir = self.path("path")
        first = support.checkpoint_path(self.run_dir, support.steps(self.run_dir)[0])
        for ranks in (1, 3):
            result = self.train(ranks, FRESH, run__steps=12, resume=first)
            self.check_failure(result, 2, "later step 8", "run.dir")
        self.check_success(self.train(run__steps=12, resume=first))

    def test_done(self):
        """A run with nothing left to do is done, however often it was started."""
        self.check_success(self.train(run__steps=2))
        with open(os.path.join(self.run_dir, "restarts.json"), "w") as file:
            json.dump({"job": "4711", "step": 2, "starts": 3}, file)
        self.check_success(self.train(1, {**FRESH, "SLURM_RESTART_COUNT": "9"}, run__steps=2))


if __name__ == "__main__":
    unittest.main()
