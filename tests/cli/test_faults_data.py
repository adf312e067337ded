# What train says of activations it cannot use, at 1 and 3 ranks, and what odd ones it can.
# timeout: 300
"""FAULTS 33-36 and 38-44: one error line that names the file (and dataset, row, width or type),
exit code 3, and nothing hangs. 37 is in test_faults_nonfinite.py."""
import math
import os
import unittest

import h5py
import numpy as np

import support
from support import run, tokens, write_activations

WIDTH = 24
RANKS = (1, 3)


def write_unknown_filter(path):
    """A chunk stored by a filter that no library knows."""
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((64, WIDTH))
        properties.set_filter(32111, h5py.h5z.FLAG_OPTIONAL, (1, 2))
        dataset = h5py.h5d.create(file.id, b"activations", h5py.h5t.NATIVE_FLOAT,
                                  h5py.h5s.create_simple((64, WIDTH)), properties)
        dataset.write_direct_chunk((0, 0), tokens(64, WIDTH).tobytes(), 0)
    return path


def damage_chunk(path, row):
    """Turn bytes over in the chunk that holds a row."""
    with h5py.File(path) as file:
        dataset = file["activations"]
        chunk = dataset.id.get_chunk_info_by_coord((row - row % dataset.chunks[0], 0))
    with open(path, "r+b") as file:
        file.seek(chunk.byte_offset + chunk.size // 2)
        some = file.read(8)
        file.seek(-8, os.SEEK_CUR)
        file.write(bytes(255 - byte for byte in some))
    return path


class Data(support.Case):
    def config(self, *files, **keys):
        defaults = {"run__dir": self.path("run"), "run__steps": 2, "data__files": list(files),
                    "model__n_latent": 64, "model__k": 4, "train__batch": 30}
        return self.write_config(**{**defaults, **keys})

    def good(self, name="good.h5", rows=200, width=WIDTH, **options):
        return write_activations(self.path(name), tokens(rows, width), **options)


class Faults(Data):
    def refused(self, files, *words, prefix=(), **keys):
        """Refused at 1 and 3 ranks, before anything is written into run.dir."""
        config = self.config(*files, **keys)
        for ranks in RANKS:
            with self.subTest(words=words, ranks=ranks):
                result = run(["train", config], ranks, cwd=self.folder, prefix=prefix)
                self.check_failure(result, 3, *words)
                self.assertFalse(os.path.exists(self.path("run")), "run.dir was made")

    def test_files(self):  # 33
        missing, empty, folder, text = map(self.path, ("no.h5", "empty.h5", "folder", "text.h5"))
        open(empty, "w").close()
        os.mkdir(folder)
        with open(text, "w") as file:
            file.write("not what it is called\n" * 100)
        self.refused([missing], missing, "No such file")
        self.refused([empty], empty, "empty")
        self.refused([folder], folder, "folder")
        self.refused([text], text, "HDF5")
        self.refused([self.path("no*.h5")], self.path("no*.h5"), "no file matches; check the pattern")
        # one of several, and the whole list is good but for it
        self.refused([self.good(), missing], missing)

    def test_truncated(self):  # 33: the end of an HDF5 file is missing
        path = self.good()
        os.truncate(path, os.path.getsize(path) // 2)
        self.refused([path], path)

    def test_dataset(self):  # 34
        path = self.path("names.h5")
        with h5py.File(path, "w") as file:
            file["hidden"] = tokens(50, WIDTH)
            file["more/inner"] = tokens(50, WIDTH)
        self.refused([path], path, "'activations'", "hidden", "more")
        self.refused([path], path, "'more/absent'", "/more: inner", data__dataset="more/absent")
        self.refused([path], path, "'more'", data__dataset="more")  # a group

    def test_shape(self):  # 35
        for values, words in ((tokens(50, WIDTH).ravel(), ("1 dimension", "expected 2")),
                              (tokens(50, WIDTH).reshape(5, 10, WIDTH), ("3 dimensions",)),
                              (np.float32(1.0), ("0 dimensions",)),
                              (np.empty((50, 0), "f4"), ("width 0",)),
                              (np.empty((0, WIDTH), "f4"), ("no rows",))):
            path = write_activations(self.path("shape.h5"), values)
            self.refused([path], path, "'activations'", *words)

    def test_type(self):  # 36
        supported = ("float16", "float32", "float64", "bfloat16")
        for values, name in ((np.ones((50, WIDTH), "i4"), "int32"),
                             (np.ones((50, WIDTH), "u2"), "uint16"),
                             (np.ones((50, WIDTH), "c8"), "compound"),
                             (np.full((50, WIDTH), b"x"), "string")):
            path = write_activations(self.path("type.h5"), values)
            self.refused([path], path, name, *supported)

    def test_width(self):  # 40
        a, b = self.good("a.h5"), self.good("b.h5", width=WIDTH + 1)
        self.refused([a, b], a, b, WIDTH, WIDTH + 1)

    def test_filter(self):  # 42
        path = write_unknown_filter(self.path("filter.h5"))
        config = self.config(path, train__batch=32)
        for ranks in RANKS:
            result = run(["train", config], ranks, cwd=self.folder)
            self.check_failure(result, 3, path, "activations", "filter")

    def test_read_error(self):  # 41: in a chunk that one rank alone reads
        path = write_activations(self.path("broken.h5"), tokens(300, WIDTH), chunks=(10, WIDTH),
                                 fletcher32=True)
        damage_chunk(path, 95)
        # every step reads 90 rows, 30 on a rank: row 95 is rank 0's in step 2, row 85 rank 2's
        config = self.config(path, data__shuffle=False, train__batch=90, init__scheme="kaiming",
                             loss__kind="mse", run__steps=3)
        for ranks in RANKS:
            with self.subTest(ranks=ranks):
                result = run(["train", config], ranks, cwd=self.folder)
                self.check_failure(result, 3, path, "activations", "9")

    def test_permission(self):  # 44
        path = self.good()
        os.chmod(path, 0)
        # root may read everything, unless it has given that up
        powers = "--bounding-set=-dac_override,-dac_read_search"
        prefix = ("setpriv", powers) if os.geteuid() == 0 else ()
        self.refused([path], path, "ermission denied", prefix=prefix)
        locked = self.path("locked")
        os.mkdir(locked, 0)
        self.refused([os.path.join(locked, "*.h5")], locked, "permissions", prefix=prefix)
        os.chmod(locked, 0o700)

    def test_shrinks(self):  # 43
        keys = {"run__steps": 1000000, "log__every": 1, "checkpoint__every": 2}
        for ranks in RANKS:
            path = self.good(f"shrinks-{ranks}.h5", rows=3000)
            run_dir = self.path(f"run-{ranks}")
            running = support.Running(["train", self.config(path, run__dir=run_dir, **keys)],
                                      ranks, cwd=self.folder)
            running.wait_for_step(run_dir, 5)
            os.truncate(path, os.path.getsize(path) // 2)
            result = running.wait()
            self.check_failure(result, 3, path, "row", "shorter")
            # what was saved is there and right
            for step in support.steps(run_dir):
                saved = run(["info", support.checkpoint_path(run_dir, step), "--verify"])
                self.check_success(saved)
            # and cannot go on without the data
            again = run(["train", self.config(path, run__dir=run_dir, **keys)], ranks)
            self.check_failure(again, 3, path)

    def test_vanishes(self):  # 43: an open file is still there
        path, run_dir = self.good(rows=500), self.path("run")
        running = support.Running(["train", self.config(path, run__steps=400, log__every=1)], 3)
        running.wait_for_step(run_dir, 2)
        os.unlink(path)
        self.check_success(running.wait())
        self.assertEqual(support.metrics(run_dir)[-1]["step"], 400)


class Odd(Data):
    """Data that is unusual and right."""

    def test_constant(self):  # 38
        recipes = [
            {"model__selection": "topk"},
            {"model__selection": "topafa", "afa__coefficient": "1/24", "aux__variant": "topafa",
             "dead__variant": "batches", "dead__batches": 1, "train__decoder_norm": "topafa"},
            {"model__selection": "batchtopk", "input__norm": "layernorm",
             "init__scheme": "kaiming"},
            {"loss__kind": "normalised", "input__norm": "unit", "train__ema": 0.9},
            {"input__norm": "scale", "loss__kind": "mse", "loss__multi_k": 2, "dead__tokens": 40},
        ]
        some = tokens(200, WIDTH)
        some[::3] = 0
        for name, values in (("zero", np.zeros((200, WIDTH), "f4")),
                             ("constant", np.full((200, WIDTH), 1.5, "f4")),
                             ("same rows", np.tile(tokens(1, WIDTH), (200, 1))),
                             ("some zero rows", some)):
            path = write_activations(self.path("odd.h5"), values)
            for number, recipe in enumerate(recipes):
                with self.subTest(values=name, recipe=recipe):
                    run_dir = self.path(name + str(number))
                    config = self.config(path, run__dir=run_dir, run__steps=4, log__every=1,
                                         **recipe)
                    ranks = RANKS[number % 2]
                    self.check_success(run(["train", config], ranks))
                    for line in support.metrics(run_dir):
                        for key in ("loss", "mse", "aux", "afa", "l0", "grad_norm"):
                            self.assertIsNotNone(line[key], (key, line))
                            self.assertTrue(math.isfinite(line[key]), (key, line))
                    for key, values in support.checkpoint(run_dir, 4).items():
                        self.assertTrue(np.isfinite(values).all(), key)

    def test_few_rows(self):  # 39
        for rows, batch in ((7, 30), (2, 5), (1, 1), (31, 30), (200, 199)):
            path = self.good(f"few-{rows}.h5", rows=rows)
            found = []
            for ranks in RANKS:
                run_dir = self.path(f"run-{rows}-{batch}-{ranks}")
                config = self.config(path, run__dir=run_dir, run__steps=3, log__every=1,
                                     train__batch=batch, log__codes=True)
                self.check_success(run(["train", config], ranks))
                found.append(support.metrics(run_dir))
            for one, three in zip(*found, strict=True):
                self.assertEqual(one["tokens"], three["tokens"])
                self.assertEqual(one["epoch"], three["epoch"])
                self.assertAlmostEqual(one["mse"], three["mse"], delta=1e-5 * one["mse"] + 1e-9)
            self.assertEqual(found[0][0]["code_hash"], found[1][0]["code_hash"])
            self.assertEqual([line["tokens"] for line in found[0]], [batch, 2 * batch, 3 * batch])


if __name__ == "__main__":
    unittest.main()
