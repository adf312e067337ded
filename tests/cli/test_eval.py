# timeout: 600
"""`orthant eval` against the definitions of RECIPES, recomputed in numpy from the checkpoint."""
import json
import os
import shutil
import tempfile
import unittest

import h5py
import numpy as np

import cli_model as cli

BATCH = 1000  # does not divide the 4,096 tokens


def expected(run_dir, selection):
    W_enc, W_dec, _, b_dec = cli.weights(run_dir)
    x = cli.tokens()
    f = cli.codes(run_dir, selection, BATCH, x)
    x_hat = f @ W_dec + b_dec
    r2, x2 = ((x_hat - x) ** 2).sum(1), (x ** 2).sum(1)
    l0 = (f > 0).sum(1)
    scaled2 = ((f * np.linalg.norm(W_dec, axis=1)) ** 2).sum(1) + (b_dec ** 2).sum()
    n = len(W_dec)
    elbo = np.abs(x2 - scaled2) / ((n - 1) * scaled2)
    gram = W_dec @ W_dec.T
    off = gram[~np.eye(n, dtype=bool)]
    fired = (f > 0).sum(0)
    fvu = r2.sum() / ((x - x.mean(0)) ** 2).sum()
    norm_z, norm_f = np.sqrt(x2), np.sqrt(scaled2)
    unit = np.vstack([W_dec, b_dec])
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = np.abs(np.triu(unit @ unit.T, 1))
    length1 = (f * np.linalg.norm(W_dec, axis=1)).sum(1) + np.linalg.norm(b_dec)
    pairs = length1 ** 2 - scaled2
    bounds = {}
    for i, eps in enumerate((0.25, 0.5, 1)):
        above = (norm_f * np.sqrt(1 - eps) > norm_z).sum()
        below = (norm_f * np.sqrt(1 + eps) < norm_z).sum()
        bounds.update({f"zf.bounds.{i}.above": above, f"zf.bounds.{i}.below": below,
                       f"zf.bounds.{i}.within": 1 - (above + below) / len(x),
                       f"zf.bounds.{i}.lower": 1 / np.sqrt(1 + eps)})
    return bounds | {
        "zf.over": (norm_f > norm_z).sum(), "zf.under": (norm_f < norm_z).sum(),
        "quasi_orthogonality.eps_max": cosines.max(),
        "quasi_orthogonality.eps_bias": cosines[:, -1].max(),
        "quasi_orthogonality.violations": 0,
        "quasi_orthogonality.largest_ratio": (np.abs((x_hat ** 2).sum(1) - scaled2) / pairs).max(),
        "quasi_orthogonality.within": (np.abs(x2 - scaled2) <= cosines.max() * pairs).mean(),
        "quasi_orthogonality.within_wide": (np.abs(x2 - scaled2) <=
                                            cosines.max() * n * scaled2).mean(),
        "tokens": len(x), "mse": r2.sum() / x.size, "nmse": (r2 / x2).mean(), "fvu": fvu,
        "explained_variance": 1 - fvu,
        "cosine": ((x * x_hat).sum(1) / np.sqrt(x2 * (x_hat ** 2).sum(1))).mean(),
        "l0.mean": l0.mean(), "l0.p5": np.percentile(l0, 5), "l0.p50": np.median(l0),
        "l0.p95": np.percentile(l0, 95), "l0.max": l0.max(),
        "dead": (fired == 0).sum(), "rare": (fired / len(x) < 1e-5).sum(),
        "afa": ((np.linalg.norm(f, axis=1) - np.sqrt(x2)) ** 2).mean(),
        "elbo.median": np.median(elbo), "elbo.q25": np.percentile(elbo, 25),
        "elbo.q75": np.percentile(elbo, 75), "elbo.mean": elbo.mean(),
        "zf.z": np.sqrt(x2), "zf.f": np.sqrt(scaled2),
        "description_length": l0.mean() * (7 + np.log2(n)),
        "eps.max": off.max(), "eps.mean": off.mean(), "eps.max_abs": np.abs(off).max(),
        "eps.mean_abs": np.abs(off).mean(),
        "eps.welch": np.sqrt(max(0, n - x.shape[1]) / (x.shape[1] * (n - 1))),
        "l0.histogram": l0, "frequency": np.log10(fired[fired > 0] / len(x)),
        "elbo.histogram": np.log10(elbo),
    }


def look_up(figures, path):
    for name in path.split("."):
        figures = figures[int(name) if name.isdigit() else name]
    return figures


class Evaluation(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="orthant-eval-")
        cls.runs = {"topk": cli.train(cls.folder, "topk"),
                    "topafa": cli.train(cls.folder, "topafa", "afa.coefficient=1/24"),
                    "batchtopk": cli.train(cls.folder, "batchtopk")}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def evaluate(self, model, *arguments, ranks=1, data=cli.EVAL):
        path = os.path.join(self.folder, "figures.json")
        done = cli.run(["eval", model, "--data", data, "--json", path, *arguments], ranks)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertFalse(os.path.exists(path + ".partial"))
        with open(path) as file:
            return json.load(file), done

    def check(self, figures, selection, figure, value):
        if figure in ("l0.histogram", "frequency", "elbo.histogram"):
            found = look_up(figures, figure)
            clipped = np.clip(value, found["edges"][0], found["edges"][-1])
            counts, _ = np.histogram(clipped, found["edges"])
            # A value on an edge may fall to either side of it.
            self.assertLess(np.abs(counts - found["counts"]).sum(), 0.01 * len(value) + 3,
                            (selection, figure))
            self.assertEqual(sum(found["counts"]), len(value))
            return
        # Topafa's cut has near-ties of vanishing value; eLBO is a difference of near equals.
        near = 5e-3 if selection == "topafa" else 1e-5
        np.testing.assert_allclose(look_up(figures, figure), value, rtol=near, atol=1e-7,
                                   err_msg=f"{selection} {figure}")

    def test_every_figure(self):
        for selection, run_dir in self.runs.items():
            figures, done = self.evaluate(run_dir, "--batch", BATCH)
            for figure, value in expected(run_dir, selection).items():
                self.check(figures, selection, figure, value)
            self.assertIn("explained variance", done.stdout)
            self.assertEqual(figures["step"], cli.STEPS)

    def test_grids_agree(self):
        reference, _ = self.evaluate(self.runs["batchtopk"], "--batch", BATCH)
        for groups, shards in ((1, 2), (2, 1), (1, 3), (2, 2)):
            figures, _ = self.evaluate(self.runs["batchtopk"], "--batch", BATCH, "--set",
                                       f"grid.n_group={groups}", f"grid.n_shard={shards}",
                                       ranks=groups * shards)
            for name in ("tokens", "l0", "dead", "rare", "frequency"):
                self.assertEqual(figures[name], reference[name], name)
            for name in ("mse", "nmse", "fvu", "cosine", "afa", "elbo.median", "elbo.mean",
                         "zf.z", "zf.f", "eps.mean", "eps.mean_abs", "eps.max"):
                np.testing.assert_allclose(look_up(figures, name), look_up(reference, name),
                                           rtol=1e-6, err_msg=name)

    def test_digits(self):
        path = os.path.join(self.folder, "digits.json")
        done = cli.run(["eval", self.runs["topk"], "--data", cli.EVAL, "--json", path])
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(path) as file:
            literals = json.load(file, parse_float=str)
        for name in ("mse", "nmse", "fvu", "cosine", "afa"):
            self.assertGreaterEqual(len(literals[name].strip("0.").replace(".", "")), 9, name)

    def test_eps_left_out(self):
        figures, _ = self.evaluate(self.runs["topk"], "--skip-eps")
        self.assertNotIn("eps", figures)

    def write_rows(self, name, change):
        path = os.path.join(self.folder, name)
        with h5py.File(cli.EVAL) as source:
            rows = source["activations"][:600].astype(np.float32)
        with h5py.File(path, "w") as out:
            out["activations"] = change(rows)
        return path

    def test_nonfinite(self):
        def damage(rows):
            rows[77, 3] = np.nan
            rows[400, 0] = np.inf
            return rows
        bad = self.write_rows("bad.h5", damage)
        good = self.write_rows("good.h5", lambda rows: np.delete(rows, (77, 400), 0))
        for ranks in (1, 3):
            done = cli.run(["eval", self.runs["topk"], "--data", bad], ranks)
            self.assertEqual(done.returncode, 3)
            self.assertEqual(len(cli.errors(done)), 1)
            self.assertIn("bad.h5: row 77 holds NaN or Inf", cli.errors(done)[0])
            figures, done = self.evaluate(self.runs["topk"], "--set", "data.nonfinite=skip",
                                          ranks=ranks, data=bad)
            self.assertIn("2 rows with NaN or Inf were left out", done.stderr)
            clean, _ = self.evaluate(self.runs["topk"], data=good)
            self.assertEqual((figures["tokens"], figures["skipped"]), (598, 2))
            for name in ("mse", "nmse", "fvu", "cosine", "elbo.median", "l0.mean"):
                np.testing.assert_allclose(look_up(figures, name), look_up(clean, name), rtol=1e-6)

    def test_constant_activations(self):
        path = self.write_rows("constant.h5", lambda rows: np.zeros_like(rows))
        figures, _ = self.evaluate(self.runs["topk"], data=path)
        self.assertIsNone(figures["fvu"])
        self.assertIsNone(figures["nmse"])
        self.assertEqual(figures["tokens"], 600)

    def refuse(self, code, text, *arguments):
        for ranks in (1, 3):
            done = cli.run(["eval", *arguments], ranks)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertEqual(len(cli.errors(done)), 1, done.stderr)
            self.assertIn(text, cli.errors(done)[0])

    def test_refusals(self):
        model = self.runs["topk"]
        empty = os.path.join(self.folder, "empty")
        os.makedirs(os.path.join(empty, "checkpoints"))
        exported = os.path.join(self.folder, "exported")
        os.makedirs(exported)
        open(os.path.join(exported, "cfg.json"), "w").close()
        narrow = self.write_rows("narrow.h5", lambda rows: rows[:, :100])
        data = ("--data", cli.EVAL)
        self.refuse(2, "there is no such model", os.path.join(self.folder, "absent"), *data)
        self.refuse(2, "no checkpoint yet", empty, *data)
        self.refuse(5, "its tensors are missing", exported, *data)
        self.refuse(2, "a folder without checkpoints", self.folder, *data)
        self.refuse(2, "--data is missing", model)
        self.refuse(2, "--batch", model, *data, "--batch", "0")
        self.refuse(5, "not an Orthant checkpoint", cli.EVAL, *data)
        self.refuse(3, "narrow.h5: tokens have 100 values, the model takes 384", model, "--data",
                    narrow)
        self.refuse(3, "absent.h5", model, "--data", os.path.join(self.folder, "absent.h5"))
        self.refuse(4, "no-such/figures.json", model, *data, "--json",
                    os.path.join(self.folder, "no-such", "figures.json"))
        self.refuse(4, "/dev/full: cannot write", model, *data, "--json", "/dev/full")
        self.refuse(4, self.folder, model, *data, "--json", self.folder)


if __name__ == "__main__":
    unittest.main()
