# Memory that is refused, at places all over a run and the other commands.
# timeout: 600
"""FAULTS 14: whichever allocation fails on whichever rank, one line says what there was no memory
for, all ranks return 7, and none waits for another. Needs a program with fault injection (the dev
presets). test_faults_memory_long.py refuses every single one."""
import os
import shutil
import unittest

import h5py
import numpy as np

import support
from support import run, tokens, write_activations


class Memory(support.Case):
    apart = 107  # from one allocation that is refused to the next: no divisor of what repeats

    def setUp(self):
        super().setUp()
        self.data = write_activations(self.path("data.h5"), tokens(300, 16))
        self.config = self.write_config(
            run__dir=self.path("run"), run__steps=4, data__files=self.data,
            data__eval_files=self.data, eval__every=2, model__n_latent=64, model__k=4, train__batch=30, checkpoint__every=2,
            log__every=1)
        self.model = self.path("model", "checkpoints", "step-000000004.h5")

    def refuse_each(self, arguments, ranks, rank, fresh=None):
        """Until there is no further allocation to refuse: how many there were, about."""
        occurrence, refused, spared = 1, 0, 0
        while True:
            if fresh:
                shutil.rmtree(self.path(fresh), ignore_errors=True)
            fault = f"memory.allocate:{occurrence}:enomem@{rank}"
            result = run(arguments, ranks, env={"ORTHANT_FAULT": fault}, cwd=self.folder)
            if "orthant: fault:" not in result.stderr:
                self.check_success(result)
                self.assertLessEqual(spared, 1 + refused // 40)
                return occurrence
            with self.subTest(fault=fault, ranks=ranks):
                if result.code == 0:  # what a run does without: the estimate, old checkpoints
                    self.check_success(result)
                    spared += 1
                else:
                    self.check_failure(result, 7, "memory")
                    refused += 1
            occurrence += self.apart

    def test_estimate(self):
        """A run that will not fit is told of at once, with the node."""
        for ranks in (1, 3):
            shutil.rmtree(self.path("run"), ignore_errors=True)
            result = run(["train", self.config, "--quiet"], ranks,
                         env={"ORTHANT_FAULT": f"memory.room:1:short@{ranks - 1}"})
            self.check_success(result)
            warnings = [line for line in result.warnings if "memory" in line]
            self.assertEqual(len(warnings), 1, result.stderr)
            self.assertRegex(warnings[0], f"ranks on {os.uname().nodename} will take up to "
                                          r"0\.[0-9] GiB, where 0\.0 GiB are left; use more nodes")

    def test_train(self):
        for ranks, rank in ((2, 1), (2, 0)):
            self.assertGreater(self.refuse_each(["train", self.config, "--quiet"], ranks, rank,
                                                "run"), 500)
            self.assertEqual(support.steps(self.path("run")), [2, 4])

    def test_resume(self):
        """Going on, from one of two checkpoints: neither is harmed."""
        self.check_success(run(["train", self.config, "--quiet"], 2))
        before = [support.checkpoint(self.path("run"), step) for step in (2, 4)]
        self.refuse_each(["train", self.config, "--quiet"], 2, 1)
        for step, arrays in zip((2, 4), before, strict=True):
            self.check_equal(support.checkpoint(self.path("run"), step), arrays)
        self.assertEqual(sorted(os.listdir(self.path("run", "checkpoints"))),
                         ["step-000000002.h5", "step-000000004.h5"])

    def test_what_is_given(self):
        """Without the memory to look at a file it is not taken for another kind."""
        self.check_success(run(["train", self.config, "--quiet", "--set", "run.dir=model"], 2,
                               cwd=self.folder))
        for arguments, end in ((["spectrum", self.model, "--data", self.data], 25),
                               (["info", self.data], 18)):
            for occurrence in range(10, end):
                fault = f"memory.allocate:{occurrence}:enomem"
                with self.subTest(arguments=arguments, fault=fault):
                    result = run(arguments, env={"ORTHANT_FAULT": fault}, cwd=self.folder)
                    self.check_failure(result, 7, "memory")

    def test_other_commands(self):
        self.check_success(run(["train", self.config, "--quiet", "--set", "run.dir=model"], 2,
                               cwd=self.folder))
        with h5py.File(self.path("labels.h5"), "w") as file:
            file["labels"] = np.arange(300) % 2
        for arguments in (["eval", self.model, "--data", self.data, "--json", "e.json",
                           "--latents", "l.json"],
                          ["encode", self.model, "--data", self.data, "--out", "c.h5"],
                          ["probe", self.model, "--data", self.data, "--labels", "labels.h5"],
                          ["info", self.model, "--verify"],
                          ["info", self.data, "--stats"],
                          ["convert", self.data, "--out", "x.npy"],
                          ["synth", "--out", "s.h5", "--tokens", "500", "--d-model", "8",
                           "--latents", "16", "--active", "2"]):
            self.refuse_each(arguments, 2, 1)
            self.refuse_each(arguments, 1, 0)


if __name__ == "__main__":
    unittest.main()
