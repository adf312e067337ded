# What resume and info say of checkpoints they cannot use, at 1 and 3 ranks.
# timeout: 300
"""FAULTS 21-29 and 57 (model files): one error line that names the file and what is wrong in it,
the documented exit code, and nothing that was saved is lost. `--resume auto, never, PATH`."""
import os
import random
import shutil
import unittest

import h5py
import numpy as np

import support
from support import run, tokens, write_activations

RANKS = (1, 3)


def flip(path, dataset, index, bit=0):
    """Turn over one bit of one element."""
    with h5py.File(path) as file:
        item = file[dataset]
        element = np.ravel_multi_index(index, item.shape)
        offset = item.id.get_offset() + element * item.dtype.itemsize
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


class Checkpoints(support.Case):
    """Every test has a copy of one run of 8 steps, with checkpoints at 2, 4, 6 and 8."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.maker = maker = cls("noop")
        maker.setUp()
        cls.addClassCleanup(maker.doCleanups)
        write_activations(maker.path("data.h5"), tokens(300, 16))
        config = maker.config(run__dir=maker.path("run"))
        maker.check_success(run(["train", config], 3, env={"OMP_NUM_THREADS": "1"}))

    def noop(self):
        """Only makes the run."""

    def setUp(self):
        super().setUp()
        if self._testMethodName != "noop":
            shutil.copytree(self.maker.path("run"), self.path("run"))
            self.run_dir = self.path("run")

    def config(self, **keys):
        defaults = {"run__dir": "run", "run__steps": 8, "model__n_latent": 5000, "model__k": 4,
                    "train__batch": 32, "checkpoint__every": 2, "checkpoint__keep": 9,
                    "data__files": (self if self._testMethodName == "noop"
                                    else self.maker).path("data.h5")}
        return self.write_config(**{**defaults, **keys})

    def file(self, step):
        return support.checkpoint_path(self.run_dir, step)

    def file_said(self, step):
        return os.path.relpath(self.file(step), self.folder)

    def train(self, ranks, *arguments, **keys):
        return run(["train", self.config(**keys), *arguments], ranks, cwd=self.folder)

    def refused(self, code, *words, arguments=(), **keys):
        """At 1 and 3 ranks, and nothing in run.dir changes."""
        before = support.steps(self.run_dir)
        with open(os.path.join(self.run_dir, "metrics.jsonl"), "rb") as file:
            metrics = file.read()
        for ranks in RANKS:
            with self.subTest(words=words, ranks=ranks):
                self.check_failure(self.train(ranks, *arguments, **keys), code, *words)
                self.assertEqual(support.steps(self.run_dir), before)
                with open(os.path.join(self.run_dir, "metrics.jsonl"), "rb") as file:
                    self.assertEqual(file.read(), metrics)


class Faults(Checkpoints):
    def test_newest_corrupt(self):  # 21
        whole = support.checkpoint(self.file(8))
        flip(self.file(8), "model/W_dec", (4321, 3))
        for ranks in RANKS[::-1]:  # 3 ranks first: as it was written
            result = self.train(ranks)
            self.check_success(result)
            warnings = "\n".join(result.warnings)
            for word in (self.file_said(8), "/model/W_dec", "row 4321", "step 6"):
                self.assertIn(word, warnings)
            # the last steps were taken again; the damaged file is aside
            self.assertEqual(support.steps(self.run_dir), [2, 4, 6, 8])
            self.assertTrue(os.path.exists(self.file(8) + ".damaged"))
            if ranks == 3:
                self.check_equal(support.checkpoint(self.file(8)), whole)
            self.assertEqual([line["step"] for line in support.metrics(self.run_dir)], [8])
            flip(self.file(8), "model/W_dec", (4321, 3))

    def test_all_corrupt(self):  # 22
        for step, dataset, index in ((2, "optimizer/m/W_enc", (0, 0)), (4, "model/b_dec", (15,)),
                                     (6, "state/cursor", (1,)), (8, "config", (20,))):
            with h5py.File(self.file(step)) as file:
                if dataset not in file:
                    dataset = self.moment(file)
            flip(self.file(step), dataset, index)
        self.refused(5, "run/checkpoints", "4 checkpoints", self.file_said(8), "/config",
                     "run.dir")

    def moment(self, file):
        """The name of a two-dimensional dataset among the moments."""
        names = []
        file["optimizer"].visititems(lambda name, item: names.append("optimizer/" + name)
                                     if getattr(item, "ndim", 0) == 2 else None)
        return sorted(names)[0]

    def test_bit_flips(self):  # 23: names dataset and block
        with h5py.File(self.file(8)) as file:
            moment = self.moment(file)
        cases = [("model/W_enc", (4999, 15), "row 4999"), ("model/W_dec", (0, 0), "row 0"),
                 (moment, (1700, 9), "row 1700"), ("model/b_enc", (4096,), "elements 1"),
                 ("model/b_dec", (3,), "elements 0"), ("data_fingerprint", (8,), "elements 0"),
                 ("state/steps_since_fired", (1,), "elements 0")]
        for number, (dataset, index, block) in enumerate(cases):
            path = self.path(f"step-{number:09d}.h5")
            shutil.copy(self.file(8), path)
            flip(path, dataset, index, bit=number % 8)
            ranks = RANKS[number % 2]
            self.check_failure(self.train(ranks, "--resume", path), 5, path, "/" + dataset, block)
            self.check_failure(run(["info", path, "--verify"], RANKS[1 - number % 2]), 5, path,
                               "/" + dataset, block)
        self.check_success(run(["info", self.file(8), "--verify"], 3))

    def test_truncated(self):  # 24
        size = os.path.getsize(self.file(8))
        for keep in (size - 1, size // 2, 3000, 100, 0):
            os.truncate(self.file(8), keep)
            self.refused(5, self.file_said(8), arguments=("--resume", "run/checkpoints/" +
                                                          os.path.basename(self.file(8))))
        for ranks in RANKS:
            self.check_failure(run(["info", self.file(8)], ranks), 5, self.file(8))
        result = self.train(1)  # automatic: the one before
        self.check_success(result)
        self.assertIn("step 6", "".join(result.warnings))

    def test_newer_format(self):  # 25
        with h5py.File(self.file(8), "r+") as file:
            now = int(file.attrs["format_version"])
            file.attrs["format_version"] = np.int64(now + 6)
        self.refused(5, self.file_said(8), f"version {now + 6}", f"version {now}")
        self.check_failure(run(["info", self.file(8)], 3), 5, f"version {now + 6}")

    def test_other_configuration(self):  # 26
        self.refused(5, self.file_said(8), "model.k", "model.selection", "train.lr", "4", "5",
                     "topafa", model__k=5, model__selection="topafa", train__lr="2e-4")
        bound = {"model__n_latent": 4999, "input__norm": "unit", "init__scheme": "kaiming",
                 "loss__kind": "mse", "aux__coefficient": 0.5, "dead__tokens": 77,
                 "afa__coefficient": 0.1, "topk__relu_first": True, "topafa__target": "raw",
                 "train__batch": 33, "run__seed": 50, "data__shuffle": False,
                 "data__nonfinite": "skip"}
        result = self.train(3, **bound)
        self.check_failure(result, 5, *(key.replace("__", ".") for key in bound))

    def test_free_configuration(self):  # 26: what may change, and the length with it
        os.rename(self.maker.path("data.h5"), self.path("moved.h5"))
        try:
            result = self.train(3, run__steps=10, run__max_time="01:00:00", checkpoint__every=5,
                                checkpoint__verify=False, log__every=2, grid__n_group=3,
                                compute__encode="fp32", data__files=self.path("moved.h5"))
        finally:
            os.rename(self.path("moved.h5"), self.maker.path("data.h5"))
        self.check_success(result)
        self.assertEqual(support.steps(self.run_dir)[-1], 10)

    def test_changed_schedule(self):  # 26: a longer run with decay says what changes
        self.check_success(self.train(1, "--resume", "never", run__dir="decay", train__decay=0.5))
        result = self.train(1, run__dir="decay", train__decay=0.5, run__steps=12)
        self.check_success(result)
        self.assertIn("train.decay", "\n".join(result.lines))

    def test_other_data(self):  # 28
        other = tokens(300, 16)
        other[299, 15] += 1
        for values in (other, tokens(301, 16), tokens(300, 16)[::-1]):
            path = write_activations(self.path("other.h5"), values)
            self.refused(3, "data.files", self.file_said(8), data__files=path)
        path = write_activations(self.path("wide.h5"), tokens(300, 17))
        result = self.train(3, data__files=path)
        self.check_failure(result, 3, "rows of 17", self.file_said(8))

    def test_missing_path(self):  # 29
        for missing in ("run/checkpoints/step-000000003.h5", "nowhere/at/all.h5"):
            self.refused(2, missing, "no such checkpoint", arguments=("--resume", missing))

    def test_wrong_path(self):  # 57: not a checkpoint at all
        folder, text, data = "run/checkpoints", "config.yaml", self.maker.path("data.h5")
        for path in (folder, text, data):
            self.refused(5, path, arguments=("--resume", path))

    def test_info_of_no_model(self):  # 57
        path = self.path("step-000000001.h5")
        for content in (b"", b"garbage" * 1000, b"\x89HDF\r\n\x1a\n" + bytes(4000)):
            with open(path, "wb") as file:
                file.write(content)
            for ranks in RANKS:
                self.check_failure(run(["info", path, "--verify"], ranks), 5, path)

    def test_fuzz(self):  # 57: random damage is found, or is where nothing is
        whole = support.checkpoint(self.file(8))
        generator = random.Random(7)
        path = self.path("step-000000009.h5")
        with open(self.file(8), "rb") as file:
            content = file.read()
        for number in range(24):
            damaged = bytearray(content)
            # half of the time where metadata is: at the beginning and between the datasets
            most = len(content) if number % 2 else 6000
            for _ in range(1 + number % 3):
                damaged[generator.randrange(most)] ^= 1 << generator.randrange(8)
            with open(path, "wb") as file:
                file.write(damaged)
            result = run(["info", path, "--verify"])
            with self.subTest(number=number):
                self.assertIn(result.code, (0, 5), result.stderr)
                self.assertEqual(len(result.errors), result.code // 5, result.stderr)
                if result.code == 0:
                    self.check_equal(support.checkpoint(path), whole)

    def test_missing_dataset(self):
        with h5py.File(self.file(8), "r+") as file:
            del file["model/W_dec"]
        self.refused(5, self.file_said(8), "W_dec", arguments=("--resume", self.file_said(8)))


class Resume(Checkpoints):
    def test_other_machine(self):  # 27: says whether the continuation is exact
        for env, ranks, word in (({}, 3, "bit for bit"), ({}, 2, "the grid differs"),
                                 ({"OMP_NUM_THREADS": "2"}, 3, "threads, kernels or libraries"),
                                 ({"ORTHANT_ISA": "reference"}, 3, "threads, kernels or lib")):
            shutil.rmtree(self.run_dir)
            shutil.copytree(self.maker.path("run"), self.run_dir)
            result = run(["train", self.config(run__steps=9)], ranks, cwd=self.folder,
                         env={"OMP_NUM_THREADS": "1", **env})
            self.check_success(result)
            told = [line for line in result.lines if "resuming from" in line]
            self.assertEqual(len(told), 1)
            for part in (self.file_said(8), "step 8 of 9", "1 x 3 ranks", "1 thread", word):
                self.assertIn(part, told[0])

    def test_auto(self):
        before = support.checkpoint(self.file(8))
        result = self.train(3)  # finished: nothing to do
        self.check_success(result)
        self.check_equal(support.checkpoint(self.file(8)), before)
        self.assertIn(self.file_said(8), "\n".join(result.lines))
        result = self.train(3, "--resume", "auto", run__dir="fresh")  # 29: none, a fresh start
        self.check_success(result)
        self.check_equal(support.checkpoint(self.path("fresh"), 8), before)

    def test_never(self):
        self.refused(2, "--resume never", self.file_said(8), arguments=("--resume", "never"))
        result = self.train(1, "--resume", "never", run__dir="fresh")
        self.check_success(result)
        # also when none of the checkpoints can be used: they are not to be overwritten
        for step in (2, 4, 6, 8):
            os.truncate(self.file(step), 1000)
        for ranks in RANKS:
            result = self.train(ranks, "--resume", "never")
            self.assertIn(result.code, (2, 5), result.stderr)
            self.check_failure(result, result.code, "run/checkpoints")

    def test_path(self):
        whole = support.checkpoint(self.file(8))
        for step in (6, 8):
            os.unlink(self.file(step))
        result = self.train(3, "--resume", self.file_said(2))
        self.check_success(result)
        self.check_equal(support.checkpoint(self.file(8)), whole)
        # into another run directory, with an absolute path
        result = self.train(3, "--resume", self.file(4), run__dir="other")
        self.check_success(result)
        self.check_equal(support.checkpoint(self.path("other"), 8), whole)

    def test_path_before_later_ones(self):
        """A continuation from an earlier checkpoint: later ones are not touched silently."""
        result = self.train(3, "--resume", self.file_said(4), run__steps=5)
        self.check_success(result)
        self.assertIn("later than step 5", "\n".join(result.warnings))
        self.assertEqual(support.steps(self.run_dir), [2, 4, 5, 6, 8])


if __name__ == "__main__":
    unittest.main()
