# Signals and time limits: a checkpoint, the documented exit code, and the same command goes on.
# timeout: 240
# processors: 2
"""FAULTS 5 to 9, 12, 13, 16, 17, and a signal whose checkpoint fails. Signals go to one rank:
mpirun passes USR1 and USR2 on, but follows TERM with KILL two seconds later whatever ranks do."""
import os
import signal
import time
import unittest

import support
from support import run, tokens, write_activations

ENDLESS = 10**6  # steps: the run is not over before the signal comes


class Signals(support.Case):
    def setUp(self):
        super().setUp()
        self.data = write_activations(self.path("data.h5"), tokens(3000, 48))
        self.run_dir = self.path("run")

    def config(self, **keys):
        defaults = {"run__dir": self.run_dir, "run__steps": ENDLESS, "data__files": self.data,
                    "model__n_latent": 200, "model__k": 8, "train__batch": 600, "log__every": 1}
        return self.write_config(**{**defaults, **keys})

    def start(self, ranks=3, **keys):
        return support.Running(["train", self.config(**keys)], ranks)

    def started(self, ranks=3, step=4, **keys):
        """A run that has taken some steps, and the pids of its ranks."""
        running = self.start(ranks, **keys)
        pids = running.wait_for_ranks()
        running.wait_for_step(self.run_dir, step)
        return running, pids

    def check_stopped(self, result, steps=ENDLESS):
        """Exit code 75 with one checkpoint, of the last step that was logged."""
        self.check_success(result, 75)
        self.assertEqual(len(support.steps(self.run_dir)), 1)
        step = support.steps(self.run_dir)[0]
        if step > 0:
            self.assertEqual(support.metrics(self.run_dir)[-1]["step"], step)
        self.assertIn(f"step {step} of {steps}", result.lines[-1])
        return step

    def losses(self, run_dir):
        return [(line["step"], line["loss"], line["grad_norm"])
                for line in support.metrics(run_dir)]

    def test_stop(self):  # 5, 8
        """Stopped, and gone on with as if nothing had happened."""
        whole = {}
        for ranks in (1, 3):
            run_dir = self.path(f"whole-{ranks}")
            self.check_success(run(["train", self.config(run__dir=run_dir, run__steps=300)], ranks))
            whole[ranks] = self.losses(run_dir)
        for ranks, rank, number in ((1, 0, signal.SIGUSR1), (1, 0, signal.SIGINT),
                                    (1, 0, signal.SIGTERM), (3, 0, signal.SIGTERM),
                                    (3, 1, signal.SIGUSR1), (3, 2, signal.SIGINT),
                                    (3, "mpirun", signal.SIGUSR1)):
            with self.subTest(ranks=ranks, rank=rank, signal=number.name):
                self.run_dir = self.path(f"{ranks}-{rank}-{number.name}")
                running, pids = self.started(ranks)
                os.kill(running.process.pid if rank == "mpirun" else pids[rank], number)
                step = self.check_stopped(running.wait())
                self.assertGreaterEqual(step, 4)
                self.check_success(run(["train", self.config(run__steps=step + 10)], ranks))
                losses = self.losses(self.run_dir)
                self.assertEqual([line[0] for line in losses], list(range(1, step + 11)))
                self.assertEqual(losses[:300], whole[ranks][:step + 10])

    def test_save(self):  # 5
        for ranks in (1, 3):
            self.run_dir = self.path(f"run-{ranks}")
            running, pids = self.started(ranks)
            os.kill(pids[ranks - 1], signal.SIGUSR2)
            running.wait_for(lambda: support.steps(self.run_dir), "checkpoint")
            saved = support.steps(self.run_dir)
            self.assertGreaterEqual(saved[0], 4)
            running.wait_for_step(self.run_dir, saved[0] + 5)
            self.assertEqual(support.steps(self.run_dir), saved)  # one for one signal
            os.kill(pids[0], signal.SIGUSR1)
            self.check_success(running.wait(), 75)
            self.assertEqual(support.steps(self.run_dir)[0], saved[0])
            self.assertEqual(len(support.steps(self.run_dir)), 2)

    def test_twice(self):  # 6
        for ranks in (1, 3):
            self.run_dir = self.path(f"run-{ranks}")
            running, pids = self.started(ranks)
            for pid in [pids[0], *pids.values()]:  # as srun does; a checkpoint may be under way
                try:
                    os.kill(pid, signal.SIGTERM)
                except ProcessLookupError:
                    pass
                time.sleep(0.01)
            self.check_stopped(running.wait())

    def handles(self, pid, number):
        """Whether a process has set its handler for a signal."""
        try:
            with open(f"/proc/{pid}/status") as file:
                for line in file:
                    if line.startswith("SigCgt:"):
                        return int(line.split()[1], 16) >> (number - 1) & 1
        except OSError:
            pass
        return False

    def test_early(self):  # 7: from the first moment at which the program runs
        running = self.start(1, run__steps=100)
        running.wait_for(lambda: self.handles(running.process.pid, signal.SIGUSR1), "handler")
        os.kill(running.process.pid, signal.SIGUSR1)
        self.assertEqual(self.check_stopped(running.wait(), 100), 0)
        # the very same command goes on, here from the initial weights
        self.check_success(run(["train", self.config(run__steps=100)]))
        self.assertEqual(support.steps(self.run_dir), [0, 100])
        whole = self.path("whole")
        self.check_success(run(["train", self.config(run__dir=whole, run__steps=100)]))
        self.check_equal(support.checkpoint(self.run_dir, 100), support.checkpoint(whole, 100))

        self.run_dir = self.path("run-3")
        running = self.start(3)
        found = {}

        def first_rank_runs():
            found.update(running.pids())
            return any(self.handles(pid, signal.SIGTERM) for pid in found.values())

        running.wait_for(first_rank_runs, "handler")
        for pid in found.values():
            if self.handles(pid, signal.SIGTERM):
                os.kill(pid, signal.SIGTERM)
        self.check_stopped(running.wait())

    def test_at_the_end(self):  # a signal when the run is complete: 0
        running, pids = self.started(1, 100, run__steps=100)
        try:
            os.kill(pids[0], signal.SIGTERM)
        except ProcessLookupError:
            pass
        result = running.wait()
        self.check_success(result)
        self.assertEqual(support.steps(self.run_dir)[-1], 100)

    def test_time_limit(self):  # 9
        for ranks in (1, 3):
            self.run_dir = self.path(f"none-{ranks}")
            start = time.monotonic()
            self.check_stopped(run(["train", self.config(run__max_time="00:00:01")], ranks))
            self.assertLess(time.monotonic() - start, 30)
        self.run_dir = self.path("some")
        start = time.monotonic()
        result = run(["train", self.config(run__max_time="00:00:05",
                                           checkpoint__every="00:00:01", checkpoint__keep=99)], 3)
        elapsed = time.monotonic() - start
        self.check_success(result, 75)
        last = support.metrics(self.run_dir)[-1]
        self.assertEqual(support.steps(self.run_dir)[-1], last["step"])
        self.assertTrue(2 <= len(support.steps(self.run_dir)) <= 6)  # one each second
        self.assertLess(last["time"], 5)
        self.assertGreater(last["time"], 1.5)  # it used the time
        self.assertGreater(elapsed, 2)

    def test_failing_checkpoint(self):  # 17; a signal whose checkpoint fails: 4
        for ranks in (1, 3):
            self.run_dir = self.path(f"run-{ranks}")
            running, pids = self.started(ranks)
            folder = os.path.join(self.run_dir, "checkpoints")
            os.rmdir(folder)
            open(folder, "w").close()  # no folder any more, also for root
            os.kill(pids[0], signal.SIGUSR2)
            running.wait_for(lambda: "goes on" in running.said(), "warning")
            step = support.metrics(self.run_dir, torn=True)[-1]["step"]
            running.wait_for_step(self.run_dir, step + 3)
            # when the storage is back, so are the checkpoints
            os.unlink(folder)
            os.mkdir(folder)
            os.kill(pids[ranks - 1], signal.SIGUSR2)
            running.wait_for(lambda: os.listdir(folder) and support.steps(self.run_dir),
                             "checkpoint")
            saved = support.steps(self.run_dir)[0]
            running.wait_for_step(self.run_dir, saved + 2)  # it is done with that checkpoint
            os.rename(folder, folder + ".away")
            open(folder, "w").close()
            os.kill(pids[0], signal.SIGUSR1)
            result = running.wait()
            self.check_failure(result, 4, "checkpoints")
            kept = os.path.join(folder + ".away", f"step-{saved:09d}.h5")
            self.check_success(run(["info", kept, "--verify"]))

    def test_paused(self):  # 16
        running, pids = self.started(1)
        os.kill(pids[0], signal.SIGSTOP)
        time.sleep(0.5)
        self.assertIsNone(running.process.poll())
        os.kill(pids[0], signal.SIGCONT)
        step = support.metrics(self.run_dir, torn=True)[-1]["step"]
        running.wait_for_step(self.run_dir, step + 5)
        os.kill(pids[0], signal.SIGUSR1)
        self.check_stopped(running.wait())

    def test_hanging_rank(self):  # 12
        running, pids = self.started(3, run__watchdog="00:00:02")
        os.kill(pids[1], signal.SIGSTOP)
        result = running.wait()
        self.assertEqual(result.code, 76, result.stderr)
        self.assertTrue(result.errors, result.stderr)
        for error in result.errors:
            self.assertRegex(error, "rank [02] on .*no progress.* in phase .*: it waits for other "
                                    "ranks.*run.watchdog")

    def test_crash(self):  # 13
        for ranks, number, name in ((1, signal.SIGFPE, "arithmetic"),
                                    (1, signal.SIGILL, "illegal instruction .*processor"),
                                    (3, signal.SIGSEGV, "segmentation fault")):
            self.run_dir = self.path(f"run-{ranks}-{number}")
            running, pids = self.started(ranks, checkpoint__every=2)
            os.kill(pids[ranks - 1], number)
            result = running.wait()
            self.assertNotEqual(result.code, 0)
            self.assertEqual(len(result.errors), 1, result.stderr)
            self.assertRegex(result.errors[0], f"rank {ranks - 1} on .*, step [0-9]+: {name}")

    def test_other_verbs(self):
        """Those that have nothing to save end by the signal, as any program."""
        arguments = ["synth", "--out", self.path("x.h5"), "--tokens", "10000000", "--d-model", "64",
                     "--latents", "128", "--active", "4"]
        running = support.Running(arguments)
        time.sleep(0.5)
        os.kill(running.process.pid, signal.SIGTERM)
        self.assertEqual(running.wait().code, -signal.SIGTERM)


if __name__ == "__main__":
    unittest.main()
