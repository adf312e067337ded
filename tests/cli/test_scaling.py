# timeout: 200
"""`orthant scaling`: a real grid of sixteen runs against numpy, which runs take part, refusals."""
import json
import os
import unittest

import numpy as np

from support import DATA, Case, run

GRID = os.path.join(DATA, "..", "golden", "scaling-grid.json")


def linear_law(points):
    """Coefficients, standard errors and R^2 of the law without the irreducible term."""
    n, k, loss = (np.log(column) for column in np.array(points).T)
    design = np.stack([np.ones_like(k), k, n, k * n], 1)
    solution, cost, _, _ = np.linalg.lstsq(design, loss, rcond=None)
    variance = cost[0] / (len(loss) - 4)
    errors = np.sqrt(variance * np.diag(np.linalg.inv(design.T @ design)))
    return solution, errors, 1 - cost[0] / ((loss - loss.mean()) ** 2).sum()


class Scaling(Case):
    def write_run(self, name, made, log=None, **changes):
        """A run folder from what the golden file keeps of a run."""
        folder = self.path(name)
        os.makedirs(os.path.join(folder, "eval"))
        parts = {key: changes.get(key, made[key]) for key in ("config", "metrics", "eval")}
        with open(os.path.join(folder, "config.yaml"), "w") as file:
            json.dump(parts["config"], file)
        with open(os.path.join(folder, "metrics.jsonl"), "w") as file:
            file.write(json.dumps(parts["metrics"]) + "\n")
            if parts["eval"]:
                line = {"step": parts["eval"]["step"], "eval": parts["eval"]}
                file.write(json.dumps(line) + "\n")
        if parts["eval"]:
            step = parts["eval"]["step"]
            with open(os.path.join(folder, "eval", f"step-{step:09d}.json"), "w") as file:
                json.dump(parts["eval"], file)
        if log:
            with open(os.path.join(folder, "orthant.log"), "w") as file:
                file.write(log)
        return folder

    def setUp(self):
        super().setUp()
        with open(GRID) as file:
            self.made = json.load(file)["runs"]

    def write_grid(self, **changes):
        for made in self.made:
            self.write_run(os.path.join("grid", made["name"]), made, **changes)
        return self.path("grid")

    def fit(self, *arguments, ranks=1):
        result = run(["scaling", *arguments, "--json", self.path("law.json")], ranks)
        self.check_success(result)
        with open(self.path("law.json")) as file:
            return json.load(file), result

    def check_law(self, law, points):
        names = ("alpha", "beta_k", "beta_n", "gamma")
        wanted, errors, r_square = linear_law(points)
        np.testing.assert_allclose([law["coefficients"][name] for name in names], wanted,
                                   rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose([law["standard_errors"][name] for name in names], errors,
                                   rtol=1e-6)
        np.testing.assert_allclose(law["r_square"], r_square, rtol=1e-9)
        self.assertIsNone(law["coefficients"]["zeta"])

    def test_real_grid(self):
        grid = self.write_grid()
        for ranks in (1, 3):
            for metric in ("fvu", "mse", "nmse") if ranks == 1 else ("nmse",):
                figures, result = self.fit(grid, "--metric", metric, ranks=ranks)
                self.check_law(figures["law"],
                               [(made["config"]["model"]["n_latent"],
                                 made["config"]["model"]["k"], made["eval"][metric])
                                for made in self.made])
                self.assertEqual((figures["source"], figures["metric"]), ("evaluation", metric))
                self.assertEqual((len(figures["runs"]), figures["left_out"]), (16, []))
        # As in the paper: more latents help, and the more so the larger k is.
        law = figures["law"]
        self.assertLess(law["coefficients"]["gamma"], 0)
        self.assertLess(law["coefficients"]["beta_n"], 0)
        self.assertGreater(law["r_square"], 0.98)
        self.assertIn("n3072-k64", result.stdout)
        self.assertIn("gamma", result.stdout)
        self.assertEqual([(run["n"], run["k"]) for run in figures["runs"]],
                         sorted((run["n"], run["k"]) for run in figures["runs"]))

    def test_irreducible(self):
        grid = self.write_grid()
        plain, _ = self.fit(grid)
        figures, _ = self.fit(grid, "--irreducible", "--predict", "2^13,32", "768,16")
        law, c = figures["law"], figures["law"]["coefficients"]
        self.assertEqual(law["parameters"], 6)
        self.assertLess(law["sigma"], plain["law"]["sigma"])
        self.assertLess(c["eta"], 0)
        residuals = []
        for each in figures["runs"] + figures["predictions"]:
            k, n = np.log(each["k"]), np.log(each["n"])
            value = (np.exp(c["alpha"] + c["beta_k"] * k + c["beta_n"] * n + c["gamma"] * k * n)
                     + np.exp(c["zeta"] + c["eta"] * k))
            if "residual" in each:
                residuals.append(np.log(each["loss"] / value))
                self.assertAlmostEqual(each["residual"], residuals[-1], places=10)
            else:
                np.testing.assert_allclose(each["loss"], value, rtol=1e-12)
                self.assertGreater(each["log_error"], 0)
        np.testing.assert_allclose(law["sigma"], np.sqrt(np.square(residuals).sum() / 10),
                                   rtol=1e-9)
        # No coefficients nearby do better.
        def cost(values):
            k, n, loss = (np.log([each[key] for each in figures["runs"]])
                          for key in ("k", "n", "loss"))
            fit = np.log(np.exp(values[0] + values[1] * k + values[2] * n + values[3] * k * n)
                         + np.exp(values[4] + values[5] * k))
            return ((fit - loss) ** 2).sum()
        best = np.array([c[name] for name in ("alpha", "beta_k", "beta_n", "gamma", "zeta", "eta")])
        random = np.random.default_rng(1)
        for scale in (1e-2, 1e-3, 1e-4):
            for _ in range(200):
                self.assertGreater(cost(best + scale * random.normal(size=6)), cost(best))

    def test_training_figures(self):
        """Without evaluations the last logged step counts; `loss` is always of it."""
        grid = self.write_grid(eval=None)
        for metric, key in (("fvu", "fvu"), ("mse", "mse"), ("loss", "loss")):
            figures, _ = self.fit(grid, "--metric", metric)
            self.assertEqual(figures["source"], "training")
            self.check_law(figures["law"],
                           [(made["config"]["model"]["n_latent"], made["config"]["model"]["k"],
                             made["metrics"][key]) for made in self.made])

    def test_runs_left_out(self):
        grid = self.write_grid()
        first = self.made[0]
        step = dict(first["metrics"], step=120)
        model = dict(first["config"], run={"epochs": 2})
        self.write_run("grid/unfinished", first, metrics=step)
        self.write_run("grid/failed", first, metrics=step,
                       log="orthant: step 120\northant: error: disk full; make room\n")
        self.write_run("grid/going-on", first, config=model, log="orthant: step 300\n")
        self.write_run("grid/by-epochs", first, config=model, log="orthant: done: 300 steps\n")
        self.write_run("grid/no-evaluation", first, eval=None)
        self.write_run("grid/unknown-key", first, config={"modle": {"k": 3}})
        damaged = self.write_run("grid/damaged", first)
        with open(os.path.join(damaged, "eval", "step-000000300.json"), "w") as file:
            file.write('{"mse": 0.')
        empty = self.write_run("grid/empty", first)
        with open(os.path.join(empty, "metrics.jsonl"), "w") as file:
            file.write('{"step": 3, "loss": 0.')
        os.makedirs(self.path("grid", "no-run"))
        figures, result = self.fit(grid, grid, os.path.join(grid, "by-epochs"))
        self.assertEqual(len(figures["runs"]), 17)
        why = {os.path.basename(run["run"]): run["why"] for run in figures["left_out"]}
        self.assertEqual(why.pop("unfinished"), "unfinished: step 120 of 300")
        self.assertEqual(why.pop("failed"), "failed after step 120: disk full; make room")
        self.assertEqual(why.pop("going-on"), "unfinished: step 300")
        self.assertEqual(why.pop("no-evaluation"), "has no evaluation, others have one")
        self.assertIn("modle", why.pop("unknown-key"))
        self.assertEqual(why.pop("damaged"), "eval/step-000000300.json is damaged or cannot be read")
        self.assertEqual(why.pop("empty"), "metrics.jsonl has no step yet")
        self.assertEqual(why, {})
        self.assertEqual(len(result.warnings), 7)

    def test_topafa_counts_its_l0(self):
        runs = []
        for i, made in enumerate(self.made):
            config = dict(made["config"], model={"n_latent": made["config"]["model"]["n_latent"],
                                                 "selection": "topafa", "k": 5})
            figures = dict(made["eval"], l0={"mean": 10.5 + i})
            runs.append(self.write_run(made["name"], made, config=config, eval=figures))
        figures, _ = self.fit(*runs)
        self.assertEqual(sorted(run["k"] for run in figures["runs"]),
                         [10.5 + i for i in range(16)])
        _, result = self.fit(*runs, self.write_run("topk", self.made[0]))
        self.assertEqual([line for line in result.warnings if "select differently" in line],
                         result.warnings[:1])

    def test_one_k(self):
        grid = self.write_grid()
        runs = [os.path.join(grid, f"n{n}-k16") for n in (384, 768, 1536, 3072)]
        figures, result = self.fit(*runs)
        c = figures["law"]["coefficients"]
        self.assertIsNone(c["beta_k"])
        self.assertIsNone(c["gamma"])
        self.assertLess(c["beta_n"], 0)
        self.assertIn("the runs do not vary it", result.stdout)

    def test_as_many_runs_as_coefficients(self):
        grid = self.write_grid()
        runs = [os.path.join(grid, f"n{n}-k{k}") for n in (384, 1536) for k in (8, 64)]
        figures, result = self.fit(*runs, "--predict", "1000,20")
        law = figures["law"]
        self.assertEqual(law["standard_errors"]["alpha"], None)
        self.assertEqual((law["sigma"], figures["predictions"][0]["log_error"]), (None, None))
        self.assertLess(law["coefficients"]["gamma"], 0)
        self.assertEqual(result.stdout.count("+- unknown"), 5)
        self.assertIn("as many runs as coefficients", result.warnings[0])

    def test_older_evaluation_and_other_lengths(self):
        grid = self.write_grid()
        made = self.made[3]
        self.write_run("grid/old", made, eval=dict(made["eval"], step=200),
                       metrics=dict(made["metrics"], tokens=999))
        _, result = self.fit(grid)
        self.assertEqual(len(result.warnings), 2)
        self.assertIn("of step 200, the run made 300", result.warnings[0])
        self.assertIn("different numbers of tokens", result.warnings[1])

    def test_refusals(self):
        grid = self.write_grid()
        one = os.path.join(grid, "n384-k8")
        os.makedirs(self.path("nothing"))
        four = [os.path.join(grid, name) for name in ("n384-k8", "n384-k16", "n768-k8", "n768-k16")]
        for code, words, ranks, arguments in (
                (2, "there is no such run", 3, [self.path("absent")]),
                (2, "neither a run directory nor a folder", 1, [self.path("nothing")]),
                (2, f"name {self.folder}/*", 2, [self.folder]),
                (2, "none of fvu, mse, nmse, loss", 1, [grid, "--metric", "l0"]),
                (2, "is not N,K", 2, [grid, "--predict", "12"]),
                (2, "is not N,K", 1, [grid, "--predict", "12,-3"]),
                (2, "an argument is missing", 1, []),
                (3, "all runs have n = 384 and k = 8", 2, [one]),
                (3, "4 runs cannot determine 6 coefficients", 1, [*four, "--irreducible"]),
                (4, "no-such", 2, [grid, "--json", self.path("no-such", "law.json")])):
            self.check_failure(run(["scaling", *arguments], ranks), code, words)

    def test_no_run_is_done(self):
        run_dir = self.write_run("only", self.made[0], metrics=dict(self.made[0]["metrics"], step=1))
        result = run(["scaling", run_dir])
        self.check_failure(result, 3, "0 runs cannot determine")
        self.assertIn("unfinished: step 1 of 300", result.warnings[0])


if __name__ == "__main__":
    unittest.main()
