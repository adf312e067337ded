# timeout: 300
"""`orthant convert`: the same values in every format, from any number of ranks; what cannot be
converted is refused in one line and leaves nothing behind."""
import json
import os
import struct
import unittest
import zipfile

import h5py
import numpy as np

import support

FOREIGN = os.path.join(support.DATA, "foreign")


def write_safetensors(path, tensors, metadata=None):
    kinds = {"float32": "F32", "float16": "F16", "float64": "F64", "int64": "I64", "int32": "I32"}
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, values in tensors.items():
        raw = np.ascontiguousarray(values).tobytes()
        header[name] = {"dtype": kinds[str(values.dtype)], "shape": list(values.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    kinds = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8", "BF16": "<u2"}
    with open(path, "rb") as file:
        data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    assert size % 8 == 0
    header = json.loads(data[8:8 + size])
    found = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            found[name] = np.frombuffer(data[8 + size + begin:8 + size + end],
                                        kinds[entry["dtype"]]).reshape(entry["shape"])
    return found, header.get("__metadata__")


def to_bfloat16(values):
    """The upper half, to nearest, ties to even."""
    bits = values.astype("<f4").view("<u4").astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


class Convert(support.Case):
    def setUp(self):
        super().setUp()
        self.x = support.tokens(1003, 24)

    def convert(self, *arguments, ranks=1):
        result = support.run(["convert", *arguments], ranks, cwd=self.folder)
        self.check_success(result)
        self.assertEqual([name for name in os.listdir(self.folder) if "partial" in name], [])
        return result

    def refused(self, code, words, *arguments, ranks=1):
        result = support.run(["convert", *arguments], ranks, cwd=self.folder)
        self.check_failure(result, code, *words)
        self.assertEqual([name for name in os.listdir(self.folder) if "partial" in name], [])
        if "--out" in arguments:
            out = arguments[arguments.index("--out") + 1]
            self.assertFalse(os.path.exists(self.path(out)), out)

    def read_h5(self, name="out.h5"):
        with h5py.File(self.path(name)) as file:
            return {key: file[key][:] for key in file}, dict(file.attrs)

    def read_bytes(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def save(self, name, values):
        np.save(self.path(name), values)
        return name

    def test_npy(self):
        """Every element type and order of NumPy, at one and three ranks."""
        for dtype, order, ranks in (("<f8", "C", 1), ("<f2", "F", 1), (">f4", "C", 1),
                                    (">f8", "F", 1), ("<f4", "F", 3), ("<f4", "C", 3)):
            x = np.asarray(self.x, dtype=dtype, order=order)
            self.save("x.npy", x)
            self.convert("x.npy", "--out", "out.h5", ranks=ranks)
            found = self.read_h5()[0]["activations"]
            self.assertEqual(found.dtype.itemsize, x.dtype.itemsize, dtype)
            self.assertTrue(np.array_equal(found, x), (dtype, order))
        self.save("more.npy", self.x[:5] + 1)
        cube = self.save("cube.npy", self.x[:60].reshape(3, 4, 5, 24))
        result = self.convert("x.npy", "more.npy", cube, "--out", "out.h5", "--dtype", "float32",
                              "--model", "gpt2", "--hook", "resid_post", "--layer", "8", ranks=3)
        found, attributes = self.read_h5()
        wanted = np.concatenate([self.x, self.x[:5] + 1, self.x[:60]])
        self.assertTrue(np.array_equal(found["activations"], wanted))
        self.assertEqual((attributes["layer"], attributes["model"]), (8, b"gpt2"))
        self.assertIn("1068 rows of 24 values, float32, from 3 files", result.stderr)

    def test_dtypes(self):
        """Rounded to nearest even; float64 stays exact; rows by range."""
        x = (self.x.astype("f8") * np.pi)
        self.save("x.npy", x)
        for dtype, wanted, ranks in (("float64", x, 3), ("float32", x.astype("f4"), 1),
                                     ("float16", x.astype("f4").astype("f2"), 3),
                                     ("bfloat16", to_bfloat16(x.astype("f4")), 1)):
            self.convert("x.npy", "--out", "out.h5", "--dtype", dtype, "--rows", "7:907",
                         ranks=ranks)
            with h5py.File(self.path("out.h5")) as file:
                found = file["activations"]
                self.assertIsNone(found.chunks)
                self.assertTrue(np.array_equal(found[:], wanted[7:907]), dtype)
                if dtype == "bfloat16":
                    self.assertEqual(file["activations"].attrs["dtype"], b"bfloat16")
        # HDF5 to HDF5, from every one of them.
        self.convert("x.npy", "--out", "b.h5", "--dtype", "bfloat16")
        self.convert("b.h5", "--out", "f.h5", "--dtype", "float32", ranks=3)
        wide = (to_bfloat16(x.astype("f4")).astype("u4") << 16).view("f4")
        self.assertTrue(np.array_equal(self.read_h5("f.h5")[0]["activations"], wide))
        self.convert("x.npy", "--out", "d.h5")
        self.convert("d.h5", "f.h5", "--out", "both.h5", "--rows", "1000:", ranks=3)
        both = self.read_h5("both.h5")[0]["activations"]
        self.assertTrue(np.array_equal(both, np.concatenate([x, wide])[1000:]))

    def test_out(self):
        """From HDF5 with tokens to every format, and back."""
        tokens = np.arange(1003, dtype="i4") % 77
        support.write_activations(self.path("in.h5"), self.x)
        with h5py.File(self.path("in.h5"), "a") as file:
            file["tokens"] = tokens
        self.assertIn("without the tokens", self.convert("in.h5", "--out", "x.npy", ranks=3).stderr)
        self.assertTrue(np.array_equal(np.load(self.path("x.npy")), self.x))
        self.convert("in.h5", "--out", "x.safetensors", "--hook", "blocks.3", "--dtype", "float16",
                     ranks=3)
        found, metadata = read_safetensors(self.path("x.safetensors"))
        self.assertTrue(np.array_equal(found["activations"], self.x.astype("f2")))
        self.assertTrue(np.array_equal(found["tokens"], tokens))
        self.assertEqual(metadata, {"hook": "blocks.3"})
        self.convert("in.h5", "--out", "x.bin", ranks=3)
        self.assertEqual(self.read_bytes("x.bin"), self.x.tobytes())
        self.assertIn("with tokens", self.convert("in.h5", "--out", "x.pt", ranks=3).stderr)
        with zipfile.ZipFile(self.path("x.pt")) as file:
            self.assertIsNone(file.testzip())
            self.assertEqual(file.read("archive/data/0"), self.x.tobytes())
        for name, ranks in (("x.safetensors", 1), ("x.pt", 3)):
            self.convert(name, "--out", "back.h5", "--dtype", "float16", ranks=ranks)
            back = self.read_h5("back.h5")[0]
            self.assertTrue(np.array_equal(back["activations"], self.x.astype("f2")))
            self.assertEqual(back["tokens"].dtype, np.dtype("i4"))
            self.assertTrue(np.array_equal(back["tokens"], tokens))
        self.convert("x.bin", "--raw", "float32", "--d-model", "24", "--out", "back.h5", ranks=3)
        self.assertTrue(np.array_equal(self.read_h5("back.h5")[0]["activations"], self.x))
        self.convert("in.h5", "--out", "out.h5", "--tokens", "none")
        self.assertEqual(list(self.read_h5()[0]), ["activations"])

    def test_texts(self):
        """What belongs to the tokens, and where they are from, goes with them."""
        words = ["a", "b\u00e4", ""] + ["word"] * 74
        for name, x in (("in.h5", self.x), ("more.h5", self.x[:10])):
            support.write_activations(self.path(name), x)
            with h5py.File(self.path(name), "a") as file:
                file["tokens"] = np.arange(len(x), dtype="i4") % 77
                file["documents"] = np.array([0, 5], "i8")
                file["vocab"] = words
                file.attrs["model"], file.attrs["layer"] = "gpt2", 8
        self.convert("in.h5", "--out", "out.h5", "--dtype", "bfloat16", "--layer", "9", ranks=3)
        found, attributes = self.read_h5()
        self.assertEqual([word.decode() for word in found["vocab"]], words)
        self.assertEqual(list(found["documents"]), [0, 5])
        self.assertEqual((attributes["model"], attributes["layer"]), (b"gpt2", 9))
        self.convert("in.h5", "--out", "out.h5", "--rows", "5:")
        self.assertEqual(sorted(self.read_h5()[0]), ["activations", "tokens", "vocab"])
        result = self.convert("in.h5", "--out", "out.npy", ranks=3)
        self.assertEqual("".join(result.warnings).count("no place for"), 1, result.warnings)
        self.assertIn("no place for documents, vocab, tokens, attributes", result.warnings[-1])
        result = self.convert("in.h5", "--out", "out.safetensors", "--rows", "5:")
        self.assertIn("no place for documents, vocab, which", result.warnings[0])
        self.convert("out.safetensors", "--out", "out.h5")
        found, attributes = self.read_h5()
        self.assertEqual(sorted(found), ["activations", "tokens"])
        self.assertEqual((attributes["model"], attributes["layer"]), (b"gpt2", 8))

    def write_texts(self, name, begin, end, documents, words):
        support.write_activations(self.path(name), self.x[begin:end])
        with h5py.File(self.path(name), "a") as file:
            file["tokens"] = np.arange(begin, end, dtype="i4") % 77
            if documents is not None:
                file["documents"] = documents
            if words:
                file["vocab"] = words

    def test_joined_texts(self):
        """Several files give what one file with all rows gives, bit for bit."""
        words = ["a", "b\u00e4", ""] + ["word"] * 74
        starts = np.array([0, 5, 5, 340, 500, 811, 900], "i8")
        many = np.arange(70000, dtype="i8")  # more documents than are read at a time
        self.write_texts("one.h5", 0, 1003, starts, words)
        self.write_texts("a.h5", 0, 340, starts[:3], words)
        self.write_texts("b.h5", 340, 811, np.array([0, 160, 471], "i4"), words)  # its end too
        self.write_texts("c.h5", 811, 1003, starts[5:] - 811, words)
        parts = ["a.h5", "b.h5", "c.h5"]
        self.convert("one.h5", "--out", "whole.h5")
        wanted = self.read_h5("whole.h5")[0]
        for dtype, ranks in (("float32", 1), ("float32", 3), ("bfloat16", 2)):
            result = self.convert(*parts, "--out", "out.h5", "--dtype", dtype, ranks=ranks)
            found = self.read_h5()[0]
            self.assertNotIn("left out", result.stderr)
            self.assertEqual(sorted(found), sorted(wanted))
            for key in ("tokens", "documents", "vocab"):
                self.assertEqual(found[key].dtype, wanted[key].dtype)
                self.assertEqual(found[key].tolist(), wanted[key].tolist(), key)
            if dtype == "float32":
                self.assertEqual(found["activations"].tobytes(), wanted["activations"].tobytes())
        # A file begins a document whatever it says; a final end stays; many of them.
        self.write_texts("d.h5", 340, 1003, np.array([2, 663], "i8"), words)
        self.convert("a.h5", "d.h5", "--out", "out.h5", ranks=3)
        self.assertEqual(self.read_h5()[0]["documents"].tolist(), [0, 5, 5, 340, 342, 1003])
        self.x = np.zeros((70340, 2), "f4")
        self.write_texts("a.h5", 0, 340, starts[:3], words)
        self.write_texts("d.h5", 340, 70340, many, words)
        self.convert("a.h5", "d.h5", "--out", "out.h5")
        self.assertEqual(self.read_h5()[0]["documents"].tolist(),
                         [0, 5, 5, *(many + 340).tolist()])
        result = self.convert("a.h5", "d.h5", "--out", "out.h5", "--rows", "300:400")
        self.assertEqual(sorted(self.read_h5()[0]), ["activations", "tokens", "vocab"])
        self.assertNotIn("left out", result.stderr)

    def test_texts_that_do_not_join(self):
        """What is not the same, lacking or wrong is left out, and said."""
        words = ["a", "b\u00e4", ""] + ["word"] * 74
        self.write_texts("a.h5", 0, 340, np.array([0, 5], "i8"), words)
        for documents, others, kept, said in (
                (np.array([0, 3], "i8"), words[:-1] + ["last"], ["documents"],
                 "/vocab of d.h5 is not that of a.h5"),
                (np.array([0, 3], "i8"), None, ["documents"], "/vocab of d.h5 is not that"),
                (None, words, ["vocab"], "not all files have /documents"),
                (np.array([3, 0], "i8"), words, ["vocab"], "d.h5: dataset 'documents' does not"),
                (np.array([0, 700], "i8"), words, ["vocab"], "d.h5: dataset 'documents' does"),
                (np.array([0.5]), words, ["vocab"], "d.h5: dataset 'documents' does not")):
            self.write_texts("d.h5", 340, 1003, documents, others)
            for ranks in (1, 3):
                result = self.convert("a.h5", "d.h5", "--out", "out.h5", ranks=ranks)
                self.assertEqual(sorted(self.read_h5()[0]),
                                 sorted(["activations", "tokens", *kept]))
                warnings = [line for line in result.warnings if "convert: " in line]
                self.assertEqual(len(warnings), 1, result.stderr)
                self.assertIn(said, warnings[0])

    def test_caches(self):
        """Shards of safetensors, .npz with and without compression, caches of dictionary_learning."""
        ids = np.arange(1003, dtype="i8")
        parts = [(0, 500), (500, 500), (500, 1003)]
        for i, (begin, end) in enumerate(parts):
            write_safetensors(self.path(f"shard_{i}.safetensors"),
                              {"acts": self.x[begin:end], "other": self.x[:2],
                               "tokens": ids[begin:end]})
        names = [f"shard_{i}.safetensors" for i in range(3)]
        self.refused(3, ["shard_0", "acts [500, 24] F32", "--tensor"], *names, "--out", "out.h5")
        self.convert(*names, "--tensor", "acts", "--out", "out.h5", ranks=3)
        found = self.read_h5()[0]
        self.assertTrue(np.array_equal(found["activations"], self.x))
        self.assertTrue(np.array_equal(found["tokens"], ids))
        for save, ranks in ((np.savez, 1), (np.savez_compressed, 1), (np.savez_compressed, 3)):
            save(self.path("x.npz"), x=self.x.T.copy().T, token_ids=ids, note=np.zeros(3))
            self.convert("x.npz", "--out", "out.h5", ranks=ranks)
            found = self.read_h5()[0]
            self.assertTrue(np.array_equal(found["activations"], self.x))
            self.assertTrue(np.array_equal(found["tokens"], ids))
        result = self.convert("out.h5", "--out", "out.npy")
        self.assertIn("without the tokens", result.stderr)
        self.x.tofile(self.path("shard_0.memmap"))
        with open(self.path("shard_0.meta"), "w") as file:
            json.dump({"shape": list(self.x.shape)}, file)
        self.convert("shard_0.memmap", "--out", "out.h5")
        self.assertTrue(np.array_equal(self.read_h5()[0]["activations"], self.x))

    def test_contexts(self):
        """What the help says to save of a cache of SAELens: contexts of activations and of ids."""
        done = support.run(["convert", "--help"])
        self.assertIn("with_format('numpy')", done.stdout)
        x, tokens = self.x[:1000].reshape(100, 10, 24), np.arange(1000).reshape(100, 10)
        for i in (0, 60):
            write_safetensors(self.path(f"part-{i:09}.safetensors"),
                              {"activations": x[i:i + 60], "tokens": tokens[i:i + 60]})
        self.convert("part-000000000.safetensors", "part-000000060.safetensors", "--out", "out.h5",
                     "--hook", "blocks.8.hook_resid_pre", ranks=2)
        found, attributes = self.read_h5()
        self.assertTrue(np.array_equal(found["activations"], self.x[:1000]))
        self.assertTrue(np.array_equal(found["tokens"], np.arange(1000)))
        self.assertEqual(attributes["hook"], b"blocks.8.hook_resid_pre")

    def test_torch(self):
        steps = np.arange(24, dtype="f4") / 4
        self.convert(os.path.join(FOREIGN, "cache.pt"), "--out", "out.h5", ranks=3)
        found = self.read_h5()[0]
        self.assertEqual(found["activations"].dtype, np.dtype("f2"))
        self.assertTrue(np.array_equal(found["activations"], steps.reshape(6, 4)))
        self.assertTrue(np.array_equal(found["tokens"], np.arange(6)))
        self.convert(os.path.join(FOREIGN, "tensor.pt"), "--out", "out.h5", "--dtype", "float32")
        self.assertTrue(np.array_equal(self.read_h5()[0]["activations"],
                                       steps[:20].reshape(5, 4)))
        state = os.path.join(FOREIGN, "state-2.pt")
        self.convert(state, "--tensor", "transposed", "--out", "out.npy")
        self.assertTrue(np.array_equal(np.load(self.path("out.npy")),
                                       np.arange(12).reshape(3, 4).T / 8))

    def test_values(self):
        """NaN and Inf are kept and counted; what float16 cannot hold is refused with its row."""
        x = self.x.copy()
        x[700, 3], x[900, 0], x[900, 1] = np.nan, np.inf, -np.inf
        self.save("x.npy", x)
        result = self.convert("x.npy", "--out", "out.h5")
        self.assertTrue(np.array_equal(self.read_h5()[0]["activations"], x, equal_nan=True))
        self.assertEqual(len(result.warnings), 1)
        self.assertIn("2 rows hold NaN or Inf", result.warnings[0])
        self.assertIn("row 700 of x.npy", result.warnings[0])
        os.remove(self.path("out.h5"))
        x[300, 5], x[301, 6] = 65519.99, -65520
        self.save("y.npy", x)
        self.refused(3, ["y.npy: row 301 ", "float16", "--allow-overflow"], "x.npy", "y.npy",
                     "--out", "out.h5", "--dtype", "float16", ranks=3)
        result = self.convert("y.npy", "--out", "out.h5", "--dtype", "float16", "--allow-overflow",
                              ranks=3)
        found = self.read_h5()[0]["activations"]
        self.assertEqual((found[300, 5], found[301, 6]), (65504, -np.inf))
        self.assertIn("2 rows hold NaN or Inf (", result.stderr)
        self.assertIn("1 rows hold values that became Inf, the first is row 301", result.stderr)
        self.save("z.npy", np.array([[1e39, 1.0]]))
        self.refused(3, ["z.npy: row 0"], "z.npy", "--out", "z.h5", "--dtype", "float32")

    def test_refusals(self):
        self.save("x.npy", self.x)
        self.save("narrow.npy", self.x[:, :7])
        self.save("whole.npy", np.arange(12).reshape(3, 4))
        self.save("line.npy", self.x[0])
        self.save("empty.npy", self.x[:0])
        with open(self.path("x.txt"), "w") as file:
            file.write("nothing of the kind\n")
        good = self.read_bytes("x.npy")
        with open(self.path("cut.npy"), "wb") as file:
            file.write(good[:-10])
        np.savez(self.path("x.npz"), x=self.x)
        archive = self.read_bytes("x.npz")
        with open(self.path("cut.npz"), "wb") as file:
            file.write(archive[:-30])
        with open(self.path("x.arrow"), "wb") as file:
            file.write(b"ARROW1\0\0" + bytes(100))
        os.mkdir(self.path("folder"))
        self.x.tofile(self.path("x.raw"))
        for name in ("pipe.npy", "pipe.h5"):
            os.mkfifo(self.path(name))
        for name, width in (("wide", 2 ** 62), ("wider", 2 ** 61 + 1)):
            self.x.tofile(self.path(name + ".memmap"))
            with open(self.path(name + ".meta"), "w") as file:
                json.dump({"shape": [1, width]}, file)
        h5 = ("--out", "o.h5")
        cases = (
            (2, ["--out"], "x.npy"),
            (2, ["--out o.xyz", ".npy"], "x.npy", "--out", "o.xyz"),
            (2, ["--format arrow", "hdf5"], "x.npy", *h5, "--format", "arrow"),
            (2, ["int8", "float16"], "x.npy", *h5, "--dtype", "int8"),
            (2, ["--rows", "1003"], "x.npy", *h5, "--rows", "5:2000"),
            (2, ["--rows 7", "range"], "x.npy", *h5, "--rows", "7"),
            (2, ["--d-model"], "x.npy", *h5, "--raw", "float32"),
            (2, ["BF16", "float16"], "x.npy", "--out", "o.npy", "--dtype", "bfloat16"),
            (3, ["gone.npy", "No such file"], "gone.npy", *h5),
            (3, ["gone.h5"], "gone.h5", *h5),
            (3, ["folder", "is a folder"], "folder", *h5),
            (3, ["x.arrow", "Arrow", "'orthant convert --help' shows"], "x.arrow", *h5),
            (3, ["pipe.npy", "is no plain file"], "pipe.npy", *h5),
            (3, ["pipe.h5", "is no plain file"], "pipe.h5", *h5),
            (3, ["x.txt", "neither safetensors"], "x.txt", *h5),
            (3, ["cut.npy", "ask for"], "cut.npy", *h5),
            (3, ["cut.npz", "cut off"], "cut.npz", *h5),
            (3, ["narrow.npy", "24"], "x.npy", "narrow.npy", *h5),
            (3, ["whole.npy", "numbers are of type I64", "float32"], "whole.npy", *h5),
            (2, ["x.raw", "--raw TYPE --d-model N"], "x.raw", *h5),
            (3, ["line.npy", "[24] F32"], "line.npy", *h5),
            (3, ["empty.npy", "no rows"], "empty.npy", *h5),
            (3, ["no tensor 'y'"], "x.npz", "--tensor", "y", *h5),
            (3, ["--tokens"], "x.npz", "--tokens", "ids", *h5),
            (3, ["x.npy", "number of rows"], "x.npy", "--raw", "float32", "--d-model", "1000", *h5),
            (3, ["object.pt", "pathlib"], os.path.join(FOREIGN, "object.pt"), *h5),
            (3, ["wide.memmap", str(2 ** 62)], "wide.memmap", *h5),
            (3, ["wider.memmap", str(2 ** 61 + 1)], "wider.memmap", *h5),
            (4, ["no/o.h5"], "x.npy", "--out", "no/o.h5"),
        )
        for case in cases:
            self.refused(*case)
        for case in (cases[13], cases[-1]):
            self.refused(*case, ranks=3)
        result = support.run(["convert", "x.npy", "--out", "./x.npy"], cwd=self.folder)
        self.check_failure(result, 2, "would be lost")
        self.assertEqual(self.read_bytes("x.npy"), good)

    def test_storage_fails(self):
        """One line, exit 4, nothing left, and what had the name before is still there."""
        self.save("x.npy", self.x)
        cases = (("tensor.create:1:eacces", "o.npy", "Permission denied"),
                 ("tensor.write:1:enospc@1", "o.npy", "No space left"),
                 ("tensor.write:1+:short,tensor.sync:1:eio@2", "o.pt", "Input/output error"),
                 ("h5.write:1:edquot@2", "o.h5", "quota"),
                 ("file.sync:1:eio", "o.safetensors", "Input/output error"),
                 ("file.rename:1:erofs", "o.h5", "Read-only file system"),
                 ("folder.sync:1:eio", "o.bin", "Input/output error"))
        for i, (fault, name, words) in enumerate(cases):
            with open(self.path(name), "w") as file:
                file.write("before")
            result = support.run(["convert", "x.npy", "--out", name], 3 if i < 4 else 1,
                                 cwd=self.folder, env={"ORTHANT_FAULT": fault})
            self.check_failure(result, 4, words)
            self.assertEqual([one for one in os.listdir(self.folder) if "partial" in one], [])
            if not fault.startswith("folder"):
                self.assertEqual(self.read_bytes(name), b"before", fault)
        result = support.run(["convert", "x.npy", "--out", "o.bin"], 3, cwd=self.folder,
                             env={"ORTHANT_FAULT": "tensor.read:2:eio@1"})
        self.check_failure(result, 3, "x.npy", "Input/output error")

    def test_trains(self):
        """What is converted is what `train` reads."""
        self.save("x.npy", self.x.astype("f2"))
        self.convert("x.npy", "--out", "x.h5", ranks=3)
        config = self.write_config(data__files=["x.h5"], run__dir="run", run__steps=3,
                                   model__n_latent=48, model__k=4, train__batch=64)
        self.check_success(support.run(["train", config], cwd=self.folder))


if __name__ == "__main__":
    unittest.main()
