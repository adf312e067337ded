# timeout: 300
"""`orthant encode`: right codes, and the same bytes on every grid, thread count and ISA."""
import os
import shutil
import tempfile
import unittest

import h5py
import numpy as np

import cli_model as cli

BATCH = 1000
GRIDS = ((1, 1), (1, 2), (2, 1), (1, 3), (3, 1), (2, 2), (1, 4))


class Encoding(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="orthant-encode-")
        cls.runs = {"topk": cli.train(cls.folder, "topk"),
                    "topafa": cli.train(cls.folder, "topafa", "afa.coefficient=1/24"),
                    "batchtopk": cli.train(cls.folder, "batchtopk")}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def encode(self, selection, *overrides, ranks=1, threads=1, isa=None, data=cli.EVAL):
        path = os.path.join(self.folder, "codes.h5")
        environment = {"OMP_NUM_THREADS": str(threads)}
        if isa:
            environment["ORTHANT_ISA"] = isa
        arguments = ["encode", self.runs[selection], "--data", data, "--out", path, "--batch",
                     BATCH]
        if overrides:
            arguments += ["--set", *overrides]
        done = cli.run(arguments, ranks, environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertFalse(os.path.exists(path + ".partial"))
        with h5py.File(path) as file:
            self.assertEqual(int(file.attrs["n_latent"]), cli.LATENTS)
            self.assertEqual(int(file.attrs["d_model"]), 384)
            self.assertIn(b"step-", np.bytes_(file.attrs["model"]))
            found = {name: file[name][:] for name in ("indptr", "latent", "value")}
        self.assertEqual([found[name].dtype for name in ("indptr", "latent", "value")],
                         [np.int64, np.int32, np.float32])
        return found

    def assert_same(self, found, reference, what):
        for name, values in reference.items():
            self.assertEqual(found[name].tobytes(), values.tobytes(), f"{what}: {name}")

    def test_values(self):
        x = cli.tokens()
        for selection, run_dir in self.runs.items():
            found = self.encode(selection)
            wanted = cli.codes(run_dir, selection, BATCH, x)
            self.assertEqual(found["indptr"][0], 0)
            self.assertEqual(found["indptr"][-1], len(found["latent"]))
            self.assertEqual(len(found["indptr"]), len(x) + 1)
            row = np.repeat(np.arange(len(x)), np.diff(found["indptr"]))
            # Latents ascend within a token.
            self.assertTrue(np.all((np.diff(row) > 0) | (np.diff(found["latent"]) > 0)))
            dense = np.zeros_like(wanted)
            dense[row, found["latent"]] = found["value"]
            close = np.isclose(dense, wanted, rtol=1e-4, atol=1e-5)
            # Near-ties may be decided the other way in double.
            self.assertLess((~close).sum(), 1e-4 * (wanted > 0).sum() + 2, selection)

    def test_inputs_are_not_overwritten(self):
        """An output that is an input under another name is refused, and what it holds stays."""
        data = os.path.join(self.folder, "own.h5")
        shutil.copy(cli.EVAL, data)
        checkpoints = os.path.join(self.runs["topk"], "checkpoints")
        model = os.path.join(checkpoints, sorted(os.listdir(checkpoints))[-1])
        os.symlink(model, os.path.join(self.folder, "alias"))
        for verb, option, out in (("encode", "--out", data), ("eval", "--json", data),
                                  ("encode", "--out", os.path.join(self.folder, "alias"))):
            before = open(out, "rb").read()
            for ranks in (1, 3):
                done = cli.run([verb, model, "--data", data, option, out], ranks, {})
                errors = [line for line in done.stderr.splitlines()
                          if line.startswith("orthant: error:")]
                self.assertEqual((done.returncode, len(errors)), (2, 1), done.stderr)
                self.assertIn(f"{option} {out}: is a file that this command reads", errors[0])
                self.assertEqual(open(out, "rb").read(), before)

    def test_same_bytes_on_every_grid(self):
        for selection in self.runs:
            reference = self.encode(selection)
            for groups, shards in GRIDS[1:]:
                found = self.encode(selection, f"grid.n_group={groups}", f"grid.n_shard={shards}",
                                    ranks=groups * shards)
                self.assert_same(found, reference, f"{selection} {groups}x{shards}")

    def test_same_bytes_by_threads_and_isa(self):
        with open("/proc/cpuinfo") as file:
            flags = set(file.read().split())
        sets = ["reference"] + ["avx2"] * ({"avx2", "fma"} <= flags) + \
            ["avx512"] * ({"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags)
        for selection in self.runs:
            reference = self.encode(selection)
            for isa in sets:
                for threads in (1, 2):
                    found = self.encode(selection, threads=threads, isa=isa)
                    self.assert_same(found, reference, f"{selection} {isa} {threads} threads")

    def test_skipped_rows_are_empty(self):
        path = os.path.join(self.folder, "bad.h5")
        with h5py.File(cli.EVAL) as source, h5py.File(path, "w") as out:
            rows = source["activations"][:300].astype(np.float32)
            rows[7, 1] = np.nan
            out["activations"] = rows
        for ranks in (1, 3):
            found = self.encode("topk", "data.nonfinite=skip", ranks=ranks, data=path)
            sizes = np.diff(found["indptr"])
            self.assertEqual(sizes[7], 0)
            self.assertEqual((sizes == cli.K).sum(), 299)

    def test_no_room(self):
        """A limit on the size of files: an error, not a death; what was there stays."""
        out = os.path.join(self.folder, "limited.h5")
        with open(out, "w") as file:
            file.write("before")
        for ranks in (1, 3):
            # 512 KiB for the program alone: a launcher's own files may be larger.
            done = cli.run(["encode", self.runs["topafa"], "--data", cli.EVAL, "--out", out], ranks,
                           {"OMPI_MCA_btl": "tcp,self"}, before="ulimit -f 512")
            self.assertEqual(done.returncode, 4, done.stderr)
            self.assertEqual(len(cli.errors(done)), 1, done.stderr)
            self.assertIn("limited.h5.partial: no room", cli.errors(done)[0])
            self.assertFalse(os.path.exists(out + ".partial"))
            with open(out) as file:
                self.assertEqual(file.read(), "before")

    def refuse(self, code, text, *arguments):
        for ranks in (1, 3):
            done = cli.run(["encode", *arguments], ranks)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertEqual(len(cli.errors(done)), 1, done.stderr)
            self.assertIn(text, cli.errors(done)[0])

    def test_refusals(self):
        model, out = self.runs["topk"], os.path.join(self.folder, "refused.h5")
        self.refuse(2, "--out is missing", model, "--data", cli.EVAL)
        self.refuse(2, "--data is missing", model, "--out", out)
        self.refuse(2, "model.n_latent", model, "--data", cli.EVAL, "--out", out, "--set",
                    "model.n_latent=512")
        self.refuse(4, "is no plain file", model, "--data", cli.EVAL, "--out", "/dev/null")
        self.refuse(4, "no-such", model, "--data", cli.EVAL, "--out",
                    os.path.join(self.folder, "no-such", "c.h5"))
        self.assertFalse(os.path.exists(out))


if __name__ == "__main__":
    unittest.main()
