# timeout: 600
"""`orthant report`: its figures are those of eval, its page stands alone and is harmless whatever the
vocabulary holds, and runs that are broken, young or without data are told apart."""
import html.parser
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import h5py
import numpy as np

import cli_model as cli

STEPS_LOGGED = cli.STEPS // 2
HOSTILE = ["</script><script>alert(1)</script>", "<!--<script>", '"quote\\', "'", "&amp;<b>",
           "\u202eright to left", "a\nb\tc", "Ünïcödé 词", "`touch /tmp/x`"]


class Parser(html.parser.HTMLParser):
    """The elements of a page, its scripts by id, and the attributes that name other files."""

    VOID = {"meta", "input", "br", "link", "img", "hr"}

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.references, self.headings, self.ids = [], {}, [], [], []
        self.scripts, self.policy, self.lang = 0, "", None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in self.VOID:
            self.open.append((tag, attributes.get("id")))
        self.references += [attributes[name] for name in ("src", "href", "action")
                            if name in attributes]
        self.scripts += tag == "script"
        if attributes.get("http-equiv") == "Content-Security-Policy":
            self.policy = attributes["content"]
        if "id" in attributes:
            self.ids.append(attributes["id"])
        self.lang = self.lang or attributes.get("lang")

    def handle_endtag(self, tag):
        assert self.open and self.open[-1][0] == tag, (tag, self.open[-3:], self.getpos())
        self.open.pop()

    def handle_data(self, data):
        if self.open:
            self.texts[self.open[-1]] = self.texts.get(self.open[-1], "") + data


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class Report(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="orthant-report-")
        cls.runs = [cli.train(cls.folder, "topk", "log.every=2"),
                    cli.train(cls.folder, "topafa", "afa.coefficient=1/24", "log.every=2")]
        cls.data = os.path.join(cls.folder, "hostile.h5")
        with h5py.File(cli.EVAL) as source, h5py.File(cls.data, "w") as out:
            out["activations"] = source["activations"][:1000]
            out["tokens"] = np.arange(1000, dtype="i4") % 40
            out["documents"] = np.array([0, 300, 301], dtype="i8")
            words = [f"word{i}".encode() for i in range(40)]
            words[:len(HOSTILE)] = [word.encode() for word in HOSTILE]
            words[20:22] = [b"\xff\xfe bad", b"\xed\xa0\x80"]
            out.create_dataset("vocab", data=np.array(words, dtype=object),
                               dtype=h5py.string_dtype())
            out.attrs["model"], out.attrs["layer"] = "<i>model</i>", 4

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def report(self, *arguments, ranks=1, **options):
        """The document and the text of the page."""
        page, data = self.path("page.html"), self.path("page.json")
        done = cli.run(["report", *arguments, "--out", page, "--json", data], ranks, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([name for name in os.listdir(self.folder) if "partial" in name], [])
        return json.loads(read(data)), read(page)

    def check_failure(self, code, words, *arguments, **options):
        """One line, this exit code, and no page."""
        page = self.path("none.html")
        done = cli.run(["report", *arguments, "--out", page], **options)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(len(cli.errors(done)), 1, done.stderr)
        for word in words:
            self.assertIn(word, cli.errors(done)[0])
        self.assertEqual([name for name in os.listdir(self.folder) if name.startswith("none")], [])

    def check_page(self, text, document):
        page = Parser(text)
        self.assertEqual(page.open, [])
        self.assertEqual(page.lang, "en")
        self.assertEqual(json.loads(page.texts["script", "data"]), document)
        self.assertTrue(all(one.startswith("#") for one in page.references), page.references)
        self.assertEqual(len(page.ids), len(set(page.ids)))
        self.assertIn("default-src 'none'", page.policy)
        self.assertNotRegex(text, r"\{\{[a-z.]+\}\}")
        # Addresses there are none but in the notices of licences, which are comments.
        for address in re.finditer(r"https?://", text):
            line = text[text.rfind("\n", 0, address.start()) + 1:address.start()]
            self.assertTrue(line.startswith(" * ") or "orthant" in line, line[:100])
        return page

    def test_figures(self):
        document, text = self.report(*self.runs, "--data", cli.EVAL)
        self.check_page(text, document)
        self.assertEqual([model["name"] for model in document["models"]], ["topk", "topafa"])
        for run, model in zip(self.runs, document["models"]):
            own = self.path("eval.json")
            done = cli.run(["eval", run, "--data", cli.EVAL, "--json", own])
            self.assertEqual(done.returncode, 0, done.stderr)
            figures, found = json.loads(read(own)), model["evaluation"]
            for figure in ("model", "selection", "seconds"):
                figures.pop(figure)
            found.pop("seconds")
            points = len(figures["zf"]["z"])
            self.assertEqual(found["zf"].pop("points"), points)
            for axis in "zf":
                figures["zf"][axis] = [figures["zf"][axis][i * points // 4000] for i in range(4000)]
            self.assertEqual(found, figures)
            self.check_training(run, model)
            self.check_latents(model)
            self.check_spectra(run, model)
        self.assertLess(len(text), 10e6)

    def check_training(self, run, model):
        lines = [json.loads(line) for line in read(os.path.join(run, "metrics.jsonl")).splitlines()]
        for series in ("loss", "mse", "fvu", "l0", "n_dead", "grad_norm", "lr", "tokens_per_s"):
            curve = model["training"]["curves"][series]
            self.assertEqual(curve["step"], [line["step"] for line in lines])
            self.assertEqual(curve["value"], [line[series] for line in lines])
        self.assertEqual(model["training"]["phases"], lines[-1]["phase"])
        self.assertEqual(dict(model["config"])["model.n_latent"], str(cli.LATENTS))
        self.assertEqual(model["checkpoint"]["step"], cli.STEPS)
        self.assertTrue(any("done: 40 steps" in line for line in model["history"]))
        self.assertFalse(any(line.startswith("step ") for line in model["history"]))

    def check_latents(self, model):
        """Against the codes in numpy, where ties and near-ties leave no doubt."""
        selection = dict(model["config"])["model.selection"]
        run = self.runs[0] if selection == "topk" else self.runs[1]
        f = cli.codes(run, selection, 4096, cli.tokens())
        found = model["latents"]
        self.assertEqual(found["latent"], list(range(cli.LATENTS)))
        self.assertEqual(found["dead"], model["evaluation"]["dead"])
        np.testing.assert_allclose(found["count"], (f > 0).sum(0), atol=40)
        np.testing.assert_allclose(found["max"], f.max(0), rtol=1e-3, atol=1e-4)
        for latent, flat in enumerate(found["examples"]):
            rows, values = flat[::2], flat[1::2]
            self.assertEqual(values, sorted(values, reverse=True))
            np.testing.assert_allclose(values, f[rows, latent], rtol=1e-3, atol=1e-3)
        W_dec = cli.weights(run)[1]
        unit = W_dec / np.linalg.norm(W_dec, axis=1, keepdims=True)
        for latent, flat in enumerate(found["nearest"]):
            np.testing.assert_allclose(unit[flat[::2]] @ unit[latent], flat[1::2], atol=1e-5)

    def check_spectra(self, run, model):
        W_dec, x = cli.weights(run)[1], cli.tokens()
        frame = np.linalg.eigvalsh(W_dec.T @ W_dec)[::-1]
        np.testing.assert_allclose(model["frame"]["eigenvalues"], frame, rtol=1e-6, atol=1e-6)
        pca = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
        np.testing.assert_allclose(model["pca"]["covariance"]["eigenvalues"], pca, rtol=1e-4,
                                   atol=1e-6)
        self.assertEqual(model["pca"]["fvu"][0], 1)
        self.assertAlmostEqual(model["pca"]["fvu"][32], 1 - pca[:32].sum() / pca.sum(), places=5)

    def test_ranks(self):
        """Three ranks say what one says."""
        one, _ = self.report(*self.runs, "--data", self.data)
        three, text = self.report(*self.runs, "--data", self.data, ranks=3)
        self.check_page(text, three)
        self.assertEqual(one["tables"], three["tables"])
        self.assertEqual(one["strings"], three["strings"])
        for a, b in zip(one["models"], three["models"]):
            self.assertEqual(a["latents"], b["latents"])
            self.assertEqual(a["training"], b["training"])
            for figure in ("mse", "fvu", "cosine"):
                self.assertAlmostEqual(a["evaluation"][figure], b["evaluation"][figure], places=7)

    def test_hostile_text(self):
        document, text = self.report(*self.runs, "--data", self.data, "--context", "3")
        page = self.check_page(text, document)
        self.assertEqual(page.scripts, len(re.findall("<script", text)))
        strings = document["strings"]
        for word in HOSTILE[:-1]:
            self.assertIn(word, strings)
        self.assertIn("\ufffd\ufffd bad", strings)
        table, = document["tables"]
        self.assertEqual(table["attributes"], {"model": "<i>model</i>", "layer": 4})
        # Contexts end where documents do, and what a row is called is what the file says.
        words = [strings[i] for segment in table["segments"] for i in segment["tokens"]]
        rows = [segment["row"] + i for segment in table["segments"]
                for i in range(len(segment["tokens"]))]
        self.assertEqual(rows, sorted(set(rows)))
        vocabulary = ["\ufffd\ufffd bad" if i == 20 else "\ufffd" * 3 if i == 21 else
                      HOSTILE[i] if i < len(HOSTILE) else f"word{i}" for i in range(40)]
        self.assertEqual(words, [vocabulary[row % 40] for row in rows])
        for segment in table["segments"]:
            for border in (300, 301):
                self.assertFalse(segment["row"] < border < segment["row"] + len(segment["tokens"]))
        for model in document["models"]:
            for flat in model["latents"]["examples"]:
                self.assertLessEqual(set(flat[::2]), set(rows))

    def test_fewer_latents(self):
        document, _ = self.report(self.runs[0], "--data", self.data, "--latents", "7",
                                  "--examples", "2", "--skip-eps", "--skip-spectra")
        model, = document["models"]
        whole, _ = self.report(self.runs[0], "--data", self.data)
        counts = sorted(whole["models"][0]["latents"]["count"], reverse=True)
        self.assertEqual(sorted(model["latents"]["count"], reverse=True), counts[:7])
        self.assertEqual(model["latents"]["n_latent"], cli.LATENTS)
        self.assertTrue(all(len(flat) <= 4 for flat in model["latents"]["examples"]))
        self.assertEqual(model["latents"]["nearest"], [[]] * 7)
        self.assertNotIn("frame", model)
        self.assertNotIn("eps", model["evaluation"])
        none, _ = self.report(self.runs[0], "--data", self.data, "--latents", "0")
        self.assertNotIn("latents", none["models"][0])
        self.assertEqual(none["tables"][0]["segments"], [])

    def test_long_curves(self):
        """At most 2,000 points, the ends and the extremes among them."""
        run = self.path("long")
        shutil.copytree(self.runs[0], run)
        random = np.random.default_rng(5)
        loss = random.exponential(size=30011)
        line = json.loads(read(os.path.join(run, "metrics.jsonl")).splitlines()[0])
        with open(os.path.join(run, "metrics.jsonl"), "w") as file:
            for i, value in enumerate(loss):
                # Four starts: the clocks begin again.
                line.update(step=i + 1, tokens=256 * (i + 1), loss=None if i == 7 else value,
                            time=i % 10000, phase={"encode": float(i % 10000)})
                file.write(json.dumps(line) + "\n")
            file.write('{"step": 30011, "eval": {"mse": 1}}\n'
                       '{"step": 9, "rollback": {"number": 1, "what": "NaN"}}\n{"torn')
        document, _ = self.report(run, "--data", self.data, "--latents", "0", "--skip-eps",
                                  "--skip-spectra")
        training = document["models"][0]["training"]
        curve = training["curves"]["loss"]
        self.assertLessEqual(len(curve["step"]), 2000)
        self.assertGreater(len(curve["step"]), 1900)
        self.assertEqual(curve["step"], sorted(curve["step"]))
        self.assertEqual(curve["value"], [loss[step - 1] for step in curve["step"]])
        self.assertIn(1, curve["step"])
        self.assertIn(30011, curve["step"])
        for extreme in (loss[8:].argmax() + 8, loss[8:].argmin() + 8):
            self.assertIn(extreme + 1, curve["step"])
        self.assertEqual((training["logged_steps"], training["starts"]), (30011, 4))
        self.assertEqual(training["phases"]["encode"], 3 * 9999 + 10)
        self.assertEqual(training["evaluations"], [{"mse": 1, "step": 30011}])
        self.assertEqual(training["rollbacks"], [{"number": 1, "what": "NaN", "step": 9}])
        self.assertEqual(training["damaged_lines"], 0)
        shutil.rmtree(run)

    def test_young_and_homeless(self):
        """A run without a checkpoint has curves; one whose data are gone has what it measured."""
        young, homeless = self.path("young"), self.path("homeless")
        shutil.copytree(self.runs[0], young)
        shutil.rmtree(os.path.join(young, "checkpoints"))
        shutil.copytree(self.runs[0], homeless)
        evaluation = {"mse": 0.5, "l0": {"mean": 3}}
        with open(os.path.join(homeless, "eval", f"step-{cli.STEPS:09}.json"), "w") as file:
            json.dump(evaluation, file)
        document, text = self.report(young, homeless)
        self.check_page(text, document)
        a, b = document["models"]
        self.assertIn("no checkpoint yet", a["not_evaluated"])
        self.assertNotIn("evaluation", a)
        self.assertIn("training", a)
        self.assertIn("--data", b["not_evaluated"])
        self.assertEqual(b["evaluation"], evaluation)
        gone, _ = self.report(homeless, "--set", "data.eval_files=" + self.path("gone.h5"))
        self.assertIn("gone.h5", gone["models"][0]["not_evaluated"])
        for run in (young, homeless):
            shutil.rmtree(run)

    def test_checkpoint_alone(self):
        """A checkpoint is a model as well, and needs no run."""
        path = os.path.join(self.runs[0], "checkpoints", f"step-{cli.STEPS:09}.h5")
        document, _ = self.report(path, "--data", self.data, "--latents", "0")
        model, = document["models"]
        self.assertEqual(dict(model["config"])["model.selection"], "topk")
        self.assertNotIn("training", model)
        self.assertEqual(model["evaluation"]["tokens"], 1000)

    def test_names(self):
        """As many last parts of the paths as tell every model from every other one."""
        runs = []
        for name in ("a/x/k=8", "b/x/k=8", "b/y/k=8", "b/y/other", "b/y/k=8/"):
            runs.append(self.path("names", name))
            os.makedirs(os.path.dirname(runs[-1].rstrip("/")), exist_ok=True)
            if not os.path.exists(runs[-1]):
                os.symlink(self.runs[0], runs[-1])
        plots = self.path("names", "plots")
        document, _ = self.report(*runs, "--data", self.data, "--latents", "0", "--skip-eps",
                                  "--skip-spectra", "--plots", plots)
        names = ["a/x/k=8", "b/x/k=8", self.path("names", "b/y/k=8"), "other",
                 self.path("names", "b/y/k=8") + " (2)"]
        self.assertEqual([model["name"] for model in document["models"]], names)
        script = read(os.path.join(plots, "l0_mse.gp"))
        self.assertEqual(re.findall(r"title '(.*?)'", script), names)
        shutil.rmtree(self.path("names"))

    def test_folder_of_another_tool(self):
        folder = self.path("exported")
        done = cli.run(["export", self.runs[0], "--format", "saelens", "--out", folder])
        self.assertEqual(done.returncode, 0, done.stderr)
        document, text = self.report(self.runs[0], folder, "--data", self.data)
        self.check_page(text, document)
        own, other = document["models"]
        self.assertEqual(own["latents"], other["latents"])
        self.assertEqual(dict(other["config"])["model.k"], str(cli.K))
        self.assertNotIn("train.lr", dict(other["config"]))
        self.assertNotIn("step", other["checkpoint"])
        self.assertIsNone(other["evaluation"]["step"])
        imported = self.path("imported.h5")
        done = cli.run(["import", folder, "--out", imported])
        self.assertEqual(done.returncode, 0, done.stderr)
        document, _ = self.report(imported, "--data", self.data, "--skip-eps", "--skip-spectra")
        self.assertNotIn("step", document["models"][0]["checkpoint"])
        self.assertNotIn("tokens_seen", document["models"][0]["checkpoint"])
        self.assertIsNone(document["models"][0]["evaluation"]["step"])
        os.remove(imported)
        shutil.rmtree(folder)

    def test_broken_runs(self):
        broken = self.path("broken")
        shutil.copytree(self.runs[0], broken)
        checkpoint = os.path.join(broken, "checkpoints", f"step-{cli.STEPS:09}.h5")
        with open(checkpoint, "r+b") as file:
            file.truncate(5000)
        self.check_failure(5, ["broken"], self.runs[0], broken, "--data", self.data)
        self.check_failure(5, ["broken"], self.runs[0], broken, "--data", self.data, ranks=3)
        shutil.copy(os.path.join(self.runs[0], "checkpoints", os.path.basename(checkpoint)),
                    checkpoint)
        with open(os.path.join(broken, "metrics.jsonl"), "w") as file:
            file.write("no metrics\n" * 3)
        self.check_failure(3, ["metrics.jsonl", "3 lines"], broken, "--data", self.data)
        os.remove(os.path.join(broken, "metrics.jsonl"))
        with open(os.path.join(broken, "config.yaml"), "a") as file:
            file.write("modle: {k: 3}\n")
        self.check_failure(2, ["config.yaml", "modle"], broken, "--data", self.data)
        self.check_failure(2, ["nowhere"], self.runs[0], self.path("nowhere"), "--data", self.data)
        self.check_failure(3, ["gone.h5"], self.runs[0], "--data", self.path("gone.h5"))
        shutil.rmtree(broken)

    def test_outputs(self):
        """What cannot be written is refused before the work; what was read is not overwritten."""
        done = cli.run(["report", self.runs[0], "--data", self.data, "--out",
                        self.path("nowhere", "page.html")])
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertIn("nowhere", cli.errors(done)[0])
        with open(self.data, "rb") as file:
            bytes_before = file.read()
        done = cli.run(["report", self.runs[0], "--data", self.data, "--out", self.data])
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("would be lost", cli.errors(done)[0])
        self.check_failure(2, ["another file"], self.runs[0], "--json", self.path("none.html"))
        with open(self.data, "rb") as file:
            self.assertEqual(file.read(), bytes_before)

    @unittest.skipUnless(shutil.which("gnuplot"), "gnuplot is in the set `run` of packages.sh")
    def test_plots(self):
        plots = self.path("plots")
        self.report(*self.runs, "--data", self.data, "--latents", "0", "--plots", plots)
        names = {"training_loss", "training_fvu", "training_l0", "training_n_dead", "l0_mse", "elbo",
                 "elbo_histogram", "l0_histogram", "frequency", "frame", "covariance", "pca", "zf_1",
                 "zf_2"}
        files = set(os.listdir(plots))
        for name in names:
            self.assertLessEqual({f"{name}.{kind}" for kind in ("gp", "dat", "svg", "png")}, files)
            self.assertIn("</svg>", read(os.path.join(plots, name + ".svg")))
            with open(os.path.join(plots, name + ".png"), "rb") as file:
                self.assertEqual(file.read(8), b"\x89PNG\r\n\x1a\n")
        # The scripts do it again by themselves, with a style that was changed.
        with open(os.path.join(plots, "style.gp"), "a") as file:
            file.write("svg = \"svg size 100,90\"\n")
        os.remove(os.path.join(plots, "zf_1.svg"))
        subprocess.run(["gnuplot", "zf_1.gp"], cwd=plots, check=True, capture_output=True)
        self.assertIn('width="100"', read(os.path.join(plots, "zf_1.svg")))

    @unittest.skipUnless(shutil.which("gnuplot"), "gnuplot is in the set `run` of packages.sh")
    def test_many_plots(self):
        """Each of many models is in the key, with a style of its own; nothing is said of it."""
        plots, still = self.path("many"), self.path("still")
        shutil.copytree(self.runs[0], still)
        path = os.path.join(still, "metrics.jsonl")
        lines = [dict(json.loads(line), n_dead=0) for line in read(path).splitlines()]
        with open(path, "w") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        runs = [self.path(f"{i:02}-a-model-with-a-rather-long-name") for i in range(12)]
        runs[5] = self.path("05-" + "é" * 50 + "-longer-than-a-line-of-the-key")
        for i, run in enumerate(runs):
            os.symlink(self.runs[1] if i in (1, 9) else still, run)
        for some in (runs, [still]):
            done = cli.run(["report", *some, "--data", self.data, "--latents", "0", "--skip-eps",
                            "--skip-spectra", "--out", self.path("page.html"), "--plots", plots])
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertNotIn("arning", done.stderr)
            if some == runs:
                for name in ("l0_mse", "elbo", "training_loss"):
                    script = read(os.path.join(plots, name + ".gp"))
                    drawn = read(os.path.join(plots, name + ".svg"))
                    styles = re.findall(r" ls (\d+)", script)
                    self.assertEqual(len(set(styles)), len(runs))
                    for style in styles:
                        self.assertIn(f"set style line {style} ", read(os.path.join(plots, "style.gp")))
                    for run in runs:
                        run = os.path.basename(run)
                        self.assertIn(run if run != os.path.basename(runs[5]) else
                                      "05-" + "é" * 27 + "…longer-than-a-line-of-the-key", drawn)
                signs = re.findall(r" pt (\d+)", read(os.path.join(plots, "l0_mse.gp")))
                self.assertEqual(signs, ["7", "13", *["7"] * 6, "6", "12", "6", "6"])
        for run in runs:
            os.remove(run)
        shutil.rmtree(still)

    def test_failing_gnuplot(self):
        """What gnuplot says is shown when it fails, and what was written is told."""
        folder, page = self.path("failing"), self.path("page.html")
        os.mkdir(folder)
        with open(os.path.join(folder, "gnuplot"), "w") as file:
            file.write("#!/bin/sh\necho no such terminal >&2\nexit 1\n")
        os.chmod(os.path.join(folder, "gnuplot"), 0o755)
        done = cli.run(["report", self.runs[0], "--data", self.data, "--latents", "0", "--out",
                        page, "--plots", self.path("failing", "plots")],
                       environment={"PATH": folder + ":/usr/bin:/bin"})
        self.assertEqual(done.returncode, 7, done.stderr)
        self.assertIn("no such terminal", done.stderr)
        self.assertIn(f"the page {page} was written", cli.errors(done)[0])

    def test_no_gnuplot(self):
        plots, empty = self.path("scripts"), self.path("empty")
        os.mkdir(empty)
        done = cli.run(["report", self.runs[0], "--data", self.data, "--latents", "0",
                        "--out", self.path("page.html"), "--plots", plots],
                       environment={"PATH": empty})
        self.assertEqual(done.returncode, 7, done.stderr)
        self.assertIn("gnuplot-nox", cli.errors(done)[0])
        self.assertIn("page.html was written", cli.errors(done)[0])
        self.assertIn("l0_mse.gp", os.listdir(plots))
        self.assertIn("l0_mse.dat", os.listdir(plots))

    def test_gaps(self):
        """Values that are missing shift no curve into another one's place."""
        plots, runs = self.path("gaps"), [self.path("gap"), self.path("without"), self.runs[1]]
        for run, some in ((runs[0], range(2, 6)), (runs[1], range(STEPS_LOGGED))):
            shutil.copytree(self.runs[0], run)
            path = os.path.join(run, "metrics.jsonl")
            lines = [json.loads(line) for line in read(path).splitlines()]
            self.assertEqual(len(lines), STEPS_LOGGED)
            with open(path, "w") as file:
                for i, line in enumerate(lines):
                    file.write(json.dumps(dict(line, fvu=None) if i in some else line) + "\n")
        cli.run(["report", *runs, "--data", self.data, "--latents", "0", "--skip-eps",
                 "--skip-spectra", "--out", self.path("page.html"), "--plots", plots],
                environment={"PATH": plots})
        blocks = read(os.path.join(plots, "training_fvu.dat")).split("\n\n\n")
        script = read(os.path.join(plots, "training_fvu.gp"))
        self.assertEqual(re.findall(r"index (\d) using", script), ["0", "1"])
        self.assertEqual([len(block.split()) // 2 for block in blocks],
                         [STEPS_LOGGED - 4, STEPS_LOGGED])
        last = json.loads(read(os.path.join(self.runs[1], "metrics.jsonl")).splitlines()[-1])
        step, value = blocks[1].split()[-2:]
        self.assertEqual((int(step), float(value)), (last["step"], float(f"{last['fvu']:.9g}")))
        for run in runs[:2]:
            shutil.rmtree(run)


if __name__ == "__main__":
    unittest.main()
