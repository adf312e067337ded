# Exported folders in the real packages, and what those packages save, read back.
# labels: long
# timeout: 1200
# processors: 2
"""A virtual environment beside the program under test, made once, gets PyTorch, SAELens, sparsify
and dictionary_learning from the package index (packages.txt); without one the test is skipped.
packages.py runs in it. OpenAI's package is on no index: packages.py has its forward written anew."""
import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import h5py
import numpy as np

import cli_model as cli

HERE = os.path.dirname(os.path.abspath(__file__))
WANTED = os.path.join(HERE, "packages.txt")
LATENTS = 1024
# What pip says when it reaches no index, or one without these packages.
UNREACHABLE = ("from versions: none", "NewConnectionError", "ConnectTimeoutError", "ProxyError",
               "Temporary failure in name resolution", "Connection refused", "SSLError")


def environment():
    """The Python of the virtual environment, which is made when it is not there."""
    with open(WANTED, "rb") as file:
        key = hashlib.sha256(file.read()).hexdigest()[:12]
    folder = os.path.join(os.path.dirname(os.path.abspath(os.environ["ORTHANT"])),
                          f"packages-{key}")
    python = os.path.join(folder, "bin", "python")
    if os.path.exists(os.path.join(folder, "complete")):
        return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    with open(WANTED) as file:
        torch = next(line.strip() for line in file if line.startswith("torch=="))
    # PyTorch alone first: what is installed is not replaced by a larger build of it.
    for words in (["install", torch], ["install", "--requirement", WANTED]):
        done = subprocess.run([python, "-m", "pip", *words, "--constraint", WANTED, "--no-input",
                               "--disable-pip-version-check"], capture_output=True, text=True)
        if done.returncode and any(words in done.stderr for words in UNREACHABLE):
            print(f"skipped: the package index is not reached: {done.stderr[-300:]}")
            sys.exit(77)
        if done.returncode:
            sys.exit(f"pip fails:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
    # Nothing here needs it, and its builds fit one build of PyTorch alone.
    subprocess.run([python, "-m", "pip", "uninstall", "--yes", "--quiet", "torchvision"], check=True)
    with open(os.path.join(folder, "complete"), "w"):
        pass
    return python


class Packages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="orthant-packages-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.errors = open(os.path.join(cls.folder, "errors"), "w+")
        cls.addClassCleanup(cls.errors.close)
        cls.worker = subprocess.Popen([PYTHON, os.path.join(HERE, "packages.py")], text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=cls.errors)
        cls.addClassCleanup(cls.worker.communicate)
        with h5py.File(cli.EVAL) as file:
            cls.x = file["activations"][:].astype("f4")
        np.save(os.path.join(cls.folder, "x.npy"), cls.x)
        cls.runs = {}
        for name, selection, *more in (
                ("topk", "topk", "input.norm=none"), ("topk-ln", "topk"),
                ("topk-scale", "topk", "input.norm=scale"),
                ("topafa", "topafa", "input.norm=none", "init.scheme=gao",
                 "afa.coefficient=1/24"),
                ("topafa-ln", "topafa", "init.scheme=gao", "afa.coefficient=1/24"),
                ("batchtopk", "batchtopk", "input.norm=none"), ("batchtopk-ln", "batchtopk")):
            os.mkdir(os.path.join(cls.folder, name))
            cls.runs[name] = cli.train(os.path.join(cls.folder, name), selection,
                                       f"model.n_latent={LATENTS}", "run.steps=30", *more)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def orthant(self, *arguments):
        done = cli.run(arguments)
        self.assertEqual(done.returncode, 0, done.stderr)

    def ask(self, what, tool, folder):
        """Codes and reconstructions of the real package."""
        out = self.path("answer.npz")
        line = json.dumps([what, tool, folder, self.path("x.npy"), out])
        try:
            self.worker.stdin.write(line + "\n")
            self.worker.stdin.flush()
        except BrokenPipeError:
            pass
        answer = self.worker.stdout.readline()
        while answer and answer != "done\n":  # a package may print
            answer = self.worker.stdout.readline()
        self.errors.seek(0)
        self.assertEqual(answer, "done\n", self.errors.read()[-3000:])
        with np.load(out) as arrays:
            return arrays["f"], arrays["x_hat"]

    def encode(self, model):
        path = self.path("codes.h5")
        self.orthant("encode", model, "--data", cli.EVAL, "--out", path, "--quiet")
        with h5py.File(path) as file:
            start, latent, value = (file[name][:] for name in ("indptr", "latent", "value"))
            f = np.zeros((len(start) - 1, int(file.attrs["n_latent"])), "f4")
        f[np.repeat(np.arange(len(f)), np.diff(start)), latent] = value
        return f

    def evaluate(self, model):
        path = self.path("eval.json")
        self.orthant("eval", model, "--data", cli.EVAL, "--json", path, "--skip-eps", "--quiet")
        with open(path) as file:
            return json.load(file)

    def compare(self, what, model, theirs, layernorm=False, scale=1.0):
        """The same active sets and values as `orthant encode`, reconstructions and figures as
        `orthant eval`, in the space of the normalised input."""
        f, x_hat = theirs
        ours = self.encode(model)
        differ = (ours > 0) != (f > 0)
        print(f"{what}: {int((f > 0).sum())} entries, {int(differ.sum())} differ")
        # A value that ties with its cut, to rounding, in one program may be above it in the other;
        # figures then differ by what that token weighs.
        self.assertLessEqual(differ.sum(), 2, what)
        slack = 1e-5 + differ.any(1).mean()
        np.testing.assert_allclose(ours[~differ], f[~differ], rtol=1e-5, atol=1e-5 * f.max())
        x, x_hat = self.x.astype(float), x_hat.astype(float)
        if layernorm:
            mean, std = x.mean(1, keepdims=True), x.std(1, ddof=1, keepdims=True)
            x, x_hat = (x - mean) / (std + 1e-5), (x_hat - mean) / std
        x, x_hat = x * scale, x_hat * scale
        error = ((x - x_hat) ** 2).sum()
        figures = self.evaluate(model)
        self.assertEqual(figures["tokens"], len(x))
        for name, value in (("mse", error / x.size), ("l0", (f > 0).sum(1).mean()),
                            ("fvu", error / ((x - x.mean(0)) ** 2).sum())):
            found = figures[name]["mean"] if name == "l0" else figures[name]
            self.assertAlmostEqual(found, value, delta=slack * value, msg=f"{what}: {name}")

    def export(self, run, tool, *options):
        folder = self.path(f"{run}-{tool}")
        self.orthant("export", self.runs[run], "--format", tool, "--out", folder, *options)
        return folder

    def exported(self, run, tool, exact=True):
        """The package's results are those of the run itself, or of the folder where the export
        stands for another selection."""
        folder = self.export(run, tool, *([] if exact else ["--data", cli.EVAL]))
        self.compare(f"{run} in {tool}", self.runs[run] if exact else folder,
                     self.ask("run", tool, folder), layernorm=run.endswith("-ln"))
        return folder

    def test_saelens(self):
        for run in ("topk", "topk-ln"):
            self.exported(run, "saelens")
        for run in ("batchtopk", "batchtopk-ln", "topafa", "topafa-ln"):
            folder = self.exported(run, "saelens", exact=False)
            if "topafa" in run:  # top_afa.py beside it is exact
                self.compare(f"{run} by top_afa.py", self.runs[run],
                             self.ask("run", "top_afa", folder), layernorm=run.endswith("-ln"))

    def test_sparsify(self):
        self.exported("topk", "sparsify")

    def test_dictionary_learning(self):
        self.exported("topk", "dictionary_learning")
        for run in ("batchtopk", "topafa"):
            self.exported(run, "dictionary_learning", exact=False)

    def test_openai(self):
        self.exported("topk-ln", "openai")

    def test_folded_scale(self):
        """The tool sees activations as they are; figures are those of the scaled space."""
        checkpoint = glob.glob(os.path.join(self.runs["topk-scale"], "checkpoints", "*.h5"))[0]
        with h5py.File(checkpoint) as file:
            scale = float(file["state/input_scale"][0])
        for tool in ("saelens", "sparsify", "dictionary_learning"):
            folder = self.export("topk-scale", tool)
            self.compare(f"topk-scale in {tool}", self.runs["topk-scale"],
                         self.ask("run", tool, folder), scale=scale)

    def saved(self, kind, layernorm=False):
        folder = self.path(kind.replace("/", "-"))
        theirs = self.ask("save", kind, folder)
        self.compare(f"saved by {kind}", folder, theirs, layernorm)
        imported = folder + ".h5"
        self.orthant("import", folder, "--out", imported)
        self.assertEqual(self.encode(imported).tobytes(), self.encode(folder).tobytes())

    def test_saved_by_saelens(self):
        self.saved("saelens/topk")
        self.saved("saelens/topk-rescaled", layernorm=True)
        self.saved("saelens/jumprelu")
        self.saved("saelens/standard", layernorm=True)

    def test_saved_by_sparsify(self):
        for kind in ("sized", "factor", "bf16"):
            self.saved("sparsify/" + kind)

    def test_saved_by_dictionary_learning(self):
        for kind in ("AutoEncoderTopK", "BatchTopKSAE", "AutoEncoder", "JumpReluAutoEncoder"):
            self.saved("dictionary_learning/" + kind)

    def test_saved_by_openai(self):
        self.saved("openai/topk", layernorm=True)

    def test_saved_as_gemma_scope(self):
        self.saved("gemma_scope/jumprelu")


if __name__ == "__main__":
    PYTHON = environment()
    unittest.main()
