# timeout: 600
"""`orthant eval --latents` against a dense recomputation in numpy from the codes that `orthant
encode` writes, the same bytes on every grid; contexts against the files' own tokens, documents and
strings."""
import json
import os
import shutil
import tempfile
import unittest

import h5py
import numpy as np

import cli_model as cli

EXAMPLES, NEIGHBOURS, CONTEXT = 7, 4, 3
GRIDS = ((1, 1), (1, 3), (3, 1), (2, 2))


def dense_codes(path):
    with h5py.File(path) as file:
        indptr, latent, value = (file[name][:] for name in ("indptr", "latent", "value"))
    codes = np.zeros((len(indptr) - 1, cli.LATENTS), np.float32)
    for row, (begin, end) in enumerate(zip(indptr[:-1], indptr[1:])):
        codes[row, latent[begin:end]] = value[begin:end]
    return codes


class Latents(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="orthant-latents-")
        cls.model = cli.train(cls.folder, "topafa", "afa.coefficient=1/24")
        cls.data = [cls.make_file("a.h5", 0, 700, True), cls.make_file("b.h5", 700, 1900, False),
                    cls.make_file("c.h5", 1900, 2500, True)]

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def make_file(cls, name, begin, end, text):
        path = os.path.join(cls.folder, name)
        with h5py.File(cli.EVAL) as source, h5py.File(path, "w") as out:
            out["activations"] = source["activations"][begin:end]
            if text:
                out["tokens"] = source["tokens"][begin:end]
                out["documents"] = np.array([0, 100, 101, 400], np.int64)
                strings = [word.decode() for word in source["vocab"][:20000]]
                strings[1012] = b"\xff\xfeodd"
                out.create_dataset("vocab", data=np.array(
                    [word if isinstance(word, bytes) else word.encode() for word in strings],
                    dtype=object), dtype=h5py.string_dtype())
        return path

    def evaluate(self, grid, *arguments):
        path = os.path.join(self.folder, "latents.json")
        done = cli.run(["eval", self.model, "--data", *self.data, "--latents", path, "--skip-eps",
                        "--batch", "300", "--examples", EXAMPLES, "--neighbours", NEIGHBOURS,
                        "--context", CONTEXT, *arguments, "--set", f"grid.n_group={grid[0]}",
                        f"grid.n_shard={grid[1]}"], grid[0] * grid[1])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertFalse(os.path.exists(path + ".partial"))
        with open(path, "rb") as file:
            return file.read()

    def encode(self):
        path = os.path.join(self.folder, "codes.h5")
        done = cli.run(["encode", self.model, "--data", *self.data, "--out", path])
        self.assertEqual(done.returncode, 0, done.stderr)
        return dense_codes(path)

    def check_counts(self, found, f):
        fired = f > 0
        np.testing.assert_array_equal([l["count"] for l in found], fired.sum(0))
        np.testing.assert_array_equal([l["max"] for l in found], f.max(0))
        np.testing.assert_allclose([l["frequency"] for l in found], fired.mean(0), rtol=1e-15)
        np.testing.assert_allclose([l["sum"] for l in found], f.sum(0, dtype=float), rtol=1e-14)
        for i, latent in enumerate(found):
            self.assertEqual(latent["dead"], not fired[:, i].any())
            self.assertEqual(latent["dense"], bool(fired[:, i].mean() > 0.1))
            mean = f[:, i].sum(dtype=float) / fired[:, i].sum() if fired[:, i].any() else None
            if mean is None:
                self.assertIsNone(latent["mean"])
            else:
                self.assertAlmostEqual(latent["mean"], mean, delta=1e-13 * mean)
        self.assertTrue(any(l["dense"] for l in found) and not all(l["dense"] for l in found))

    def check_examples(self, found, f):
        for i, latent in enumerate(found):
            order = np.lexsort((np.arange(len(f)), -f[:, i]))[:EXAMPLES]
            order = order[f[order, i] > 0]
            self.assertEqual([e["row"] for e in latent["examples"]], order.tolist(), i)
            self.assertEqual([e["value"] for e in latent["examples"]],
                             f[order, i].astype(float).tolist())

    def check_neighbours(self, found):
        _, W_dec, _, _ = cli.weights(self.model)
        unit = W_dec / np.linalg.norm(W_dec, axis=1, keepdims=True)
        cosine = unit @ unit.T
        np.fill_diagonal(cosine, -2)
        for i, latent in enumerate(found):
            near = latent["neighbours"]
            best = np.sort(cosine[i])[::-1][:NEIGHBOURS]
            np.testing.assert_allclose([n["cosine"] for n in near], best, atol=1e-6)
            self.assertEqual(len({n["latent"] for n in near} - {i}), NEIGHBOURS)
            for n in near:
                self.assertAlmostEqual(n["cosine"], cosine[i, n["latent"]], delta=1e-6)

    def check_context(self, example):
        rows, first = (700, 1200, 600), (0, 700, 1900)
        index = [os.path.basename(path) for path in self.data].index(
            os.path.basename(example["file"]))
        row = example["row_in_file"]
        self.assertEqual(first[index] + row, example["row"])
        self.assertLess(row, rows[index])
        if index == 1:
            self.assertTrue({"tokens", "document", "strings"}.isdisjoint(example))
            return
        with h5py.File(self.data[index]) as file:
            tokens, documents, vocab = (file[n][:] for n in ("tokens", "documents", "vocab"))
        document = int(np.searchsorted(documents, row, side="right")) - 1
        begin = max(row - CONTEXT, documents[document])
        end = min(row + CONTEXT + 1, documents[document + 1] if document < 3 else rows[index])
        self.assertEqual(example["document"], document)
        self.assertEqual(example["place"], row - begin)
        self.assertEqual(example["tokens"], tokens[begin:end].tolist())
        words = ["\ufffd\ufffdodd" if t == 1012 else vocab[t].decode() if t < 20000 else None
                 for t in tokens[begin:end]]
        self.assertEqual(example["strings"], words)

    def test_everything(self):
        whole = [self.evaluate(grid) for grid in GRIDS]
        for grid, text in zip(GRIDS, whole):
            self.assertEqual(text, whole[0], grid)
        found = json.loads(whole[0])
        self.assertEqual((found["n_latent"], found["tokens"], found["step"]),
                         (cli.LATENTS, 2500, cli.STEPS))
        latents = found["latents"]
        self.assertEqual([l["latent"] for l in latents], list(range(cli.LATENTS)))
        f = self.encode()
        self.check_counts(latents, f)
        self.check_examples(latents, f)
        self.check_neighbours(latents)
        contexts = [e for l in latents[::7] for e in l["examples"]]
        self.assertEqual(len({e["file"] for e in contexts}), 3)
        for example in contexts:
            self.check_context(example)

    def refuse(self, code, text, *arguments):
        for ranks in (1, 3):
            done = cli.run(["eval", *arguments], ranks)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertEqual(len(cli.errors(done)), 1, done.stderr)
            self.assertIn(text, cli.errors(done)[0])

    def damaged(self, name, **datasets):
        path = os.path.join(self.folder, name)
        with h5py.File(path, "w") as out, h5py.File(cli.EVAL) as source:
            out["activations"] = source["activations"][:50]
            for key, value in datasets.items():
                out[key] = value
        return path

    def test_refusals(self):
        out = os.path.join(self.folder, "out.json")
        latents = ("--latents", out)
        for words, path in (
                ("'tokens' is int32 with 1 dimension and 49 rows",
                 self.damaged("short.h5", tokens=np.zeros(49, np.int32))),
                ("'tokens' is float32", self.damaged("float.h5", tokens=np.zeros(50, np.float32))),
                ("'documents' does not ascend",
                 self.damaged("order.h5", documents=np.array([0, 7, 5]))),
                ("'documents' does not ascend",
                 self.damaged("beyond.h5", documents=np.array([0, 51]))),
                ("'vocab' is int64", self.damaged("vocab.h5", vocab=np.arange(9)))):
            self.refuse(3, words, self.model, "--data", path, *latents)
        self.refuse(2, "--latents takes one model", self.model, self.model, "--data", cli.EVAL,
                    *latents)
        self.refuse(2, "name one file", self.model, "--data", cli.EVAL, *latents, "--json", out)
        self.refuse(2, "would be lost", self.model, "--data", self.data[0], "--latents",
                    self.data[0])
        self.refuse(4, "/dev/full: cannot write", self.model, "--data", self.data[0], "--skip-eps",
                    "--latents", "/dev/full")
        self.assertFalse(os.path.exists(out) or os.path.exists(out + ".partial"))

    def test_several_models(self):
        path = os.path.join(self.folder, "models.json")
        other = cli.train(self.folder, "topk")
        done = cli.run(["eval", self.model, other, "--data", self.data[0], "--skip-eps", "--json",
                        path], 2)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(path) as file:
            models = json.load(file)["models"]
        self.assertEqual([m["selection"] for m in models], ["topafa", "topk"])
        for model, run_dir in zip(models, (self.model, other)):
            self.assertIn(run_dir, model["model"])
            self.assertIn(f"{model['mse']:.6g}", done.stdout)
            done_alone = cli.run(["eval", run_dir, "--data", self.data[0], "--skip-eps", "--json",
                                  path], 2)
            self.assertEqual(done_alone.returncode, 0, done_alone.stderr)
            with open(path) as file:
                alone = json.load(file)
            del alone["seconds"], model["seconds"]
            self.assertEqual(alone, model)


if __name__ == "__main__":
    unittest.main()
