# The watchdog: it names the rank that hangs, wherever it does, and spares those that are slow.
# timeout: 240
"""FAULTS 12 and 16. A hang is injected at one rank; the others wait for it. The exit code is 76, and
the next start goes on."""
import os
import signal
import time
import unittest

import support
from support import run, tokens, write_activations

# Seconds without progress. Nothing here is so slow but under a sanitizer.
LIMIT = 2 * int(os.environ.get("ORTHANT_TEST_PATIENCE", "1"))
STALLED = 76


class Case(support.Case):
    def setUp(self):
        super().setUp()
        self.data = write_activations(self.path("data.h5"), tokens(1200, 24))
        self.run_dir = self.path("run")

    def config(self, **keys):
        defaults = {"run__dir": self.run_dir, "run__steps": 20, "data__files": self.data,
                    "data__eval_files": self.data, "eval__every": 10, "checkpoint__every": 6,
                    "model__n_latent": 100, "model__k": 4, "train__batch": 120, "log__every": 1,
                    "run__watchdog": f"00:00:{LIMIT:02}"}
        return self.write_config(**{**defaults, **keys})

    def start(self, fault="", ranks=3, **keys):
        return support.Running(["train", self.config(**keys)], ranks,
                               env={"ORTHANT_FAULT": fault} if fault else {})

    def check_hang(self, fault, phase, **keys):
        """The rank that hangs is the first to be named; others may say that they wait."""
        rank = fault.split("@")[1]
        with self.subTest(fault=fault):
            start = time.monotonic()
            result = self.start(fault, **keys).wait()
            self.assertLess(time.monotonic() - start, LIMIT + 30)
            self.assertEqual(result.code, STALLED, result.stderr)
            self.assertRegex(result.errors[0],
                             f"rank {rank} on {os.uname().nodename}: no progress for {LIMIT} s in "
                             f"phase {phase}; look at that node.* run.watchdog$", result.stderr)
            for error in result.errors[1:]:
                self.assertIn("it waits for other ranks", error)


class Watchdog(Case):
    def test_hangs(self):
        self.check_hang("prepare.data:1:hang@2", "read")
        self.assertFalse(os.path.exists(os.path.join(self.run_dir, "metrics.jsonl")))
        self.check_hang("step.reduce:8:hang@2", "reduce")
        self.assertEqual(support.steps(self.run_dir), [6])
        self.check_hang("eval.batch:3:hang@1", "eval")
        self.assertEqual(support.steps(self.run_dir), [6])
        self.check_success(self.start().wait())
        self.assertEqual([line["step"] for line in support.metrics(self.run_dir)
                          if "loss" in line], list(range(1, 21)))
        undisturbed = self.path("undisturbed")
        self.check_success(self.start(run__dir=undisturbed).wait())
        self.check_equal(support.checkpoint(self.run_dir, 20), support.checkpoint(undisturbed, 20))

    def test_uncounted(self):
        """A job that stands still before its progress is known is requeued three times at most; one
        that was counted is not among them."""
        early, late = "prepare.data:1:hang@1", "step.begin:3:hang@1"
        for fault, restarts, code in ((early, 2, STALLED), (early, 3, 7), (late, 3, STALLED)):
            with self.subTest(fault=fault, restarts=restarts):
                result = support.Running(["train", self.config()], 2, env={
                    "ORTHANT_FAULT": fault, "ORTHANT_RESTART_COUNT": str(restarts)}).wait()
                self.assertEqual(result.code, code, result.stderr)
                self.assertIn("rank 1 on", result.errors[0])

    def test_slow(self):
        """What takes long but moves is no hang, nor is one rank that the others wait for."""
        self.check_success(self.start("eval.batch:1+:slow@1", run__steps=10).wait())
        evaluation = [line["eval"] for line in support.metrics(self.run_dir) if "eval" in line]
        self.assertGreater(evaluation[0]["seconds"], 1.5 * 2)

    def test_stopped_and_continued(self):
        """A job that is suspended for longer than the limit."""
        running = self.start(run__steps=10**6, checkpoint__every="none", eval__every="none")
        pids = running.wait_for_ranks()
        running.wait_for_step(self.run_dir, 5)
        for pid in pids.values():
            os.kill(pid, signal.SIGSTOP)
        time.sleep(1.6 * LIMIT)
        for pid in pids.values():
            os.kill(pid, signal.SIGCONT)
        step = support.metrics(self.run_dir, torn=True)[-1]["step"]
        running.wait_for_step(self.run_dir, step + 50)
        os.kill(pids[0], signal.SIGUSR1)
        self.check_success(running.wait(), 75)

    def test_none(self):
        """Without a limit nothing is ended; one rank alone is watched as well."""
        running = self.start("step.begin:3:hang", 1, run__watchdog="none")
        running.wait_for(lambda: "fault: step.begin" in running.said(), "hang")
        time.sleep(1.2 * LIMIT)
        self.assertIsNone(running.process.poll())
        running.kill()
        running.close()
        result = run(["train", self.config()], env={"ORTHANT_FAULT": "step.begin:3:hang"})
        self.check_failure(result, STALLED, "rank 0", "phase other")


if __name__ == "__main__":
    unittest.main()
