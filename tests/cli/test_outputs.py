# timeout: 200
"""No verb writes a result over what it reads, over the files that a run cannot go on without or over
an exported folder; other files may be replaced."""
import hashlib
import json
import os
import shutil
import tempfile
import unittest

import h5py
import numpy as np

import cli_model as cli

LOST = "would be lost; name another file"


class Outputs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="orthant-outputs-")
        cls.run_dir = cli.train(cls.folder, "topk", "checkpoint.every=20")
        cls.exported = os.path.join(cls.folder, "exported")
        done = cli.run(["export", cls.run_dir, "--format", "openai", "--out", cls.exported])
        assert done.returncode == 0, done.stderr
        cls.data = os.path.join(cls.folder, "data.h5")
        shutil.copy(cli.EVAL, cls.data)
        cls.labels = os.path.join(cls.folder, "labels.h5")
        with h5py.File(cls.data) as file, h5py.File(cls.labels, "w") as out:
            out["labels"] = np.arange(len(file["activations"])) % 2
        cls.config = os.path.join(cls.folder, "config.yaml")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def digests(self):
        found = {}
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    found[os.path.join(folder, name)] = hashlib.sha256(file.read()).hexdigest()
        return found

    def refuse(self, words, output, ranks=1):
        before = self.digests()
        done = cli.run([*words, output], ranks)
        self.assertEqual(done.returncode, 2, f"{words} {output}: {done.stderr}")
        self.assertEqual(len(cli.errors(done)), 1, done.stderr)
        self.assertIn(f"{words[-1]} {output}: is a file ", cli.errors(done)[0])
        self.assertIn(LOST, cli.errors(done)[0])
        self.assertEqual(self.digests(), before, words)

    def calls(self):
        """Of each verb that writes a file: words that end in the option, and what it reads."""
        run, data = self.run_dir, self.data
        newest = cli.newest(run)
        return [
            (["info", data, "--json"], [data]),
            (["import", self.exported, "--out"], [os.path.join(self.exported, "autoencoder.pt")]),
            (["import", newest, "--out"], [newest]),
            (["spectrum", run, "--json"], [newest]),
            (["spectrum", run, "--data", data, "--json"], [data]),
            (["spectrum", data, "--json"], [data]),
            (["compare", run, newest, "--json"], [newest]),
            (["scaling", run, "--json"], []),
            (["report", run, "--data", data, "--out"], [data, newest]),
            (["report", run, "--data", data, "--json"], [data, newest]),
            (["eval", run, "--data", data, "--json"], [data, newest]),
            (["eval", run, "--data", data, "--latents"], [data]),
            (["encode", run, "--data", data, "--out"], [data]),
            (["probe", run, "--data", data, "--labels", self.labels, "--json"],
             [data, self.labels]),
            (["convert", data, "--out"], [data]),
            (["plan", self.config, "--ranks", "2", "--json"], [self.config]),
            (["synth", "--out"], []),
            (["bench", "--quick", "--json"], [])]

    def test_what_is_read_stays(self):
        for words, reads in self.calls():
            for read in reads:
                with self.subTest(verb=words[0], read=read):
                    self.refuse(words, read)

    def test_what_a_configuration_names_stays(self):
        """`plan` reads no activations, but the job will."""
        config, held_out, weights = (self.path(name) for name in ("job.yaml", "held.h5", "W.h5"))
        for path in (held_out, weights):
            shutil.copy(self.data, path)
        with open(config, "w") as file:
            json.dump({"run": {"dir": self.path("job"), "steps": 2},
                       "data": {"files": [self.path("dat*.h5")], "eval_files": [held_out]},
                       "init": {"scheme": "file", "file": weights}}, file)
        words = ["plan", config, "--ranks", "2", "--json"]
        for ranks, path in ((1, self.data), (1, held_out), (1, weights), (2, self.data)):
            with self.subTest(path=path):
                self.refuse(words, path, ranks)
        self.refuse(["plan", self.config, "--ranks", "2", "--set", "data.files=" + self.data,
                     "init.scheme=file", "init.file=" + self.exported, "--json"],
                    os.path.join(self.exported, "autoencoder.pt"))
        for path in (config, held_out, weights):
            os.remove(path)

    def refuse_plots(self, words, folder, name, ranks=1):
        before = self.digests()
        done = cli.run(["report", self.run_dir, "--skip-eps", "--skip-spectra", *words, "--out",
                        self.path("page.html"), "--plots", folder], ranks)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(len(cli.errors(done)), 1, done.stderr)
        self.assertIn(f"--plots {os.path.join(folder, name)}: is ", cli.errors(done)[0])
        style = os.path.join(folder, "style.gp")
        if os.path.exists(style):
            os.remove(style)
        self.assertEqual(self.digests(), before)

    def test_plots(self):
        """In --plots DIR a file of a plot's name is not what is read: named, or a run's own."""
        folder = self.path("plots")
        os.mkdir(folder)
        os.link(self.data, os.path.join(folder, "elbo.dat"))
        self.refuse_plots(["--data", self.data], folder, "elbo.dat", 2)
        self.refuse_plots(["--data", self.path("dat*.h5")], folder, "elbo.dat")
        self.refuse_plots(["--set", "data.eval_files=" + self.data], folder, "elbo.dat", 2)
        os.remove(os.path.join(folder, "elbo.dat"))
        os.symlink(os.path.join(self.run_dir, "metrics.jsonl"), os.path.join(folder, "pca.gp"))
        self.refuse_plots(["--data", self.data], folder, "pca.gp")
        os.remove(os.path.join(folder, "pca.gp"))
        with open(os.path.join(folder, "frame.svg"), "w"):
            pass
        self.refuse_plots(["--data", self.data, "--json", os.path.join(folder, "frame.svg")],
                          folder, "frame.svg")
        shutil.rmtree(folder)

    def test_what_a_run_needs_stays(self):
        first = os.path.join(self.run_dir, "checkpoints",
                             sorted(os.listdir(os.path.join(self.run_dir, "checkpoints")))[0])
        needed = [first] + [os.path.join(self.run_dir, name)
                            for name in ("config.yaml", "metrics.jsonl", "orthant.log")]
        self.assertNotEqual(first, cli.newest(self.run_dir))
        for i, (words, _) in enumerate(self.calls()):
            with self.subTest(verb=words[0]):
                self.refuse(words, needed[i % len(needed)])
        for name in ("lock", "restarts.json"):
            file = os.path.join(self.run_dir, name)
            kept = os.path.exists(file)
            with open(file, "a"):
                pass
            self.refuse(["spectrum", self.run_dir, "--json"], file)
            if not kept:
                os.remove(file)

    def test_an_exported_folder_stays(self):
        for name in os.listdir(self.exported):
            self.refuse(["spectrum", self.exported, "--json"], os.path.join(self.exported, name))
        self.refuse(["spectrum", os.path.join(self.exported, "autoencoder.pt"), "--json"],
                    os.path.join(self.exported, "orthant.json"))

    def test_other_names_of_a_file(self):
        link, hard = self.path("link.json"), self.path("hard.h5")
        os.symlink(os.path.join(self.run_dir, "config.yaml"), link)
        os.link(self.data, hard)
        self.refuse(["spectrum", self.run_dir, "--json"], link)
        self.refuse(["info", self.data, "--json"], hard)
        self.refuse(["eval", self.run_dir, "--data", self.path("dat*.h5"), "--json"], hard)
        os.remove(link)
        os.remove(hard)

    def test_on_several_ranks(self):
        self.refuse(["info", self.data, "--json"], self.data, 3)
        self.refuse(["scaling", self.run_dir, "--json"],
                    os.path.join(self.run_dir, "metrics.jsonl"), 3)

    def test_results_are_replaced(self):
        """In a run directory, and beside activations, a configuration and an exported folder."""
        for words, result in ((["spectrum", self.run_dir], os.path.join(self.run_dir, "s.json")),
                              (["info", self.data], self.path("result.json")),
                              (["info", self.exported], self.path("config.json"))):
            for _ in range(2):
                done = cli.run([*words, "--json", result])
                self.assertEqual(done.returncode, 0, done.stderr)
            os.remove(result)


if __name__ == "__main__":
    unittest.main()
