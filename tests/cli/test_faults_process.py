# Signals, crashes and kills at exact places of a run; clocks that jump; ranks that differ.
# timeout: 600
"""FAULTS 4, 6, 8, 13, 19, 31, 32, 52, 55 and 56, by fault injection where the place matters. Needs
a program with fault injection (the dev presets)."""
import os
import shutil
import signal
import unittest

import support
from support import LAUNCHER, ORTHANT, run, tokens, write_activations


class Case(support.Case):
    def setUp(self):
        super().setUp()
        self.data = write_activations(self.path("data.h5"), tokens(300, 16))
        self.run_dir = self.path("run")

    def config(self, name="config.yaml", **keys):
        defaults = {"run__dir": self.run_dir, "run__steps": 6, "data__files": self.data,
                    "model__n_latent": 60, "model__k": 4, "train__batch": 30,
                    "checkpoint__every": 100, "log__every": 1}
        return self.write_config(name, **{**defaults, **keys})

    def train(self, ranks=3, fault=None, **keys):
        return run(["train", self.config(**keys), "--quiet"], ranks,
                   env={"ORTHANT_FAULT": fault} if fault else None)

    def check_whole(self, ranks, **keys):
        """What is in run.dir is what a run leaves that nothing disturbed."""
        found, self.run_dir = self.run_dir, self.path("whole")
        shutil.rmtree(self.run_dir, ignore_errors=True)
        self.check_success(self.train(ranks, **keys))
        whole, self.run_dir = self.run_dir, found
        self.check_equal(support.checkpoint(found, 6), support.checkpoint(whole, 6))
        for one, other in zip(support.metrics(found), support.metrics(whole), strict=True):
            for key in one.keys() - {"time", "tokens_per_s", "phase"}:
                self.assertEqual(one[key], other[key], key)


class Signals(Case):
    def test_killed_in_a_line(self):  # 4
        for ranks in (1, 3):
            self.run_dir = self.path(f"run-{ranks}")
            result = self.train(ranks, "metrics.append:5:short@0,metrics.restore:1:kill@0",
                                checkpoint__every=2)
            self.assertNotEqual(result.code, 0)
            with open(os.path.join(self.run_dir, "metrics.jsonl"), encoding="utf-8") as file:
                lines = file.read().split("\n")
            self.assertEqual(len(lines), 5)
            self.assertTrue(lines[4].startswith('{"step":5,'), lines[4])  # half of it
            self.check_success(self.train(ranks, checkpoint__every=2))
            self.check_whole(ranks, checkpoint__every=2)

    def test_during_a_checkpoint(self):  # 6
        for ranks in (1, 3):
            for name, fault, saved in (
                    ("once", "h5.write:3:term@0", [2]),  # in the one of step 2
                    ("again", "step.begin:3:term@0,h5.write:40:term@0,h5.write:42:int@0", [2, 3]),
                    ("save", "step.begin:3:usr2@0,h5.write:40:usr2@0,step.begin:5:usr1@0",
                     [2, 3, 5])):
                with self.subTest(ranks=ranks, fault=fault):
                    self.run_dir = self.path(f"{name}-{ranks}")
                    keys = {"checkpoint__every": 2, "checkpoint__keep": 9}
                    result = self.train(ranks, fault, **keys)
                    self.check_success(result, 75)
                    for one in fault.split(","):
                        self.assertIn("orthant: fault: " + one.split("@")[0], result.stderr)
                    self.assertEqual(support.steps(self.run_dir), saved)
                    self.check_success(self.train(ranks, **keys))
                    self.check_whole(ranks, **keys)

    def test_at_one_rank(self):  # 8: all stop, or all save, at the same step
        for rank, number in ((3, "usr1"), (1, "term"), (2, "int")):
            self.run_dir = self.path(f"stop-{rank}")
            result = self.train(4, f"step.begin:3:{number}@{rank}", grid__n_group=2)
            self.check_success(result, 75)
            self.assertEqual(support.steps(self.run_dir), [3])
        self.run_dir = self.path("save")
        result = self.train(4, "step.begin:3:usr2@2", grid__n_group=2)
        self.check_success(result)
        self.assertEqual(support.steps(self.run_dir), [3, 6])

    def test_crash(self):  # 13: at an exact step
        for ranks in (1, 3):
            self.run_dir = self.path(f"run-{ranks}")
            result = self.train(ranks, f"step.begin:4:segv@{ranks - 1}", checkpoint__every=2)
            self.assertNotEqual(result.code, 0)
            self.assertEqual(len(result.errors), 1, result.stderr)
            self.assertRegex(result.errors[0], f"rank {ranks - 1} on {os.uname().nodename}, "
                                               "step 3: segmentation fault; resume")
            self.check_success(self.train(ranks, checkpoint__every=2))
            self.check_whole(ranks, checkpoint__every=2)

    def test_jumping_clock(self):  # 32
        """The wall clock goes three days forth and back all the time: no timer notices."""
        result = run(["train", self.config(run__steps=10**6, run__max_time="00:00:05",
                                           run__watchdog="00:00:10", train__batch=300,
                                           checkpoint__every="00:00:01", checkpoint__keep=99)],
                     env={"LD_PRELOAD": os.environ["ORTHANT_JUMPING_CLOCK"],
                          # the address sanitizer wants to be the first library
                          "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "")
                          + ":verify_asan_link_order=0"})
        self.check_success(result, 75)
        lines = support.metrics(self.run_dir)
        self.assertTrue(2 <= len(support.steps(self.run_dir)) <= 6)  # one each second
        self.assertTrue(1.5 < lines[-1]["time"] < 5)
        for before, line in zip(lines, lines[1:]):
            self.assertGreaterEqual(line["time"], before["time"])
            self.assertGreater(line["tokens_per_s"], 0)
            for seconds in line["phase"].values():
                self.assertTrue(0 <= seconds < 5)


class Files(Case):
    def test_folder_before_data(self):  # 19: even when there are no data
        for run_dir in ("nowhere/run", "data.h5", "data.h5/run", "/proc/run"):
            for ranks in (1, 3):
                result = run(["train", self.config(run__dir=run_dir, data__files="missing.h5")],
                             ranks, cwd=self.folder)
                self.check_failure(result, 4, run_dir, "run.dir")

    def test_old_checkpoint_stays(self):  # 31: a folder cannot be unlinked
        for ranks in (1, 3):
            self.run_dir = self.path(f"run-{ranks}")
            keys = {"checkpoint__every": 2, "checkpoint__keep": 1}
            self.check_success(self.train(ranks, run__steps=4, **keys))
            old = support.checkpoint_path(self.run_dir, 3)
            os.mkdir(old)
            result = self.train(ranks, **keys)
            self.check_success(result)
            warnings = [line for line in result.warnings if "cannot delete" in line]
            self.assertEqual(len(warnings), 1, result.stderr)
            self.assertIn(old, warnings[0])
            self.assertEqual(support.steps(self.run_dir), [3, 6])
            self.check_whole(ranks, **keys)

    def test_names_of_any_bytes(self):  # 56
        odd = os.fsdecode(os.fsencode(self.path("odd-")) + b"\xff\xfe\n\x01")
        os.mkdir(odd)
        shutil.copy(self.data, os.path.join(odd, "part.h5"))
        for ranks in (1, 3):
            # what the configuration holds must be text: it is written again
            for key in ("run.dir", "data.files", "init.file"):
                result = run(["train", self.config(), "--set", f"{key}={odd}/x"], ranks)
                self.check_failure(result, 2, key)
            # what only a glob or the command line names may be anything
            self.run_dir = self.path(f"run-{ranks}")
            config = self.config(data__files=self.path("odd-*", "part.h5"))
            self.check_success(run(["train", config], ranks))
            os.replace(config, os.path.join(odd, "c.yaml"))
            shutil.copy(support.checkpoint_path(self.run_dir, 6), os.path.join(odd, "m.h5"))
            result = run(["train", os.path.join(odd, "c.yaml"), "--resume",
                          os.path.join(odd, "m.h5"), "--set", "run.steps=7"], ranks)
            self.check_success(result)
            told = [line for line in result.lines if "resuming from" in line]
            self.assertRegex(told[0], "odd-.*m.h5: step 6 of 7.*the continuation is")
            self.assertEqual(support.steps(self.run_dir), [6, 7])
            # and an error that names it is still one line
            result = run(["train", self.config(), "--resume", os.path.join(odd, "no.h5")], ranks)
            self.check_failure(result, 2, "no such checkpoint")
            self.assertNotIn("\x01", result.stderr)


class Ranks(Case):
    def test_other_configuration(self):  # 52
        for name, steps in (("a", 6), ("b", 7)):
            os.mkdir(self.path(name))
            self.config(os.path.join(name, "c.yaml"), run__steps=steps)
        program = [ORTHANT, "train", "c.yaml"]
        launcher = [*LAUNCHER, "-n", "2", "-wdir", self.path("a"), *program, ":", "-n", "1",
                    "-wdir", self.path("b")]
        result = support.Running(["train", "c.yaml"], 3, launcher=launcher).wait()
        self.check_failure(result, 7, "rank 2 has loaded another one than rank 0")
        self.assertFalse(os.path.exists(self.run_dir))

    def test_what_does_not_divide(self):  # 55: works, and is the same but for rounding
        keys = {"model__n_latent": 61, "train__batch": 31}
        found = []
        for ranks, group in ((1, 1), (4, 2), (3, 3), (3, 1)):
            self.run_dir = self.path(f"run-{ranks}-{group}")
            self.check_success(self.train(ranks, grid__n_group=group, **keys))
            found.append([line["loss"] for line in support.metrics(self.run_dir)])
        for other in found[1:]:
            for a, b in zip(found[0], other, strict=True):
                self.assertAlmostEqual(a, b, delta=2e-5 * abs(a))


if __name__ == "__main__":
    unittest.main()
