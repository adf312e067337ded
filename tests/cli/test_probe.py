# timeout: 300
"""`orthant probe` against Newton's method in numpy on codes in double; planted latents; grids,
passes, labels of all kinds and refusals."""
import os
import unittest

import h5py
import numpy as np

import cli_model as cli
from probes import L2, TASKS, ProbeCase


def newton(value, label):
    """Minimise mean cross-entropy + L2/2 w^2 in (w, b)."""
    def objective(w, b):
        z = w * value + b
        return (np.logaddexp(0, z) - label * z).mean() + L2 / 2 * w ** 2
    w, b = 0.0, np.log(label.mean() / (1 - label.mean()))
    for _ in range(100):
        p = 1 / (1 + np.exp(-(w * value + b)))
        gradient = np.array([(value * (p - label)).mean() + L2 * w, (p - label).mean()])
        q = p * (1 - p)
        hessian = np.array([[(q * value ** 2).mean() + L2, (q * value).mean()],
                            [(q * value).mean(), q.mean()]])
        step = np.linalg.solve(hessian, gradient)
        length = 1.0
        while (objective(w - length * step[0], b - length * step[1]) > objective(w, b)
               and length > 1e-9):
            length /= 2
        w, b = w - length * step[0], b - length * step[1]
        if gradient @ step < 1e-18:
            break
    return w, b


class Probes(ProbeCase):
    def test_against_numpy(self):
        figures, done = self.probe("--top", 1000)
        self.check_fits(figures, newton, 1e-8, step=4)
        self.assertEqual([task["name"] for task in figures["tasks"]], list(TASKS))
        self.assertEqual(figures["tasks"][4]["best"], [])
        self.assertIn("all equal is left out", done.stderr)
        self.assertEqual((figures["tokens"], figures["passes"]), (len(self.f), 1))

    def test_planted(self):
        figures, done = self.probe("--top", 3)
        planted, states = figures["tasks"][:2]
        self.assertEqual(planted["best"][0]["latent"], self.first)
        self.assertLess(planted["best"][0]["loss"], planted["best"][1]["loss"] - 0.01)
        self.assertEqual(states["best"][0]["latent"], self.second)
        self.assertEqual(states["best"][0]["accuracy"], 1.0)
        self.assertLess(states["best"][0]["loss"], 1e-3)
        self.assertIn("planted", done.stdout)
        self.assertEqual(len(planted["best"]), 3)

    def test_grids_agree(self):
        reference, _ = self.probe("--top", 40)
        for groups, shards in ((1, 2), (3, 1), (2, 2)):
            figures, _ = self.probe("--top", 40, "--set", f"grid.n_group={groups}",
                                    f"grid.n_shard={shards}", ranks=groups * shards)
            for ours, theirs in zip(figures["tasks"], reference["tasks"]):
                self.assertEqual(ours["labelled"], theirs["labelled"])
                for one, other in zip(ours["best"], theirs["best"]):
                    self.assertEqual(one["latent"], other["latent"])
                    for name in ("weight", "bias", "loss", "accuracy"):
                        np.testing.assert_allclose(one[name], other[name], rtol=1e-7)

    def test_several_passes(self):
        """Codes of 16,384 tokens, 16 entries each, do not fit a mebibyte."""
        labels = np.random.default_rng(3).integers(0, 2, (16384, 2))
        path = self.write_labels("many.h5", labels)
        whole, _ = self.probe("--top", 5, data=cli.TRAIN, labels=path)
        parts, _ = self.probe("--top", 5, "--memory", "2^20", data=cli.TRAIN, labels=path)
        self.assertEqual(whole["passes"], 1)
        self.assertGreater(parts["passes"], 1)
        self.assertEqual(whole["tasks"], parts["tasks"])

    def test_many_tasks(self):
        """More than share a word with a token's code, and more than are fitted in one pass."""
        reference, _ = self.probe("--top", 2)
        columns = [i % 5 for i in range(143)]
        path = self.write_labels("tasks.h5", self.labels[:, columns])
        for ranks in (1, 2):
            figures, _ = self.probe("--top", 2, labels=path, ranks=ranks)
            self.assertEqual(figures["passes"], 2)
            for column, task in zip(columns, figures["tasks"]):
                wanted = reference["tasks"][column]
                self.assertEqual((task["labelled"], task["positive"]),
                                 (wanted["labelled"], wanted["positive"]))
                self.assertEqual([one["latent"] for one in task["best"]],
                                 [one["latent"] for one in wanted["best"]])
                for one, other in zip(task["best"], wanted["best"]):
                    self.assertAlmostEqual(one["loss"], other["loss"], delta=1e-12)

    def test_labels_of_all_kinds(self):
        """One task without names, other integers, bool, big-endian, in chunks, by another name."""
        reference, _ = self.probe("--top", 2)
        column = self.labels[:, 0]
        for i, (kind, name) in enumerate((("<i4", "labels"), (">i2", "labels"), ("<i8", "y"))):
            path = self.write_labels(f"kind-{i}.h5", column.astype(kind), name)
            figures, _ = self.probe("--top", 2, "--dataset", name, labels=path)
            self.assertEqual(figures["tasks"][0]["name"], "task 0")
            self.assertEqual(figures["tasks"][0]["best"], reference["tasks"][0]["best"])
        for i, kind in enumerate((bool, np.uint8)):
            path = self.write_labels(f"state-{i}.h5", (column > 0).astype(kind),
                                     task_names="one, with a comma")
            figures, _ = self.probe(labels=path)
            self.assertEqual(figures["tasks"][0]["labelled"], len(column))
            self.assertEqual(figures["tasks"][0]["positive"], (column > 0).sum())
            self.assertEqual(figures["tasks"][0]["name"], "one, with a comma")
        path = self.write_labels("escape.h5", column, task_names="\x1b[31mred")
        figures, done = self.probe(labels=path)
        self.assertNotIn("\x1b", done.stdout)
        self.assertIn(" [31mred", done.stdout)
        self.assertEqual(figures["tasks"][0]["name"], "\x1b[31mred")
        path = os.path.join(self.folder, "chunks.h5")
        with h5py.File(path, "w") as file:
            file.create_dataset("labels", data=self.labels, chunks=(100, 2), compression="gzip")
            file["labels"].attrs["task_names"] = " a,b , c c,d,e"
        figures, _ = self.probe("--top", 2, labels=path)
        self.assertEqual([task["name"] for task in figures["tasks"]], ["a", "b", "c c", "d", "e"])
        self.assertEqual(figures["tasks"][0]["best"], reference["tasks"][0]["best"])

    def test_skipped_rows(self):
        """Rows with NaN count nowhere: as if they had no labels."""
        path = os.path.join(self.folder, "bad.h5")
        with h5py.File(cli.EVAL) as source:
            rows = source["activations"][:600].astype(np.float32)
        rows[77, 3] = np.nan
        rows[400, 0] = np.inf
        with h5py.File(path, "w") as file:
            file["activations"] = rows
        labels = self.write_labels("some.h5", self.labels[:600, 0])
        for ranks in (1, 3):
            figures, done = self.probe("--set", "data.nonfinite=skip", data=path, labels=labels,
                                       ranks=ranks)
            known = np.delete(self.labels[:600, 0], (77, 400)) >= 0
            self.assertEqual(figures["tasks"][0]["labelled"], known.sum())
            self.assertEqual((figures["tokens"], figures["skipped"]), (598, 2))
            self.assertIn("2 rows with NaN or Inf were left out", done.stderr)

    def refuse(self, code, text, *arguments, each=(1,)):
        for ranks in each:
            done = cli.run(["probe", *arguments], ranks)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertEqual(len(cli.errors(done)), 1, done.stderr)
            self.assertIn(text, cli.errors(done)[0])

    def test_refusals(self):
        run = (self.model, "--data", cli.EVAL)

        def with_labels(name, labels, **attributes):
            return (*run, "--labels", self.write_labels(name, labels, **attributes))
        zeros = np.zeros(len(self.f), np.int8)
        mixed = zeros.copy()
        mixed[::2] = 1
        wrong = mixed.copy()
        wrong[1234] = 2
        self.refuse(3, "labels 100 tokens, the activations have 4096",
                    *with_labels("short.h5", mixed[:100]), each=(1, 2))
        self.refuse(3, "is of type float32; labels are integers",
                    *with_labels("float.h5", mixed.astype(np.float32)))
        self.refuse(3, "is of type string; labels are integers",
                    *with_labels("text.h5", np.full(len(self.f), b"yes")))
        self.refuse(3, "has 3 dimensions", *with_labels("deep.h5", np.zeros((4096, 2, 2), np.int8)))
        self.refuse(3, "row 1234 has label 2 for task 0", *with_labels("two.h5", wrong),
                    each=(1, 3))
        self.refuse(3, "task 0: of 4096 labelled tokens 0 have label 1; a probe needs both labels",
                    *with_labels("none.h5", zeros), each=(1, 2))
        self.refuse(3, "all ones: of 4096 labelled tokens 4096 have label 1",
                    *with_labels("all.h5", zeros + 1, task_names="all ones"))
        self.refuse(3, "of 0 labelled tokens 0 have label 1", *with_labels("unknown.h5", zeros - 1))
        self.refuse(3, "task_names of 'labels' has 3 names, there are 2 tasks",
                    *with_labels("names.h5", np.stack([mixed, mixed], 1), task_names="a,b,c"))
        self.refuse(3, "cannot read attribute 'task_names'",
                    *with_labels("number.h5", mixed, task_names=3))
        self.refuse(3, "labels", *run, "--labels", cli.EVAL)
        self.refuse(3, "absent.h5", *run, "--labels", os.path.join(self.folder, "absent.h5"))
        self.refuse(2, "--labels is missing", *run)
        self.refuse(2, "--data is missing", self.model, "--labels", self.file)
        self.refuse(2, "--l2", *run, "--labels", self.file, "--l2", "0")
        self.refuse(2, "--memory", *run, "--labels", self.file, "--memory", "1")
        self.refuse(2, "is a file that this command reads", *run, "--labels", self.file, "--json",
                    self.file)
        self.refuse(4, "no-such", *run, "--labels", self.file, "--json",
                    os.path.join(self.folder, "no-such", "probes.json"))


if __name__ == "__main__":
    unittest.main()
