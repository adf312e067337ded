#!/usr/bin/env python3
"""`orthant compare` against numpy: mean max cosine similarity of two dictionaries, both ways, on
several numbers of ranks.
timeout: 300"""
import json
import os
import shutil
import tempfile
import unittest

import numpy as np

import dictionaries
import support

D = 19


class Compare(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="orthant-compare-", dir=support.fast_folder())
        random = np.random.default_rng(1)
        cls.A = random.normal(size=(301, D)).astype("f4")
        cls.encoder = random.normal(size=(301, D)).astype("f4")
        cls.B = random.normal(size=(14, D)).astype("f4")
        cls.B[3] = 0
        cls.order = random.permutation(len(cls.A))
        signs = np.where(np.arange(len(cls.A)) % 3 == 0, -1, 1)[:, None]
        scales = random.uniform(0.5, 2, size=(len(cls.A), 1))
        cls.dictionaries = {
            "a": (cls.A, cls.encoder), "b": (cls.B, cls.B),
            "permuted": ((cls.A * scales)[cls.order], cls.encoder[cls.order]),
            "flipped": (cls.A * signs, cls.A),
            # more than one block of rows that travels on two ranks
            "large": (random.normal(size=(2411, D)) + 0.2, None)}
        cls.models = {name: dictionaries.make_model(cls.folder, name, *weights)
                      for name, weights in cls.dictionaries.items()}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def compare(self, a, b, *arguments, ranks=1):
        path = os.path.join(self.folder, "figures.json")
        done = support.run(["compare", self.models[a], self.models[b], *arguments, "--json", path],
                           ranks)
        self.assertEqual(done.code, 0, done.stderr)
        with open(path) as file:
            return json.load(file), done

    def check_way(self, found, cosines):
        best = cosines.max(1)
        self.assertEqual(found["n_latent"], len(best))
        for name, value in (("mean", best.mean()), ("min", best.min()), ("max", best.max()),
                            *((f"p{q}", np.percentile(best, q)) for q in (5, 25, 50, 75, 95))):
            np.testing.assert_allclose(found[name], value, rtol=1e-7, atol=1e-7, err_msg=name)
        self.assertEqual(found["above_0.7"], (best > 0.7).sum())
        self.assertEqual(found["above_0.9"], (best > 0.9).sum())
        counts, _ = np.histogram(np.clip(best, -1, 1), found["histogram"]["edges"])
        self.assertLessEqual(np.abs(counts - found["histogram"]["counts"]).sum(), 2)
        self.assertEqual(sum(found["histogram"]["counts"]), len(best))

    def check(self, figures, part, A, B):
        cosines = dictionaries.cosines(A, B)
        self.check_way(figures[part]["a_to_b"], cosines)
        self.check_way(figures[part]["b_to_a"], cosines.T)

    def test_sizes(self):
        for ranks in (1, 2, 4):
            figures, done = self.compare("a", "b", ranks=ranks)
            self.check(figures, "decoder", self.A, self.B)
            self.assertNotIn("encoder", figures)
            self.assertIn("MMCS", done.stdout)
            self.assertEqual((figures["a"]["n_latent"], figures["b"]["n_latent"]), (301, 14))
            figures, _ = self.compare("large", "a", ranks=ranks)
            self.check(figures, "decoder", self.dictionaries["large"][0], self.A)

    def test_grids_agree(self):
        reference, _ = self.compare("b", "large")
        for groups, shards in ((1, 3), (3, 1), (2, 2)):
            figures, _ = self.compare("b", "large", "--set", f"grid.n_group={groups}",
                                      f"grid.n_shard={shards}", ranks=groups * shards)
            for way in ("a_to_b", "b_to_a"):
                for name in ("mean", "min", "max", "p5", "p50", "p95", "above_0.7", "histogram"):
                    found, wanted = (one["decoder"][way][name] for one in (figures, reference))
                    if name == "histogram":
                        self.assertEqual(found, wanted)
                    else:
                        self.assertAlmostEqual(found, wanted, delta=1e-12)

    def test_itself(self):
        for ranks in (1, 3):
            for a, b in (("a", "a"), ("a", "permuted")):
                figures, _ = self.compare(a, b, "--encoder", ranks=ranks)
                for part in ("decoder", "encoder"):
                    for way in ("a_to_b", "b_to_a"):
                        found = figures[part][way]
                        for name in ("mean", "min", "max", "p5"):
                            self.assertAlmostEqual(found[name], 1, delta=1e-6)
                        self.assertEqual(found["above_0.9"], 301)
        figures, _ = self.compare("a", "a")
        self.assertAlmostEqual(figures["decoder"]["a_to_b"]["mean"], 1, delta=1e-14)
        self.assertNotIn("nearest", figures["decoder"]["a_to_b"])

    def test_each(self):
        places = np.argsort(self.order)  # of A's rows among the permuted ones
        for ranks, grid in ((1, (1, 1)), (4, (2, 2))):
            figures, _ = self.compare("a", "permuted", "--each", "--set",
                                      f"grid.n_group={grid[0]}", f"grid.n_shard={grid[1]}",
                                      ranks=ranks)
            found = figures["decoder"]
            self.assertEqual(found["a_to_b"]["nearest"], places.tolist())
            self.assertEqual(found["b_to_a"]["nearest"], self.order.tolist())
            np.testing.assert_allclose(found["a_to_b"]["cosines"], 1, rtol=1e-6)

    def test_ties(self):
        """Of equal latents the lowest, of nearly equal ones the nearer, on every grid."""
        random = np.random.default_rng(5)
        A = np.repeat(random.normal(size=(90, D)), 4, axis=0).astype("f4")
        A[2::4, 0] = np.nextafter(A[2::4, 0], np.float32(9))  # the last bit of one element
        A[3::4] *= 4
        B = A[random.permutation(len(A))]
        B[7] = B[200] = 0
        for name, W in (("ties", A), ("tied", B)):
            self.models[name] = dictionaries.make_model(self.folder, name, W)
        reference = self.compare("ties", "tied", "--each")[0]["decoder"]
        cosines = dictionaries.cosines(A, B)
        for way, exact, rows in (("a_to_b", cosines, B), ("b_to_a", cosines.T, A)):
            nearest = np.array(reference[way]["nearest"])
            best = exact[np.arange(len(exact)), nearest]
            self.assertLess((exact.max(1) - best).max(), 1e-14)
            unit = [row.tobytes() for row in rows / np.exp2(np.floor(np.log2(
                np.maximum(np.abs(rows[:, 1:2]), 1e-30))))]
            for i in nearest:
                self.assertEqual(unit.index(unit[i]), i)  # up to a power of 2
        for groups, shards in ((1, 1), (2, 1), (1, 2), (1, 3), (3, 1), (2, 2)):
            for arguments in ([], ["--encoder"])[:1 + (shards == 3)]:
                figures, _ = self.compare("ties", "tied", "--each", *arguments, "--set",
                                          f"grid.n_group={groups}", f"grid.n_shard={shards}",
                                          ranks=groups * shards)
                for part in ("decoder", "encoder")[:1 + len(arguments)]:
                    for way, wanted in reference.items():
                        for name in ("nearest", "cosines", "min", "max", "histogram"):
                            self.assertEqual(figures[part][way][name], wanted[name], name)

    def test_ties_in_latents(self):
        """The same of the nearest latents that `eval --latents` tells."""
        random = np.random.default_rng(6)
        W = np.repeat(random.normal(size=(60, D)), 3, axis=0).astype("f4")
        W[2::3, 0] = np.nextafter(W[2::3, 0], np.float32(9))
        W = W[random.permutation(len(W))]
        model = dictionaries.make_model(self.folder, "ties-of-latents", W)
        data = support.write_activations(os.path.join(self.folder, "few.h5"),
                                         support.tokens(40, D, seed=7))
        cosines, found = dictionaries.cosines(W, W), []
        path = os.path.join(self.folder, "latents.json")
        for groups, shards in ((1, 1), (2, 1), (1, 2), (1, 3), (3, 1)):
            done = support.run(["eval", model, "--data", data, "--skip-eps", "--latents", path,
                                "--set", f"grid.n_group={groups}", f"grid.n_shard={shards}"],
                               groups * shards)
            self.assertEqual(done.code, 0, done.stderr)
            with open(path) as file:
                found.append([one["neighbours"] for one in json.load(file)["latents"]])
            self.assertEqual(found[-1], found[0])
        for i, nearest in enumerate(found[0]):
            latents = [one["latent"] for one in nearest]
            others = np.delete(np.arange(len(W)), i)
            best = np.sort(cosines[i][others])[::-1][:len(latents)]
            np.testing.assert_allclose(cosines[i][latents], best, atol=1e-6)
            for j, k in zip(latents, latents[1:]):  # equal ones in their order
                self.assertFalse((W[j] == W[k]).all() and j > k)

    def test_exported(self):
        """A folder that another tool loads is a model as well."""
        folder = os.path.join(self.folder, "exported")
        done = support.run(["export", self.models["a"], "--format", "saelens", "--out", folder])
        self.assertEqual(done.code, 0, done.stderr)
        self.models["exported"] = folder
        figures, _ = self.compare("exported", "b", ranks=2)
        self.check(figures, "decoder", self.A, self.B)

    def test_flipped(self):
        """A latent and its opposite are different ones."""
        for ranks in (1, 2):
            figures, _ = self.compare("a", "flipped", "--encoder", ranks=ranks)
            self.check(figures, "decoder", self.A, self.dictionaries["flipped"][0])
            self.check(figures, "encoder", self.encoder, self.A)
            self.assertEqual(figures["decoder"]["a_to_b"]["above_0.9"], 200)

    def test_data(self):
        data = support.write_activations(os.path.join(self.folder, "data.h5"),
                                         support.tokens(150, D, seed=7))
        figures, done = self.compare("a", "b", "--data", data, ranks=2)
        for side in ("a", "b"):
            path = os.path.join(self.folder, "eval.json")
            evaluated = support.run(["eval", self.models[side], "--data", data, "--json", path])
            self.assertEqual(evaluated.code, 0, evaluated.stderr)
            with open(path) as file:
                quality = json.load(file)
            for name in ("mse", "fvu", "nmse", "cosine"):
                np.testing.assert_allclose(figures[side]["eval"][name], quality[name], rtol=1e-6)
            self.assertEqual(figures[side]["eval"]["dead"], quality["dead"])
        self.assertIn("fvu", done.stdout)

    def refuse(self, code, text, *arguments, ranks=1):
        done = support.run(["compare", *arguments], ranks)
        self.assertEqual(done.code, code, done.stderr)
        self.assertEqual(len(done.errors), 1, done.stderr)
        self.assertIn(text, done.errors[0])

    def test_refusals(self):
        wide = dictionaries.make_model(self.folder, "wide", np.eye(31, 23))
        for ranks, code, text, *arguments in (
                (3, 2, "d_model 19", self.models["a"], wide),
                (1, 2, "there is no such model", self.models["a"],
                 os.path.join(self.folder, "absent")),
                (1, 2, "compare", self.models["a"]),
                (3, 4, "no-such", self.models["a"], self.models["b"], "--json",
                 os.path.join(self.folder, "no-such", "out.json")),
                (3, 3, "absent.h5", self.models["a"], self.models["b"], "--data",
                 os.path.join(self.folder, "absent.h5"))):
            self.refuse(code, text, *arguments, ranks=ranks)


if __name__ == "__main__":
    unittest.main()
