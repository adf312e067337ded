# timeout: 300
"""`orthant export` and `orthant import`, and folders of other tools in place of a model: round trips
on several grids, numpy's own results for folders that numpy wrote, and what is refused."""
import json
import os
import shutil
import tempfile
import unittest
import zipfile

import h5py
import numpy as np

import cli_model as cli
import folders

ROWS = 700


def read_codes(path, n):
    with h5py.File(path) as file:
        start, latent, value = (file[name][:] for name in ("indptr", "latent", "value"))
    f = np.zeros((len(start) - 1, n), "f4")
    f[np.repeat(np.arange(len(f)), np.diff(start)), latent] = value
    return f


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="orthant-folders-")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def orthant(self, *arguments, ranks=1, grid=None):
        if grid:
            arguments += ("--set", f"grid.n_group={grid[0]}", f"grid.n_shard={grid[1]}")
            ranks = grid[0] * grid[1]
        done = cli.run(arguments, ranks)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def refuse(self, code, words, *arguments, ranks=(1, 3)):
        for count in ranks:
            done = cli.run(arguments, count)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertEqual(len(cli.errors(done)), 1, done.stderr)
            for word in words:
                self.assertIn(word, cli.errors(done)[0])

    def encode(self, model, n, data=None, **options):
        path = self.path("codes.h5")
        self.orthant("encode", model, "--data", data or self.data, "--out", path, "--batch", 500, "--quiet",
                     **options)
        return read_codes(path, n)

    def evaluate(self, model, data=None, **options):
        path = self.path("eval.json")
        self.orthant("eval", model, "--data", data or self.data, "--json", path, "--skip-eps", "--batch", 500,
                     "--quiet", **options)
        with open(path) as file:
            return json.load(file)


class RoundTrips(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        ema = "train.ema=0.9"
        with h5py.File(cli.EVAL) as file:
            cls.x = file["activations"][:ROWS].astype("f4")
        cls.data = os.path.join(cls.folder, "eval.h5")
        with h5py.File(cls.data, "w") as file:
            file["activations"] = cls.x
        cls.runs = {
            "topk": cli.train(cls.folder, "topk", "input.norm=none", ema),
            "batchtopk": cli.train(cls.folder, "batchtopk", "input.norm=none")}
        os.mkdir(os.path.join(cls.folder, "more"))
        more = os.path.join(cls.folder, "more")
        cls.runs["layernorm"] = cli.train(more, "topk", ema)
        cls.runs["topafa"] = cli.train(more, "topafa", "init.scheme=gao", "afa.coefficient=1/24")
        os.mkdir(os.path.join(cls.folder, "scaled"))
        cls.runs["scaled"] = cli.train(os.path.join(cls.folder, "scaled"), "topk",
                                       "input.norm=scale")

    def export(self, run, tool, *options, ranks=1):
        folder = self.path(f"{run}-{tool}-{ranks}{len(options)}")
        if not os.path.exists(folder):
            self.orthant("export", self.runs[run], "--format", tool, "--out", folder, *options,
                         ranks=ranks)
        self.assertFalse(os.path.exists(folder + ".partial"))
        return folder

    def check_same_bytes(self, a, b):
        self.assertEqual(sorted(os.listdir(a)), sorted(os.listdir(b)))
        for name in os.listdir(a):
            with open(os.path.join(a, name), "rb") as one, open(os.path.join(b, name), "rb") as two:
                if name.endswith(".json"):  # the last bits of figures depend on the grid
                    one, two = json.load(one), json.load(two)
                    self.assertEqual(sorted(one), sorted(two))
                else:
                    self.assertEqual(one.read(), two.read(), f"{a}: {name}")

    def check_figures(self, a, b, relative):
        for name in ("mse", "fvu", "cosine"):
            self.assertAlmostEqual(a[name], b[name], delta=relative * abs(a[name]), msg=name)
        self.assertAlmostEqual(a["l0"]["mean"], b["l0"]["mean"], delta=relative * a["l0"]["mean"])

    def check_exact(self, run, tool):
        """What needs no folding comes back bit for bit, through the folder and the checkpoint."""
        wanted = self.encode(self.runs[run], cli.LATENTS)
        folder = self.export(run, tool)
        self.check_same_bytes(folder, self.export(run, tool, ranks=3))
        imported = self.path("imported.h5")
        self.orthant("import", folder, "--out", imported, ranks=3)
        for model, grid in ((folder, (1, 3)), (folder, (1, 1)), (imported, (3, 1))):
            found = self.encode(model, cli.LATENTS, grid=grid)
            self.assertEqual(found.tobytes(), wanted.tobytes(), f"{model} {grid}")
        self.check_figures(self.evaluate(folder), self.evaluate(self.runs[run]), 1e-12)
        self.orthant("info", imported, "--verify")

    def test_saelens(self):
        self.check_exact("layernorm", "saelens")

    def test_sparsify(self):
        self.check_exact("topk", "sparsify")

    def test_dictionary_learning(self):
        self.check_exact("topk", "dictionary_learning")

    def test_openai(self):
        self.check_exact("layernorm", "openai")

    def test_last_active(self):
        """OpenAI's stats_last_nonzero counts batches, the one in which a latent fired included."""
        def told(run, folder, **options):
            self.orthant("export", run, "--format", "openai", "--out", folder, **options)
            with zipfile.ZipFile(os.path.join(folder, "autoencoder.pt")) as file:
                return np.frombuffer(file.read("archive/data/2"), "<i8")

        os.mkdir(self.path("tokens"))
        tokens = cli.train(self.path("tokens"), "topk", "dead.variant=tokens")
        for run, first, ranks in ((tokens, 0, 1), (self.runs["layernorm"], 1, 3)):
            with h5py.File(cli.newest(run)) as file:
                counts = file["state/steps_since_fired"][:]
            self.assertGreater(len(set(counts)), 2)
            self.assertEqual(counts.min() + first, 1)
            found = told(run, self.path(f"counts{first}"), ranks=ranks)
            self.assertEqual((counts + first).tolist(), found.tolist())
        bare = self.path("counts.h5")
        self.orthant("import", self.path("counts0"), "--out", bare)
        self.assertFalse(told(bare, self.path("uncounted")).any())

    def test_scale_is_folded(self):
        figures = self.evaluate(self.runs["scaled"])
        for tool in ("saelens", "sparsify"):
            found = self.evaluate(self.export("scaled", tool))
            self.assertAlmostEqual(found["fvu"], figures["fvu"], delta=1e-6)
            self.assertEqual(found["l0"], figures["l0"])
        codes = self.encode(self.runs["scaled"], cli.LATENTS)
        np.testing.assert_allclose(self.encode(self.path("scaled-sparsify-10"), cli.LATENTS), codes,
                                   rtol=1e-4, atol=1e-5)

    def test_average(self):
        folder = self.export("topk", "sparsify", "--ema")
        found = self.path("average.h5")
        self.orthant("import", folder, "--out", found, ranks=2)
        checkpoints = os.path.join(self.runs["topk"], "checkpoints")
        with h5py.File(os.path.join(checkpoints, sorted(os.listdir(checkpoints))[-1])) as file, \
                h5py.File(found) as average:
            for name in ("W_enc", "W_dec", "b_enc", "b_dec"):
                wanted = file["ema/" + name][:].astype(float) / (1 - 0.9 ** cli.STEPS)
                np.testing.assert_allclose(average["model/" + name][:], wanted, rtol=1e-6)
        self.refuse(2, ["--ema", "no averaged weights"], "export", self.runs["batchtopk"],
                    "--format", "saelens", "--out", self.path("x"), "--ema")

    def calibrated(self, run, tool):
        folder = self.export(run, tool, "--data", self.data, "--batch", "500")
        self.check_same_bytes(folder, self.export(run, tool, "--data", self.data, "--batch", "500",
                                                  ranks=3))
        with open(os.path.join(folder, "orthant.json")) as file:
            about = json.load(file)["calibration"]
        self.assertEqual(about["tokens"], ROWS)
        exact, told = self.evaluate(self.runs[run]), self.evaluate(folder)
        for name, figures in (("exact", exact), ("exported", told)):
            self.assertAlmostEqual(about[name]["mse"], figures["mse"], delta=1e-9 * figures["mse"])
            self.assertAlmostEqual(about[name]["l0"], figures["l0"]["mean"], delta=1e-9)
        return folder

    def test_topafa_as_jumprelu(self):
        """Each latent fires exactly as often as by top-AFA on the data."""
        folder = self.calibrated("topafa", "saelens")
        exact = self.encode(self.runs["topafa"], cli.LATENTS)
        found = self.encode(folder, cli.LATENTS)
        np.testing.assert_array_equal((exact > 0).sum(0), (found > 0).sum(0))
        self.assertGreater((exact > 0).sum(), ROWS)
        self.assertTrue(((exact > 0) != (found > 0)).any())  # or nothing was calibrated
        header, data = folders.read_safetensors(os.path.join(folder, "sparsity.safetensors"))
        self.assertEqual(list(header), ["sparsity"])
        np.testing.assert_allclose(data["sparsity"], np.log10((exact > 0).mean(0) + 1e-10),
                                   atol=1e-6)

    def test_thresholds_are_judged_elsewhere(self):
        """--judge: thresholds of the data, figures of other tokens; told and recorded."""
        other = self.path("judge.h5")
        with h5py.File(cli.EVAL) as file, h5py.File(other, "w") as out:
            out["activations"] = file["activations"][ROWS:2 * ROWS]
        model = ("export", self.runs["topafa"], "--format", "saelens", "--batch", 500, "--data",
                 self.data, "--out")
        same, judged = self.path("unjudged"), self.path("judged")
        self.assertIn("on the same tokens, which flatter", self.orthant(*model, same).stdout)
        done = self.orthant(*model, judged, "--judge", other)
        self.assertIn(f"figures on the {ROWS} tokens of --judge", done.stdout)
        about = []
        for folder in (same, judged):
            with open(os.path.join(folder, "orthant.json")) as file:
                about.append(json.load(file)["calibration"])
            self.assertEqual(about[-1]["files"], [self.data])
        self.assertEqual([a["judge_files"] for a in about], [None, [other]])
        for name in ("sae_weights.safetensors", "sparsity.safetensors"):
            with open(os.path.join(same, name), "rb") as a, open(os.path.join(judged, name),
                                                                 "rb") as b:
                self.assertEqual(a.read(), b.read(), name)
        for name, model in (("exact", self.runs["topafa"]), ("exported", judged)):
            figures = self.evaluate(model, other)
            self.assertAlmostEqual(about[1][name]["mse"], figures["mse"],
                                   delta=1e-9 * figures["mse"])
        self.refuse(2, ["--judge", "no threshold"], "export", self.runs["topk"], "--format",
                    "saelens", "--out", self.path("x"), "--judge", other, ranks=(1,))

    def test_top_afa_file(self):
        """The Python file beside the weights selects what Orthant selects."""
        folder = self.export("topafa", "saelens", "--data", self.data, "--batch", "500")
        space = {}
        with open(os.path.join(folder, "top_afa.py")) as file:
            exec(compile(file.read(), "top_afa.py", "exec"), space)
        x = self.x
        sae = space["TopAFA"](folder)
        f = sae.encode(x)
        wanted = self.encode(self.runs["topafa"], cli.LATENTS)
        self.assertLess(((f > 0) != (wanted > 0)).sum(), 4)  # float32 sums in another order
        same = (f > 0) == (wanted > 0)
        np.testing.assert_allclose(f[same], wanted[same], atol=1e-5 * wanted.max())
        x_hat = sae.decode(f, x)
        mean, std = x.mean(1, keepdims=True), x.std(1, ddof=1, keepdims=True)
        mse = ((((x_hat - mean) / std) - (x - mean) / (std + 1e-5)) ** 2).mean()
        self.assertAlmostEqual(mse, self.evaluate(self.runs["topafa"])["mse"], delta=1e-5)

    def test_batchtopk_as_one_threshold(self):
        for tool in ("saelens", "dictionary_learning"):
            folder = self.calibrated("batchtopk", tool)
            found = self.encode(folder, cli.LATENTS)
            self.assertEqual((found > 0).sum(), cli.K * ROWS, tool)

    def test_what_a_tool_lacks(self):
        out = self.path("lacking")
        for run, tool, words in (("layernorm", "sparsify", ["input.norm is layernorm", "none or scale"]),
                                 ("topk", "openai", ["input.norm is none"]),
                                 ("topafa", "sparsify", ["model.selection is topafa"]),
                                 ("batchtopk", "openai", ["model.selection is batchtopk"]),
                                 ("topk", "torch", ["--format torch", "saelens, sparsify"])):
            self.refuse(2, words, "export", self.runs[run], "--format", tool, "--out", out,
                        ranks=(1,))
            self.assertFalse(os.path.exists(out))
            self.assertFalse(os.path.exists(out + ".partial"))

    def test_out(self):
        folder = self.export("topk", "saelens")
        model = ("export", self.runs["topk"], "--format", "saelens", "--out")
        self.refuse(2, ["holds something already"], *model, folder)
        self.refuse(2, ["is there and no folder"], *model, cli.EVAL, ranks=(1,))
        self.refuse(4, ["cannot make the folder", "/no is not there; make it first"], *model,
                    self.path("no", "such"))
        self.refuse(2, ["name the folder"], "import",
                    os.path.join(folder, "sae_weights.safetensors"), "--out", self.path("x.h5"))
        os.mkdir(self.path("empty"))
        os.mkdir(self.path("empty.partial"))  # of an export that was killed
        with open(self.path("empty.partial", "cfg.json"), "w"):
            pass
        self.orthant(*model, self.path("empty") + "/")
        self.check_same_bytes(self.path("empty"), folder)
        self.refuse(4, ["no/such.h5: cannot create"], "import", folder, "--out", self.path("no", "such.h5"))
        self.refuse(4, ["is no plain file"], "import", folder, "--out", folder)
        weights = os.path.join(folder, "sae_weights.safetensors")
        for model in (folder, self.runs["topk"]):
            before = weights if model == folder else cli.newest(model)
            self.refuse(2, ["would be lost"], "import", model, "--out", before)
        self.check_same_bytes(self.path("empty"), folder)

    def test_step(self):
        """No step is told where none is known; of a run and of its checkpoint it is."""
        folder, imported = self.export("topk", "sparsify"), self.path("bare.h5")
        again, kept = self.path("bare"), self.path("kept.h5")
        self.orthant("import", folder, "--out", imported)
        self.orthant("import", self.runs["topk"], "--out", kept)
        self.orthant("export", imported, "--format", "sparsify", "--out", again)
        for model, step in ((folder, None), (imported, None), (again, None),
                            (self.runs["topk"], cli.STEPS), (kept, cli.STEPS)):
            said, path = "" if step is None else f"step {step}, ", self.path("step.json")
            more = [("spectrum", []), ("compare", [model])] if model == imported else []
            for verb, rest in (("eval", ["--data", self.data, "--latents", self.path("l.json"),
                                         "--neighbours", 0, "--examples", 0, "--skip-eps"]),
                               *more):
                done = self.orthant(verb, model, *rest, "--json", path)
                with open(path) as file:
                    found = json.load(file)
                found = found["a"] if verb == "compare" else found
                self.assertEqual(found["step"], step, f"{verb} {model}")
                self.assertIn(f"\n{'':20}{said}", done.stdout)
                self.assertEqual(said == "", "step " not in done.stdout, done.stdout)
            with open(self.path("l.json")) as file:
                self.assertEqual(json.load(file)["step"], step)
        for path, step in ((imported, None), (kept, cli.STEPS)):
            done = self.orthant("info", path, "--json", self.path("info.json"))
            with open(self.path("info.json")) as file:
                self.assertEqual(json.load(file)["step"], step)
            self.assertEqual("not known" in done.stdout, step is None)
        for path, step in ((folder, cli.STEPS), (again, None)):
            with open(os.path.join(path, "orthant.json")) as file:
                self.assertEqual(json.load(file)["step"], step)

    def test_training_on(self):
        """Fine-tuning starts from a folder or an imported checkpoint; resuming needs a state."""
        folder, imported = self.export("topk", "sparsify"), self.path("base.h5")
        self.orthant("import", folder, "--out", imported)
        losses = []
        for source in (folder, imported, self.runs["topk"], cli.newest(self.runs["topk"])):
            run = self.path("tuned-" + os.path.basename(source))
            self.orthant("train", self.path("config.yaml"), "--quiet", "--set", "run.dir=" + run,
                         "run.steps=2", "input.norm=none", "init.scheme=file",
                         "init.file=" + source, "log.every=1")
            with open(os.path.join(run, "metrics.jsonl")) as file:
                losses.append([json.loads(line)["loss"] for line in file])
        self.assertEqual(losses[0], losses[1])
        self.assertEqual(losses[2], losses[3])  # a run folder is its newest checkpoint
        self.refuse(5, ["no optimizer state", "init.file"], "train", self.path("config.yaml"),
                    "--resume", imported, "--set", "run.dir=" + self.path("other"), "run.steps=2",
                    "input.norm=none")
        self.refuse(2, ["jumprelu cannot be trained", "topk, topafa or batchtopk"], "train",
                    self.path("config.yaml"), "--set", "run.dir=" + self.path("other"),
                    "model.selection=jumprelu")

    def test_init_file_that_cannot_be(self):
        """Refused before run.dir is made."""
        other, none = self.path("other"), self.path("none")
        os.makedirs(os.path.join(none, "checkpoints"))
        os.mkdir(self.path("hollow"))
        text = self.path("text.txt")
        with open(text, "w") as file:
            file.write("no weights\n")
        train = ("train", self.path("config.yaml"), "--set", "run.dir=" + other, "run.steps=2")
        for code, words, source in (
                (2, ["no checkpoint yet"], none), (2, ["No such file"], self.path("nowhere")),
                (2, ["a folder without checkpoints", "run folder"], self.path("hollow")),
                (5, ["text.txt"], text), (5, ["no dataset W_enc", "run folder"], cli.TRAIN)):
            self.refuse(code, words, *train, "init.scheme=file", "init.file=" + source)
            self.assertFalse(os.path.exists(other), source)
        for source in (self.runs["topk"], self.export("topk", "sparsify")):
            self.refuse(5, ["check model.n_latent"], *train, "init.scheme=file",
                        "init.file=" + source, "model.n_latent=64")
            self.assertFalse(os.path.exists(other), source)
        said = ["init.file: is given, but init.scheme is kaiming; set init.scheme: file"]
        self.refuse(2, said, *train, "init.file=" + self.runs["topk"])
        self.refuse(2, said, "plan", self.path("config.yaml"), "--ranks", 2, "--set",
                    "init.file=" + self.runs["topk"], ranks=(1,))


class Readers(Case):
    """Folders that numpy wrote, against numpy's own results."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.x = np.random.default_rng(1).normal(size=(300, folders.D)).astype("f4")
        cls.data = os.path.join(cls.folder, "x.h5")
        with h5py.File(cls.data, "w") as file:
            file["activations"] = cls.x
        cls.w = folders.weights()

    def check(self, folder, selection, **how):
        f, x_hat = folders.codes(self.w, self.x, selection, **how)
        for grid in ((1, 1), (1, 3)):
            found = self.encode(folder, folders.N, grid=grid)
            np.testing.assert_array_equal(found > 0, f > 0, f"{folder} {grid}")
            np.testing.assert_allclose(found, f, atol=1e-5)
        x = folders.normalised(self.x, how.get("layernorm", False))
        figures = self.evaluate(folder)
        self.assertAlmostEqual(figures["mse"], ((x - x_hat) ** 2).mean(), delta=1e-5)
        self.assertAlmostEqual(figures["l0"]["mean"], (f > 0).sum(1).mean(), delta=1e-9)
        return folder

    def test_saelens(self):
        def make(name, **keys):
            return folders.saelens(self.path(name), self.w, **keys)

        self.check(make("topk"), "topk")
        self.check(make("normed", rescale_acts_by_decoder_norm=True,
                        normalize_activations="layer_norm"), "topk", normed=True, layernorm=True)
        self.check(make("uncentred", architecture="jumprelu", apply_b_dec_to_input=False),
                   "jumprelu", centred=False)
        self.check(make("standard", architecture="standard"), "relu")
        self.check(make("training", architecture="batchtopk", rescale_acts_by_decoder_norm=True),
                   "batchtopk", normed=True)
        # A version before 6.
        self.check(make("old", drop=("architecture", "k", "metadata", "apply_b_dec_to_input"),
                        activation_fn_str="topk", activation_fn_kwargs={"k": folders.K},
                        normalize_activations=False), "topk")

    def test_saelens_scale(self):
        folder = folders.saelens(self.path("scaler"), self.w,
                                 normalize_activations="expected_average_only_in")
        self.refuse(5, ["normalize_activations", "activation_scaler.json"], "eval", folder,
                    "--data", self.data, ranks=(1,))
        with open(os.path.join(folder, "activation_scaler.json"), "w") as file:
            json.dump({"scaling_factor": 0.5}, file)
        f, _ = folders.codes(self.w, 0.5 * self.x, "topk")
        np.testing.assert_allclose(self.encode(folder, folders.N), f, atol=1e-5)

    def test_sparsify(self):
        self.check(folders.sparsify(self.path("sparsify"), self.w), "topk")
        w = folders.weights(2, n=2 * folders.D)
        folder = folders.sparsify(self.path("factor"), w, num_latents=0, expansion_factor=2)
        f, _ = folders.codes(w, self.x, "topk")
        np.testing.assert_allclose(self.encode(folder, 2 * folders.D), f,
                                   atol=1e-5)

    def test_gemma_scope(self):
        folder = folders.gemma_scope(self.path("gemma"), self.w)
        self.check(folder, "jumprelu", centred=False)
        self.check(os.path.join(folder, "params.npz"), "jumprelu", centred=False)
        said = self.orthant("spectrum", os.path.join(folder, "params.npz")).stdout
        self.assertIn(f"{folders.N} latents of {folders.D}", said)

    def test_info(self):
        folder = folders.saelens(self.path("info"), self.w, architecture="jumprelu")
        for ranks in (1, 3):
            said = self.orthant("info", folder, ranks=ranks).stdout
            for words in ("saelens, jumprelu", "n_latent              64",
                          "W_enc [24, 64] of F32"):
                self.assertIn(words, said)

    def bad(self, code, words, folder, ranks=(1,)):
        self.refuse(code, words, "eval", folder, "--data", self.data, ranks=ranks)

    def test_bad_configurations(self):
        cases = (({"drop": ("k",)}, ["'k' is missing"]), ({"k": 0}, ["'k' is not an integer"]),
                 ({"k": "6"}, ["'k' is not an integer"]), ({"k": 65}, ["more than the 64 latents"]),
                 ({"d_sae": 65}, ["[24, 64]", "65 latents"]),
                 ({"architecture": "gated"}, ["architecture: gated"]),
                 ({"normalize_activations": "constant_norm_rescale"}, ["constant_norm_rescale"]),
                 ({"finetuning_scaling_factor": True}, ["finetuning_scaling_factor"]),
                 ({"activation_fn_str": "tanh-relu"}, ["tanh-relu"]),
                 ({"apply_b_dec_to_input": 1}, ["'apply_b_dec_to_input' is not true or false"]),
                 ({"architecture": "jumprelu", "drop": ("d_in",)}, ["'d_in' is missing"]))
        for i, (keys, words) in enumerate(cases):
            self.bad(5, words, folders.saelens(self.path(f"bad{i}"), self.w, **keys))
        for i, key in enumerate(("transcode", "skip_connection", "signed")):
            self.bad(5, [key], folders.sparsify(self.path(f"kind{i}"), self.w, **{key: True}))
        self.bad(5, ["'num_latents' is not"],
                 folders.sparsify(self.path("negative"), self.w, num_latents=-1))

    def test_bad_tensors(self):
        nan = {**self.w, "b_enc": np.full(folders.N, np.nan, "f4")}
        self.bad(5, ["'b_enc' holds NaN"], folders.saelens(self.path("nan"), nan), ranks=(1, 3))
        for i, (name, value) in enumerate((("b_dec", np.zeros(3, "f4")),
                                           ("W_dec", self.w["W_dec"].T))):
            self.bad(5, [f"'{name}' is", "not ["],
                     folders.saelens(self.path(f"shape{i}"), {**self.w, name: value}))
        whole = folders.sparsify(self.path("whole"), self.w)
        folders.write_safetensors(os.path.join(whole, "sae.safetensors"), {
            "encoder.weight": self.w["W_enc"], "encoder.bias": self.w["b_enc"],
            "W_dec": self.w["W_dec"], "b_dec": self.w["b_dec"]}, "i4", "I32")
        self.bad(5, ["'encoder.weight' is of type I32"], whole, ranks=(1, 2))
        self.bad(5, ["'W_skip' is of no autoencoder"],
                 folders.sparsify(self.path("skip"), self.w, tensors={"W_skip": np.eye(folders.D)}))
        missing = folders.saelens(self.path("missing"), self.w, architecture="standard")
        with open(os.path.join(missing, "cfg.json")) as file:
            text = file.read()
        with open(os.path.join(missing, "cfg.json"), "w") as file:
            file.write(text.replace("standard", "jumprelu"))
        self.bad(5, ["the tensor 'threshold' is missing"], missing, ranks=(1, 3))
        self.bad(5, ["[24, 64]"], folders.sparsify(self.path("turned"), {
            **self.w, "W_enc": self.w["W_enc"].T}))

    def test_bad_files(self):
        folder = folders.saelens(self.path("file"), self.w)
        weights = os.path.join(folder, "sae_weights.safetensors")
        with open(weights, "rb") as file:
            good = file.read()
        size = int.from_bytes(good[:8], "little")
        header = json.loads(good[8:8 + size])
        header["b_dec"]["data_offsets"] = [0, 4 * folders.D]  # overlaps W_enc
        text = json.dumps(header).encode()
        for bad in (b"", good[:100], good[:-4],
                    len(text).to_bytes(8, "little") + text + good[8 + size:]):
            with open(weights, "wb") as file:
                file.write(bad)
            self.bad(5, ["sae_weights.safetensors"], folder, ranks=(1, 3) if not bad else (1,))
        with open(weights, "wb") as file:
            file.write(good)
        with open(os.path.join(folder, "cfg.json"), "w") as file:
            file.write("{\"k\": ")
        self.bad(5, ["cfg.json: is no JSON object"], folder, ranks=(1, 3))
        os.remove(weights)
        self.bad(5, ["its tensors are missing"], folder)

    def test_not_one_folder(self):
        folders.sparsify(self.path("hub", "layers.3"), self.w)
        self.bad(2, ["holds several autoencoders", "layers.3"], self.path("hub"), ranks=(1, 3))
        os.mkdir(self.path("none"))
        self.bad(2, ["a folder without checkpoints"], self.path("none"))
        self.bad(2, ["there is no such model"], self.path("absent"))

    def test_other_sizes(self):
        folder = folders.sparsify(self.path("small"), self.w)
        self.refuse(5, ["64 latents of 24 values", "256 of 384"], "train",
                    self.config(), "--set", "run.dir=" + self.path("run"), "run.steps=1",
                    "init.scheme=file", "init.file=" + folder)

    def config(self):
        path = self.path("config.yaml")
        with open(path, "w") as out:
            out.write(cli.CONFIG.format(train=cli.TRAIN, latents=cli.LATENTS, k=cli.K))
        return path


if __name__ == "__main__":
    unittest.main()
