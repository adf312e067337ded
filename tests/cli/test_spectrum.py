#!/usr/bin/env python3
"""`orthant spectrum` against numpy: geometry, frame operator, covariance and principal components,
on several numbers of ranks.
timeout: 300"""
import json
import os
import shutil
import tempfile
import unittest

import numpy as np

import dictionaries
import support

LATENTS, D, K = 67, 23, 5  # odd, and no multiple of anything


def scatter(x, mean):
    return (x - mean).T @ (x - mean) / len(x)


def layernorm(x):
    x = x.astype(np.float64)
    x = x - x.mean(1, keepdims=True)
    return x / (x.std(1, ddof=1, keepdims=True) + 1e-5)


def pca(fit, test):
    """Mean squared error, summed over coordinates, at ranks 0 ... d."""
    mean = fit.mean(0)
    _, vectors = np.linalg.eigh(scatter(fit, mean))
    energies = ((test - mean) @ vectors[:, ::-1]) ** 2
    return np.append(np.cumsum(energies.mean(0)[::-1])[::-1], 0.0)


class Spectrum(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="orthant-spectrum-", dir=support.fast_folder())
        random = np.random.default_rng(1)
        cls.W = (random.normal(size=(LATENTS, D)) + 0.3).astype("f4")
        cls.W[11] = -2 * cls.W[40]
        cls.tokens = support.tokens(700, D, seed=3)
        cls.held_out = support.tokens(301, D, seed=3)[::-1] * np.float32(1.25) + np.float32(0.5)
        cls.data = support.write_activations(cls.path("data.h5"), cls.tokens)
        cls.other = support.write_activations(cls.path("held-out.h5"), cls.held_out)
        cls.model = dictionaries.make_model(cls.folder, "model", cls.W, k=K, norm="layernorm",
                                            data=cls.data)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name)

    def spectrum(self, *arguments, ranks=1):
        path = self.path("figures.json")
        done = support.run(["spectrum", *arguments, "--json", path], ranks)
        self.assertEqual(done.code, 0, done.stderr)
        with open(path) as file:
            return json.load(file), done

    def close(self, found, wanted, near=1e-9, **options):
        np.testing.assert_allclose(found, wanted, rtol=near, **options)

    def check_spectrum(self, found, values):
        values = values[::-1]
        share = values / values.sum()
        self.close(found["eigenvalues"], values, atol=1e-10 * values[0])
        self.close(found["trace"], values.sum())
        self.assertEqual(found["rank"], len(values))
        self.close(found["condition"], values[0] / values[-1], 1e-7)
        self.close(found["effective_rank"], np.exp(-(share * np.log(share)).sum()))
        self.close(found["participation"], 1 / (share ** 2).sum())

    def check_coherence(self, found, gram):
        i, j = np.triu_indices(LATENTS, 1)
        products = gram[i, j]
        self.close(found["mean"], products.mean())
        self.close(found["mean_square"], (products ** 2).mean())
        for name, value in (("max", products.max()), ("max_abs", np.abs(products).max()),
                            ("mean_abs", np.abs(products).mean())):
            self.close(found[name], value, 1e-6)
        for name, best in (("max_pair", products.argmax()), ("max_abs_pair",
                                                            np.abs(products).argmax())):
            self.assertEqual(found[name], [i[best], j[best]], name)
        self.close(found["welch"], np.sqrt((LATENTS - D) / (D * (LATENTS - 1))))

    def test_model(self):
        W = self.W.astype(np.float64)
        cosines = dictionaries.cosines(W, W)
        norm = np.linalg.norm(W, axis=1)
        for ranks in (1, 3, 4):
            figures, done = self.spectrum(self.model, ranks=ranks)
            self.assertIn("frame operator", done.stdout)
            geometry = figures["geometry"]
            self.check_coherence(geometry["stored"], W @ W.T)
            self.check_coherence(geometry["unit"], cosines)
            self.assertEqual(geometry["unit"]["max_abs_pair"], [11, 40])
            histogram = geometry["unit"]["histogram"]
            counts, _ = np.histogram(np.clip(cosines[np.triu_indices(LATENTS, 1)], -1, 1),
                                     histogram["edges"])
            self.assertLessEqual(np.abs(counts - histogram["counts"]).sum(), 4)
            self.assertEqual(sum(histogram["counts"]), LATENTS * (LATENTS - 1) // 2)
            self.close([geometry["norm"][name] for name in ("min", "mean", "max")],
                       [norm.min(), norm.mean(), norm.max()])
            self.check_spectrum(figures["frame"], np.linalg.eigvalsh(W.T @ W))
            self.assertEqual((figures["n_latent"], figures["d_model"], figures["step"]),
                             (LATENTS, D, 1))
            self.assertNotIn("pca", figures)

    def test_skip_pairs(self):
        figures, _ = self.spectrum(self.model, "--skip-pairs")
        W = self.W.astype(np.float64)
        off = (W @ W.T)[~np.eye(LATENTS, dtype=bool)]
        stored = figures["geometry"]["stored"]
        self.close(stored["mean_square"], (off ** 2).mean())
        self.close(stored["mean"], off.mean())
        self.assertIsNone(stored["max"])
        self.assertIsNone(stored["max_pair"])
        self.assertNotIn("histogram", figures["geometry"]["unit"])

    def check_pca(self, figures, fit, test, near=1e-8):
        residual = pca(fit, test)
        found, variance = figures["pca"], ((test - test.mean(0)) ** 2).sum(1).mean()
        self.assertEqual(found["rank"], [0, 1, 2, 4, 8, 16, D])
        self.close(found["variance"], variance, near)
        self.close(found["fvu"], residual[found["rank"]] / variance, near, atol=1e-12)
        self.close(found["mse"], residual[found["rank"]] / D, near, atol=1e-12)
        self.assertEqual((found["tokens"], found["test_tokens"]), (len(fit), len(test)))
        return residual, variance

    # fp32 rounding of the normalised tokens
    NEAR = 1e-5

    def test_model_with_data(self):
        x, held_out = layernorm(self.tokens), layernorm(self.held_out)
        path = self.path("eval.json")
        for ranks in (1, 3):
            figures, done = self.spectrum(self.model, "--data", self.data, ranks=ranks)
            covariance = np.linalg.eigvalsh(scatter(x, x.mean(0)))[::-1]
            self.close(figures["covariance"]["eigenvalues"][:-1], covariance[:-1], self.NEAR)
            # layernorm leaves no variance along the ones
            self.assertLess(abs(figures["covariance"]["eigenvalues"][-1]), 1e-10)
            residual, variance = self.check_pca(figures, x, x, self.NEAR)
            self.assertEqual(support.run(["eval", self.model, "--data", self.data, "--json",
                                          path]).code, 0)
            with open(path) as file:
                quality = json.load(file)
            sae = figures["pca"]["sae"]
            self.close([sae["l0"], sae["fvu"], sae["mse"]],
                       [quality["l0"]["mean"], quality["fvu"], quality["mse"]], 1e-6)
            self.assertEqual(sae["rank"], round(sae["l0"]))
            self.close(sae["pca_fvu"], residual[sae["rank"]] / variance, self.NEAR)
            self.close(sae["pca_mse"], residual[sae["rank"]] / D, self.NEAR)
            self.assertIn("SAE, l0", done.stdout)
            figures, done = self.spectrum(self.model, "--data", self.other, "--fit", self.data,
                                          ranks=ranks)
            self.check_pca(figures, x, held_out, self.NEAR)
            self.assertIn("held out", done.stdout)

    def test_data(self):
        x, held_out = self.tokens.astype(np.float64), self.held_out.astype(np.float64)
        both = np.concatenate([x, held_out])
        for ranks in (1, 2, 4):
            figures, _ = self.spectrum(self.data, self.other, ranks=ranks)
            self.check_spectrum(figures["covariance"],
                                np.linalg.eigvalsh(scatter(both, both.mean(0))))
            self.check_pca(figures, both, both)
            self.assertNotIn("sae", figures["pca"])
            self.assertNotIn("geometry", figures)
        figures, _ = self.spectrum(self.other, "--fit", self.data, ranks=3)
        self.check_pca(figures, x, held_out)

    def test_far_from_zero(self):
        """A mean that is large beside the spread costs no digits."""
        x = np.random.default_rng(5).normal(size=(500, 9)).round(3) + 4096
        x = x.astype("f4")
        path = support.write_activations(self.path("far.h5"), x)
        x = x.astype(np.float64)
        figures, _ = self.spectrum(path, ranks=2)
        self.check_spectrum(figures["covariance"], np.linalg.eigvalsh(scatter(x, x.mean(0))))

    def test_diagonal(self):
        """Tokens +-s_j e_j: the covariance is diagonal, s_j^2 / d."""
        s = np.arange(1.0, 66.0)
        x = np.concatenate([np.diag(s), -np.diag(s)]).astype("f4")
        path = support.write_activations(self.path("diagonal.h5"), x)
        for ranks in (1, 3):
            figures, _ = self.spectrum(path, ranks=ranks)
            self.close(figures["covariance"]["eigenvalues"], s[::-1] ** 2 / len(s), 1e-12)
        self.close(figures["pca"]["fvu"][1], 1 - s[-1] ** 2 / (s ** 2).sum(), 1e-12)

    def test_constant(self):
        path = support.write_activations(self.path("constant.h5"), np.ones((40, 6), "f4"))
        figures, _ = self.spectrum(path, ranks=2)
        self.assertEqual(figures["covariance"]["trace"], 0)
        self.assertIsNone(figures["covariance"]["condition"])
        self.assertEqual(figures["pca"]["fvu"], [None] * 5)

    def test_few_rows(self):
        x = self.tokens[:3]
        path = support.write_activations(self.path("few.h5"), x)
        for ranks in (1, 4):
            figures, _ = self.spectrum(path, ranks=ranks)
            x = x.astype(np.float64)
            self.close(figures["covariance"]["eigenvalues"][:2],
                       np.linalg.eigvalsh(scatter(x, x.mean(0)))[::-1][:2])
            self.assertEqual(figures["covariance"]["rank"], 2)

    def test_fit_to_few_rows(self):
        """What the fitted tokens do not span no rank reconstructs, on any number of ranks."""
        fit, test = self.tokens[:3], self.held_out
        few = support.write_activations(self.path("few.h5"), fit)
        residual = pca(fit.astype(np.float64), test.astype(np.float64))
        for ranks in (1, 3, 4):
            figures, _ = self.spectrum(self.other, "--fit", few, ranks=ranks)
            found = figures["pca"]
            self.assertEqual(figures["covariance"]["rank"], 2)
            self.close(found["mse"], residual[np.minimum(found["rank"], 2)] / D)

    def test_means_far_apart(self):
        """The variance of the tested tokens is about their own mean, wherever the fitted ones are."""
        x = (np.random.default_rng(6).normal(size=(500, D)).round(3) + 4096).astype("f4")
        path = support.write_activations(self.path("far.h5"), x)
        figures, _ = self.spectrum(path, "--fit", self.data, ranks=2)
        self.check_pca(figures, self.tokens.astype(np.float64), x.astype(np.float64))
        path = support.write_activations(self.path("one.h5"), self.tokens[7:8])
        for ranks in (1, 2):
            figures, _ = self.spectrum(path, "--fit", self.other, ranks=ranks)
            self.assertEqual(figures["pca"]["variance"], 0)
            self.assertEqual(figures["pca"]["fvu"], [None] * 7)

    def test_nonfinite(self):
        x = self.tokens.copy()
        x[77, 3], x[400, 0] = np.nan, np.inf
        path = support.write_activations(self.path("bad.h5"), x)
        for ranks in (1, 3):
            self.refuse(3, "bad.h5: row 77 holds NaN or Inf", path, ranks=ranks)
            self.refuse(3, "bad.h5: row 77 holds NaN or Inf", self.model, "--data", path,
                        ranks=ranks)
        kept = layernorm(np.delete(self.tokens, (77, 400), 0))
        figures, _ = self.spectrum(self.model, "--data", path, "--set", "data.nonfinite=skip",
                                   ranks=2)
        self.check_pca(figures, kept, kept, self.NEAR)
        self.assertEqual(figures["pca"]["skipped"], 2)

    def refuse(self, code, text, *arguments, ranks=1):
        done = support.run(["spectrum", *arguments], ranks)
        self.assertEqual(done.code, code, done.stderr)
        self.assertEqual(len(done.errors), 1, done.stderr)
        self.assertIn(text, done.errors[0])

    def test_refusals(self):
        narrow = support.write_activations(self.path("narrow.h5"), self.tokens[:, :7])
        garbage = self.path("garbage")
        with open(garbage, "wb") as file:
            file.write(os.urandom(5000))
        for ranks, code, text, *arguments in (
                (1, 3, "absent", self.path("absent")),
                (3, 3, "garbage", garbage),
                (1, 2, "a folder without checkpoints", self.folder),
                (3, 2, "give one model", self.model, self.data),
                (1, 2, "--data goes with a model", self.data, "--data", self.data),
                (1, 2, "--fit without --data", self.model, "--fit", self.data),
                (3, 3, "narrow.h5: tokens have 7 values, the model takes 23", self.model,
                 "--data", narrow),
                (3, 3, "but 7 in", self.data, "--fit", narrow),
                (1, 3, "narrow.h5: tokens have 7 values", self.data, narrow),
                (1, 2, "would be lost", self.data, "--json", self.data),
                (3, 4, "no-such/out.json", self.model, "--json", self.path("no-such/out.json"))):
            self.refuse(code, text, *arguments, ranks=ranks)


if __name__ == "__main__":
    unittest.main()
