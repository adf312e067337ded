"""What the tests of `orthant probe` share: a trained model, its codes in double, labelled tasks."""
import json
import os
import shutil
import tempfile
import unittest

import h5py
import numpy as np

import cli_model as cli

BATCH = 256
L2 = 1e-6
TASKS = ("planted", "two states", "rare", "partly known", "all equal")


def make_labels(f):
    """Of a probability that one latent sets; of where another fires; rare; a tenth known; no task."""
    random = np.random.default_rng(5)
    often = np.argsort(-(f > 0).sum(0))
    first, second = often[20], often[60]
    scale = f[:, first][f[:, first] > 0].mean()
    labels = np.zeros((len(f), len(TASKS)), np.int8)
    labels[:, 0] = random.random(len(f)) < 1 / (1 + np.exp(2 - 3 * f[:, first] / scale))
    labels[:, 1] = f[:, second] > 0
    labels[:, 2] = random.random(len(f)) < 0.01
    labels[:, 3] = f[:, first] + f[:, second] > 0
    labels[:, 4] = 1
    labels[random.random(labels.shape) < 0.1] = -1
    labels[random.random(len(f)) < 0.9, 3] = -1
    return labels, first, second


def root_mean_square(values):
    return np.sqrt((values[values > 0] ** 2).mean())


class ProbeCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="orthant-probe-")
        cls.model = cli.train(cls.folder, "topk")
        cls.f = cli.codes(cls.model, "topk", BATCH, cli.tokens())
        cls.labels, cls.first, cls.second = make_labels(cls.f)
        cls.file = cls.write_labels("labels.h5", cls.labels, task_names=list(TASKS))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def write_labels(cls, name, labels, dataset="labels", **attributes):
        path = os.path.join(cls.folder, name)
        with h5py.File(path, "w") as file:
            file[dataset] = labels
            for key, value in attributes.items():
                file[dataset].attrs[key] = value
        return path

    def probe(self, *arguments, ranks=1, data=cli.EVAL, labels=None):
        path = os.path.join(self.folder, "probes.json")
        done = cli.run(["probe", self.model, "--data", data, "--labels", labels or self.file,
                        "--json", path, *arguments], ranks)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(path) as file:
            return json.load(file), done

    def check_fits(self, figures, fit, tolerance, step=1):
        """Latents of every task against fit(value in units of r, label) -> (w, b)."""
        for index, task in enumerate(figures["tasks"][:4]):
            known = self.labels[:, index] >= 0
            label = self.labels[known, index].astype(float)
            self.assertEqual((task["labelled"], task["positive"]), (len(label), label.sum()))
            self.assertEqual(len(task["best"]), cli.LATENTS)
            self.assertEqual(task["unconverged"], 0)
            for found in task["best"][::step]:
                self.check_fit(found, task, known, label, fit, tolerance)

    def check_fit(self, found, task, known, label, fit, tolerance):
        values = self.f[:, found["latent"]]
        if not (values > 0).any():
            self.assertAlmostEqual(found["loss"], task["entropy"], places=12)
            return
        scale = root_mean_square(values)
        w, b = fit(values[known] / scale, label)

        def measure(w, b):
            z = values[known] / scale * w + b
            return ((np.logaddexp(0, z) - label * z).mean(),
                    ((z > 0) == (label == 1)).mean())
        loss, accuracy = measure(w, b)
        ours, ours_accuracy = measure(found["weight"] * scale, found["bias"])
        # Codes in double and in float differ by rounding.
        np.testing.assert_allclose(found["loss"], ours, rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(found["loss"], loss, rtol=1e-5, atol=tolerance)
        self.assertAlmostEqual(found["accuracy"], ours_accuracy, delta=1.5 / len(label))
        self.assertAlmostEqual(found["accuracy"], accuracy, delta=1.5 / len(label))
        # No point does better than ours by more than that rounding.
        self.assertLess(ours + L2 / 2 * (found["weight"] * scale) ** 2,
                        loss + L2 / 2 * w ** 2 + 1e-9)
