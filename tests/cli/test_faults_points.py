# Every fault point, with the errors its origin can give, on one rank of three.
# timeout: 600
"""What a run does when an operation fails: one line that names what and where, one exit code of all
ranks, no rank left waiting; and the same command, without the fault, then ends where a run ends
that nothing disturbed. Needs a program with fault injection (the dev presets)."""
import json
import os
import shutil
import unittest

import support
from support import run, tokens, write_activations

# A run: 6 steps, a checkpoint each 2. Where it stops: fault, exit code, words of its error.
STOPS = [
    ("launch.mpi:1:eio@2", 7, ["thread level", "MPI_THREAD_FUNNELED"]),  # 53
    ("launch.processor:1:eio", 7, ["newer processor", "-march"]),  # 51
    ("par.collective:400:eio@1", 7, ["MPI: rank 1", "a rank or a link died"]),
    ("h5.open:1:eagain", 3, ["data.h5", "HDF5_USE_FILE_LOCKING=FALSE"]),  # 30
    ("h5.open:1:eio@2", 3, ["data.h5", "cannot be opened", "Input/output error"]),  # 41
    ("h5.dataset:1:eio@1", 3, ["data.h5", "cannot open dataset 'activations'"]),
    ("h5.close:1:eio@1", 3, ["data.h5", "cannot be closed"]),
    ("rows.open:1:eacces@1", 3, ["data.h5", "row ", "Permission denied"]),
    ("rows.open:1:eio", 3, ["data.h5", "row ", "Input/output error"]),
    ("rows.read:2:eio@2", 3, ["data.h5", "row ", "Input/output error"]),  # 41
    ("rows.read:2:short@1", 3, ["data.h5", "row ", "shorter than when it was opened"]),  # 43
    ("batch:3:nan@1", 3, ["data.h5", "row ", "NaN or Inf", "data.nonfinite"]),  # 37
    ("step.loss:3:nan@1", 6, ["step 3", "not finite"]),  # 48
    ("step.gradient:3:nan@1", 6, ["step 3", "not finite"]),
    ("stream.thread:1:eagain@1", 7, ["read-ahead thread", "ulimit -u"]),
    ("watchdog.thread:1:eagain@2", 7, ["rank 2", "run.watchdog"]),
    ("lock.thread:1:eagain", 7, ["lock", "raise the limit of processes"]),
    ("lock.create:1:erofs", 4, ["lock", "Read-only file system"]),
    ("lock.write:1:enospc", 4, ["lock", "No space left"]),
    ("lock.write:1:short", 4, ["lock", "No space left"]),
    ("run_dir.make:1:eacces", 4, ["run", "make the folder", "Permission denied"]),
    ("run_dir.try:3:edquot", 4, ["checkpoints", "quota"]),
    ("run_dir.log:1:eacces", 4, ["orthant.log", "Permission denied"]),
    ("run_dir.create:1:enospc", 4, ["config.yaml", "create", "No space left"]),
    ("run_dir.write:1:enospc", 4, ["config.yaml", "write", "No space left"]),
    ("run_dir.sync:1:eio", 4, ["config.yaml", "bring to the disk", "Input/output error"]),
    ("run_dir.rename:1:eio", 4, ["config.yaml", "rename", "Input/output error"]),
    ("folder.sync:1:eio", 4, ["run", "bring to the disk", "Input/output error"]),
    ("metrics.open:1:eacces", 4, ["metrics.jsonl", "open", "Permission denied"]),
    ("metrics.read:1:eio", 4, ["metrics.jsonl", "read", "Input/output error"]),
    ("metrics.cut:1:efbig", 4, ["metrics.jsonl", "cut back", "File too large"]),
    # the last checkpoint cannot be done without
    ("h5.create:3:enospc@1", 4, ["step-000000006.h5", "No space left"]),
    ("h5.dataset:100+:enospc@1", 4, ["step-000000006.h5", "No space left"]),
    ("h5.attribute:30+:eio@2", 4, ["step-000000006.h5", "attribute", "Input/output error"]),
    ("h5.write:30+:edquot@2", 4, ["step-000000006.h5", "cannot write rows", "quota"]),
    ("h5.write:30+:flip@1", 4, ["step-000000006.h5", "checksum", "stored"]),  # 20
    ("h5.write:30+:short@1", 4, ["step-000000006.h5", "checksum", "stored"]),  # 20
    ("h5.read:90+:eio@2", 4, ["step-000000006.h5", "cannot read", "Input/output error"]),
    ("h5.read:90+:flip@2", 4, ["step-000000006.h5", "checksum", "stored"]),
]

# Where it goes on: fault, words of the only warning (none: no warning at all).
GOES_ON = [
    ("run_dir.write:1:short", []),
    ("rows.read:4:flip@1", []),  # one value of one row: as other data would do
    ("metrics.append:2:enospc", ["metrics.jsonl", "No space left", "training goes on"]),
    ("metrics.append:2:short", ["metrics.jsonl", "No space left", "training goes on"]),
    ("metrics.append:2:short,metrics.restore:1:eio",
     ["metrics.jsonl", "No space left", "training goes on"]),
    ("folder.sync:2:eio", ["checkpoints", "Input/output error", "tries again later"]),
    ("h5.create:1:eacces@2", ["step-000000002.h5", "Permission denied", "tries again later"]),
    ("h5.dataset:3:eio@1", ["step-000000002.h5", "Input/output error", "tries again later"]),
    ("h5.attribute:2:enospc@1", ["step-000000002.h5", "attribute", "tries again later"]),
    ("h5.write:3:enospc@1", ["step-000000002.h5", "No space left", "tries again later"]),
    ("h5.write:2:eio@2", ["step-000000002.h5", "Input/output error", "tries again later"]),
    ("h5.write:2:flip@1", ["step-000000002.h5", "checksum", "tries again later"]),  # 20
    ("h5.write:2:short@2", ["step-000000002.h5", "checksum", "tries again later"]),  # 20
    ("h5.read:5:flip@1", ["step-000000002.h5", "checksum", "tries again later"]),
    ("h5.read:5:eio@1", ["step-000000002.h5", "Input/output error", "tries again later"]),
]


class Points(support.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.whole = {}
        maker = cls("noop")
        maker.setUp()
        cls.addClassCleanup(maker.doCleanups)
        for ranks in (1, 3):
            maker.check_success(run(["train", maker.config()], ranks))
            cls.whole[ranks] = support.checkpoint(maker.path("run"), 6)
            shutil.rmtree(maker.path("run"))

    def noop(self):
        """Only makes the runs to compare with."""

    def config(self, **keys):
        data = self.path("data.h5")
        if not os.path.exists(data):
            write_activations(data, tokens(300, 16))
        defaults = {"run__dir": self.path("run"), "run__steps": 6, "data__files": data,
                    "model__n_latent": 60, "model__k": 4, "train__batch": 30,
                    "checkpoint__every": 2, "checkpoint__keep": 9, "log__every": 1}
        return self.write_config(**{**defaults, **keys})

    def train(self, fault="", ranks=3, **keys):
        result = run(["train", self.config(**keys), "--quiet"], ranks,
                     env={"ORTHANT_FAULT": fault} if fault else None)
        for one in filter(None, fault.split(",")):
            self.assertIn(f"orthant: fault: {one.split(':')[0]}:", result.stderr)
        return result

    def check_whole(self, ranks=3):
        """The run is complete, as one that nothing disturbed, and no half-written file is left."""
        self.check_equal(support.checkpoint(self.path("run"), 6), self.whole[ranks])
        self.assertEqual([line["step"] for line in support.metrics(self.path("run"))],
                         [1, 2, 3, 4, 5, 6])
        names = [name for _, _, names in os.walk(self.path("run")) for name in names]
        self.assertEqual([name for name in names if "partial" in name or name == "lock"], [])

    def stops(self, ranks):
        for fault, code, words in STOPS:
            if ranks == 1:  # all there is
                fault = fault.split("@")[0]
                words = [word for word in words if "rank" not in word]
            with self.subTest(fault=fault, ranks=ranks):
                shutil.rmtree(self.path("run"), ignore_errors=True)
                self.check_failure(self.train(fault, ranks), code, *words)
                if os.path.exists(self.path("run", "config.yaml")):  # it had begun
                    self.check_success(self.train(ranks=ranks))
                    self.check_whole(ranks)

    def test_stops(self):
        self.stops(3)

    def test_goes_on(self):
        for fault, words in GOES_ON:
            with self.subTest(fault=fault):
                shutil.rmtree(self.path("run"), ignore_errors=True)
                result = self.train(fault)
                self.check_success(result)
                warnings = [line for line in result.warnings if "take turns" not in line]
                self.assertEqual(len(warnings), bool(words), result.stderr)
                for word in words:
                    self.assertIn(word, warnings[0])
                written = [line["step"] for line in support.metrics(self.path("run"))]
                self.assertEqual(written, [1, 3, 4, 5, 6] if "metrics" in fault
                                 else [1, 2, 3, 4, 5, 6])
                self.check_success(run(["info", self.path("run"), "--verify"]))  # all of them
                if "rows.read" not in fault:
                    self.check_equal(support.checkpoint(self.path("run"), 6), self.whole[3])


class Results(support.Case):
    """The files that eval, encode and export were asked for."""

    def test_eval_and_encode(self):
        data = write_activations(self.path("data.h5"), tokens(300, 16))
        config = self.write_config(run__dir=self.path("run"), run__steps=2, data__files=data,
                                   model__n_latent=60, model__k=4, train__batch=30)
        self.check_success(run(["train", config, "--quiet"], 3))
        before = sorted(os.listdir(self.folder))
        verbs = {"json": ["eval", self.path("run"), "--data", data, "--json", self.path("e.json")],
                 "h5": ["encode", self.path("run"), "--data", data, "--out", self.path("c.h5")],
                 "export": ["export", self.path("run"), "--format", "saelens", "--out",
                            self.path("sae")]}
        for fault, words in (("json.create:1:eacces", ["e.json", "create", "Permission denied"]),
                             ("json.write:1:enospc", ["e.json", "write", "No space left"]),
                             ("json.sync:1:eio", ["e.json", "bring to the disk"]),
                             ("json.rename:1:eio", ["e.json", "rename", "Input/output error"]),
                             ("export.folder:1:eacces", ["sae.partial", "make the folder"]),
                             ("export.text:1:enospc", ["cfg.json", "create", "No space left"]),
                             ("export.rename:1:eio", ["sae:", "rename to it", "Input/output"]),
                             ("h5.reserve:1:edquot", ["c.h5", "no room for", "quota"]),
                             ("h5.write:2:enospc@1", ["c.h5", "No space left"])):
            with self.subTest(fault=fault):
                result = run(verbs[fault.split(".", maxsplit=1)[0]], 3,
                             env={"ORTHANT_FAULT": fault})
                self.check_failure(result, 4, *words)
                self.assertEqual(sorted(os.listdir(self.folder)), before)  # nothing is left
        result = run(verbs["json"], 3, env={"ORTHANT_FAULT": "json.write:1:short"})
        self.check_success(result)
        with open(self.path("e.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["tokens"], 300)


if __name__ == "__main__":
    unittest.main()
