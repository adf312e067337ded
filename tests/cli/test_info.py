"""`orthant info`: the figures of activations against NumPy, files of tensors, and the same as JSON."""
import json
import os
import unittest

import h5py
import numpy as np

import support


class Info(support.Case):
    def info(self, *arguments, ranks=1):
        """What it prints, {label: [values]}, and what it writes."""
        path = self.path("info.json")
        result = support.run(["info", *arguments, "--json", path], ranks, cwd=self.folder)
        self.check_success(result)
        said = {}
        for line in result.stdout.splitlines():
            if not line.startswith(" "):
                said.setdefault(line[:22].strip(), []).append(line[22:])
        with open(path) as file:
            return said, json.load(file)

    def check_stats(self, stats, x):
        whole = np.isfinite(x).all(axis=1)
        bad = np.flatnonzero(~whole)
        self.assertEqual(stats["rows"], whole.sum())
        self.assertEqual(stats["nonfinite_rows"], len(bad))
        self.assertEqual(stats["first_nonfinite_row"], bad[0] if len(bad) else -1)
        self.assertEqual((stats["nan"], stats["inf"]), (np.isnan(x).sum(), np.isinf(x).sum()))
        x = x[whole].astype("f8")
        norms = np.linalg.norm(x, axis=1)
        self.assertEqual(stats["zero_rows"], (norms == 0).sum())
        rms = np.sqrt((x**2).mean(axis=0))
        times = rms / np.sort(rms)[::-1][len(rms) // 2]
        wanted = {"mean": x.mean(), "std": x.std(), "max_abs": abs(x).max(),
                  "norm_of_mean": np.linalg.norm(x.mean(axis=0))}
        for name, value in wanted.items():
            self.assertAlmostEqual(stats[name], value, delta=1e-12 * abs(x).max(), msg=name)
        quantiles = np.quantile(norms, [.05, .5, .95])
        for name, value in zip(("mean", "p5", "p50", "p95", "max"),
                               [norms.mean(), *quantiles, norms.max()]):
            self.assertAlmostEqual(stats["norm"][name], value, delta=1e-12 * norms.max(), msg=name)
        np.testing.assert_allclose(stats["dimensions"]["mean"], x.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(stats["dimensions"]["rms"], rms, rtol=1e-12)
        outliers = [i for i in np.argsort(-times) if times[i] > 6]
        self.assertEqual([item["dimension"] for item in stats["outliers"]], outliers)
        np.testing.assert_allclose([item["times"] for item in stats["outliers"]], times[outliers])

    def test_stats(self):
        x = support.tokens(1001, 33)
        x[:, 7] += 100
        x[:, 20] *= 30
        x[5] = 0
        path = support.write_activations(self.path("x.h5"), x)
        with h5py.File(path, "a") as file:
            file.attrs["model"], file.attrs["layer"] = "gpt2", 8
        said, found = self.info("x.h5", "--stats")
        self.check_stats(found["stats"], x)
        self.assertEqual([found[key] for key in ("kind", "rows", "width", "type", "model", "layer")],
                         ["activations", 1001, 33, "float32", "gpt2", 8])
        self.assertEqual(said["rows"], ["1001"])
        self.assertIn("2 with an rms above 6 times the median: ", said["outlier dimensions"][0])
        self.assertNotIn("stats", self.info("x.h5")[1])
        x[900, 3], x[77, :2] = np.inf, np.nan
        support.write_activations(self.path("y.h5"), x.astype("f2"))
        for ranks in (1, 3):
            said, found = self.info("y.h5", "--stats", ranks=ranks)
            self.check_stats(found["stats"], x.astype("f2"))
            self.assertEqual(said["rows with NaN or Inf"], ["2, the first is row 77"])
            self.assertEqual(said["values"], ["2 NaN, 1 Inf"])

    def test_tensors(self):
        state = os.path.join(support.DATA, "foreign", "state-2.pt")
        said, found = self.info(state, ranks=3)
        self.assertEqual(said["kind"], ["tensors, PyTorch (zip)"])
        self.assertIn("transposed [4, 3] of F32", said["tensor"])
        self.assertIn("activation_state_dict/k: 32", said["value"])
        self.assertIn("none: none", said["value"])
        entries = {entry["name"]: entry for entry in found["entries"]}
        self.assertEqual(entries["bfloat16"], {"name": "bfloat16", "type": "BF16", "shape": [5]})
        self.assertEqual(entries["rate"]["value"], 2.5)
        self.assertEqual(entries["activation"]["value"], "TopK")
        np.save(self.path("x.npy"), np.zeros((3, 4), "f2"))
        said, found = self.info("x.npy")
        self.assertEqual(said["tensor"], ["(the only one) [3, 4] of F16"])
        self.assertNotIn("stats", said)
        said, found = self.info("x.npy", "--stats")
        self.assertIn("orthant convert", said["stats"][0])
        # Names and texts of strangers do not steer the terminal.
        header = json.dumps({"__metadata__": {"a\x1b[31m": "b\x1b[2J\nc"}}).encode()
        with open(self.path("x.safetensors"), "wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
        said, _ = self.info("x.safetensors")
        self.assertEqual(said["value"], ["__metadata__/a [31m: 'b [2J c'"])
        with open(self.path("x.npy"), "ab") as file:
            file.write(b"more")
        self.check_failure(support.run(["info", "x.npy"], cwd=self.folder), 3, "ask for")

    def test_checkpoint(self):
        support.write_activations(self.path("x.h5"), support.tokens(200, 16))
        config = self.write_config(data__files=["x.h5"], run__dir="run", run__steps=3,
                                   model__n_latent=32, model__k=4, train__batch=64)
        self.check_success(support.run(["train", config], cwd=self.folder))
        said, found = self.info("run")
        self.assertEqual([found[key] for key in ("kind", "step", "tokens_seen", "n_latent",
                                                 "d_model", "optimizer", "ema")],
                         ["checkpoint", 3, 192, 32, 16, True, False])
        self.assertIn("n_latent: 32", found["config"])
        self.assertEqual(said["step"], ["3"])

    def test_codes_and_labels(self):
        """Other HDF5 files that Orthant knows are named, not taken for activations."""
        with h5py.File(self.path("codes.h5"), "w") as file:
            file["indptr"], file["latent"] = np.array([0, 1, 3]), np.array([4, 0, 2], "i4")
            file["value"] = np.ones(3, "f4")
            file.attrs["n_latent"], file.attrs["model"] = 8, "run"
        with h5py.File(self.path("labels.h5"), "w") as file:
            file["labels"] = np.zeros((7, 3), "i1")
        said, found = self.info("codes.h5", ranks=3)
        self.assertIn("codes", said["kind"][0])
        self.assertEqual([found[key] for key in ("kind", "rows", "entries", "n_latent", "model")],
                         ["codes", 2, 3, 8, "run"])
        said, found = self.info("labels.h5")
        self.assertIn("labels", said["kind"][0])
        self.assertEqual([found[key] for key in ("kind", "rows", "tasks")], ["labels", 7, 3])
        for option in ("--stats", "--verify"):
            self.check_failure(support.run(["info", "codes.h5", option], 2, cwd=self.folder), 2,
                               "leave them out")
        os.mkdir(self.path("empty"))
        self.check_failure(support.run(["info", "empty"], 2, cwd=self.folder), 3,
                           "neither checkpoints nor")

    def test_json_refused(self):
        support.write_activations(self.path("x.h5"), support.tokens(20, 4))
        result = support.run(["info", "x.h5", "--json", "no/x.json"], cwd=self.folder)
        self.check_failure(result, 4, "no/x.json")


if __name__ == "__main__":
    unittest.main()
