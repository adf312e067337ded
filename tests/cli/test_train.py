# What a training run shows and leaves behind.
# timeout: 240
"""Metrics, progress, the run directory, checkpoints and their retention, lengths, every selection
on ranks that divide neither the latents nor the batch."""
import os
import pty
import unittest

import h5py
import numpy as np

import support
from support import run, tokens, write_activations

KEYS = ["step", "tokens", "epoch", "loss", "mse", "aux", "afa", "l0", "n_dead", "grad_norm", "lr",
        "fvu", "tokens_per_s", "time", "phase"]
PHASES = {"encode", "select", "decode", "gradient", "reduce", "update", "read", "checkpoint"}
ROWS, WIDTH = 1000, 40


class Train(support.Case):
    def setUp(self):
        super().setUp()
        self.values = tokens(ROWS, WIDTH)
        self.data = write_activations(self.path("data.h5"), self.values)
        self.run_dir = self.path("run")

    def config(self, run_dir="run", **keys):
        defaults = {"run__dir": run_dir, "data__files": self.data, "run__steps": 24,
                    "model__n_latent": 128, "model__k": 8, "train__batch": 100, "log__every": 5}
        return self.write_config(**{**defaults, **keys})

    def train(self, run_dir="run", ranks=1, arguments=(), env=None, **keys):
        result = run(["train", self.config(run_dir, **keys), *arguments], ranks, env=env,
                     cwd=self.folder)
        self.check_success(result)
        return result

    def test_metrics(self):
        self.train(ranks=3, train__lr=1e-3, train__warmup=10, train__decay=0.25,
                   afa__coefficient="1/16", log__every=4, data__files=self.data)
        lines = support.metrics(self.run_dir)
        self.assertEqual([line["step"] for line in lines], [4, 8, 12, 16, 20, 24])
        for line, before in zip(lines, [None] + lines):
            self.assertEqual(sorted(line), sorted(KEYS))
            self.assertEqual(line["tokens"], 100 * line["step"])
            self.assertEqual(line["epoch"], 100 * line["step"] // ROWS)
            self.assertAlmostEqual(line["loss"], line["mse"] + line["aux"] + line["afa"],
                                   delta=1e-12)
            self.assertTrue(line["mse"] > 0 and line["aux"] > 0 and line["afa"] > 0, line)
            self.assertTrue(0 < line["fvu"] < 2 and line["grad_norm"] > 0 and
                            line["tokens_per_s"] > 0, line)
            self.assertTrue(0 < line["l0"] <= 8)
            self.assertIsInstance(line["n_dead"], int)
            step = line["step"]
            rate = 1e-3 * min(1, step / 10, (24 - step + 1) / 6)
            self.assertAlmostEqual(line["lr"], rate, delta=1e-9)
            self.assertLessEqual(PHASES, set(line["phase"]))
            self.assertTrue(all(value >= 0 for value in line["phase"].values()))
            self.assertLessEqual(sum(line["phase"].values()), line["time"] * 1.01 + 0.01)
            if before:
                self.assertGreater(line["time"], before["time"])
        self.assertGreater(lines[-1]["phase"]["encode"], 0)
        # at least nine digits
        with open(os.path.join(self.run_dir, "metrics.jsonl")) as file:
            digits = [len(word.split(":")[1].strip("0.")) for word in file.read().split(",")
                      if word.startswith('"loss"')]
        self.assertGreater(max(digits), 9)

    def test_last_step_is_logged(self):
        self.train(run__steps=7)
        self.assertEqual([line["step"] for line in support.metrics(self.run_dir)], [5, 7])

    def test_progress(self):
        """Not on a terminal: a line each log.every steps, the phases at the end."""
        for ranks in (1, 3):
            result = self.train(f"run-{ranks}", ranks)
            text = "\n".join(result.lines)
            self.assertEqual(result.stdout, "")
            self.assertNotIn("\r", result.stderr)
            self.assertRegex(result.lines[0] + result.lines[1],
                             "topk, 128 latents .*batch 100, 24 steps; grid .* kernels .*[GM]iB")
            steps = [line for line in result.lines if line.startswith("orthant: step ")]
            self.assertEqual(len(steps), 5)
            self.assertRegex(steps[1], r"step 10/24 \(41.7%\) +loss [0-9.]+ +L0 8.0 +dead [0-9]+ +"
                                       r"[0-9.kM]+ tokens/s +[0-9]+:[0-9]{2}:[0-9]{2} left")
            for phase in ("phase", "encode", "update", "total"):
                self.assertRegex(text, f"orthant: {phase} +[0-9s]")
            self.assertRegex(result.lines[-1], "24 steps, 2400 tokens")
            # the log has the same
            with open(self.path(f"run-{ranks}", "orthant.log")) as file:
                log = file.read()
            for line in steps + result.lines[-1:]:
                self.assertIn(line, log)

    def test_terminal(self):
        """On a terminal: one progress line, redrawn in place."""
        ours, its = pty.openpty()
        running = support.Running(["train", self.config(run__steps=400)], cwd=self.folder, err=its)
        os.close(its)
        shown = b""
        try:
            while block := os.read(ours, 65536):
                shown += block
        except OSError:  # the other end is closed
            pass
        os.close(ours)
        self.assertEqual(running.wait().code, 0)
        text = shown.decode()
        self.assertIn("\r\033[K", text)
        self.assertRegex(text, r"\r\033\[Kstep 400/400 \(100.0%\)")
        self.assertNotIn("orthant: step", text)
        self.assertRegex(text, "orthant: total +[0-9]")

    def test_quiet(self):
        for ranks in (1, 3):
            # one processor for all ranks gives a warning of its own
            result = self.train(f"run-{ranks}", ranks, ["--quiet"])
            self.assertEqual([line for line in result.lines if line not in result.warnings], [])
            self.assertEqual(result.stdout, "")
            self.assertEqual(len(support.metrics(self.path(f"run-{ranks}"))), 5)
            with open(self.path(f"run-{ranks}", "orthant.log")) as file:
                self.assertIn("step 10/24", file.read())

    def test_run_directory(self):
        self.train(ranks=2)
        self.assertEqual(sorted(os.listdir(self.run_dir)),
                         ["checkpoints", "config.yaml", "eval", "metrics.jsonl", "orthant.log"])
        self.assertEqual(os.listdir(os.path.join(self.run_dir, "checkpoints")),
                         ["step-000000024.h5"])
        # the resolved configuration is a configuration: here it finds the run finished
        with open(self.path("run", "config.yaml")) as file:
            resolved = file.read()
        result = run(["train", self.path("run", "config.yaml")], 2, cwd=self.folder)
        self.check_success(result)
        self.assertIn("all 24 steps are done", "\n".join(result.lines))
        with open(self.path("run", "config.yaml")) as file:
            self.assertEqual(file.read(), resolved)
        # and gives the same run elsewhere
        os.rename(self.path("run", "config.yaml"), self.path("again.yaml"))
        self.check_success(run(["train", self.path("again.yaml"), "--set", "run.dir=again"], 2,
                               cwd=self.folder))
        self.check_equal(support.checkpoint(self.path("again"), 24),
                         support.checkpoint(self.run_dir, 24))

    def test_second_job(self):  # FAULTS 15
        running = support.Running(["train", self.config(run__steps=10**6)], cwd=self.folder)
        running.wait_for_step(self.run_dir, 5)
        for ranks in (1, 3):
            result = run(["train", self.config(run__steps=10**6)], ranks, cwd=self.folder)
            self.check_failure(result, 7, "run", str(running.process.pid))
        self.assertIsNone(running.process.poll())
        running.kill()
        self.train(run__steps=30)  # its lock is of a process that is dead

    def test_run_dir_unusable(self):  # FAULTS 19
        with open(self.path("file"), "w"):
            pass
        for run_dir in ("nowhere/run", "file", "file/run", "/proc/run"):
            for ranks in (1, 3):
                result = run(["train", self.config(run_dir)], ranks, cwd=self.folder)
                self.check_failure(result, 4, run_dir, "run.dir")

    def test_run_dir_before_data(self):  # FAULTS 19
        """The folder is tried before data is opened, which would fail too; nothing is left."""
        config = self.write_config(run__dir="nowhere/run", data__files="no.h5")
        self.check_failure(run(["train", config], 3, cwd=self.folder), 4, "nowhere/run")
        before = sorted(os.listdir(self.folder))
        for run_dir in ("new", "new/", "n" * 250):
            config = self.write_config(run__dir=run_dir, data__files="no.h5")
            result = run(["train", config], 1, cwd=self.folder)
            self.check_failure(result, 3, "no.h5")
            self.assertEqual(sorted({*os.listdir(self.folder), "config.yaml"}),
                             sorted({*before, "config.yaml"}))

    def test_long_paths(self):  # FAULTS 56
        for ranks in (1, 3):
            for length in (300, 3900, 4050):
                run_dir = os.path.join(*["d" * 99] * (length // 100)) + f"/run-{ranks}"
                os.makedirs(self.path(os.path.dirname(run_dir)), exist_ok=True)
                result = run(["train", self.config(run_dir, run__steps=2)], ranks,
                             cwd=self.folder)
                if length < 4000:
                    self.check_success(result)
                    self.assertEqual(support.steps(self.path(run_dir)), [2])
                else:
                    self.check_failure(result, 4, "dddd", "characters")

    def test_file_limit(self):  # FAULTS 17, 18
        """A checkpoint that does not fit is a warning; the last one that does not, an error."""
        keys = {"model__n_latent": 2000, "checkpoint__every": 10}
        result = run(["train", self.config(**keys)], prefix=("prlimit", "--fsize=1000000"),
                     cwd=self.folder)
        self.check_failure(result, 4, "run/checkpoints", "MiB", "ulimit -f")
        self.assertEqual("\n".join(result.warnings).count("training goes on"), 2)
        self.assertEqual(os.listdir(self.path("run", "checkpoints")), [])
        self.assertEqual(support.metrics(self.run_dir)[-1]["step"], 24)
        self.train(**keys)
        self.assertEqual(support.steps(self.run_dir), [20, 24])

    def test_checkpoint(self):
        self.train(ranks=3, grid__n_shard=3, train__ema=0.9, run__steps=12, checkpoint__every=4)
        self.assertEqual(support.steps(self.run_dir), [8, 12])
        with h5py.File(support.checkpoint_path(self.run_dir, 12)) as file:
            attributes = dict(file.attrs)
            for name, value in {"step": 12, "tokens_seen": 1200, "seed": 49, "n_latent": 128,
                                "d_model": WIDTH, "ranks": 3, "n_group": 1, "n_shard": 3}.items():
                self.assertEqual(attributes[name], value, name)
            for name, value in {"format": b"orthant-checkpoint", "selection": b"topk"}.items():
                self.assertEqual(attributes[name], value)
            shapes = {"W_enc": (128, WIDTH), "W_dec": (128, WIDTH), "b_enc": (128,),
                      "b_dec": (WIDTH,)}
            for group in ("model", "ema", "optimizer/m", "optimizer/v"):
                for name, shape in shapes.items():
                    self.assertEqual(file[group][name].shape, shape)
                    self.assertEqual(file[group][name].dtype, np.dtype("<f4"))
            self.assertEqual(file["state/steps_since_fired"].dtype, np.dtype("<i8"))
            self.assertEqual(file["state/cursor"][:].tolist(), [1, 200])
            self.assertIn(b"n_latent: 128", file["config"][:].tobytes())
            checked = []

            def visit(name, item):
                if isinstance(item, h5py.Dataset):
                    self.assertIsNone(item.chunks, name)
                    if not name.startswith("checksum/"):
                        checked.append(name)
                        self.assertIn("checksum/" + name, file)

            file.visititems(visit)
            self.assertIn("data_fingerprint", checked)

    def test_keep(self):
        for keep, expected in ((1, [24]), (3, [16, 20, 24])):
            self.train(f"keep-{keep}", checkpoint__every=4, checkpoint__keep=keep)
            self.assertEqual(support.steps(self.path(f"keep-{keep}")), expected)

    def test_lengths(self):
        for number, (keys, steps) in enumerate([
                ({"run__steps": 3}, 3), ({"run__tokens": 300}, 3), ({"run__tokens": 301}, 4),
                ({"run__epochs": 1}, 10), ({"run__epochs": 2, "train__batch": 300}, 7),
                ({}, 10), ({"train__batch": 3000}, 1)]):
            length = {"run__steps": None, **keys}
            tree = {key: value for key, value in length.items() if value is not None}
            config = self.write_config(run__dir=f"run-{number}", data__files=self.data,
                                       model__n_latent=64, model__k=4,
                                       **{"train__batch": 100, **tree})
            self.check_success(run(["train", config], cwd=self.folder))
            self.assertEqual(support.steps(self.path(f"run-{number}")), [steps], keys)

    def test_selections(self):
        """n_latent 131 and batch 97 on 3 ranks: as on one, and the loss falls."""
        recipes = {
            "topk": {"loss__multi_k": 3},
            "topafa": {"afa__coefficient": "1/24", "input__norm": "layernorm", "loss__kind": "mse",
                       "init__scheme": "kaiming", "aux__variant": "topafa",
                       "dead__variant": "batches", "train__decoder_norm": "topafa"},
            "batchtopk": {"input__norm": "unit", "loss__kind": "normalised"},
        }
        for selection, recipe in recipes.items():
            found = {}
            for grid in ((1, 1), (1, 3), (3, 1)):
                run_dir = f"{selection}-{grid[0]}x{grid[1]}"
                self.train(run_dir, grid[0] * grid[1], grid__n_group=grid[0], log__codes=True,
                           grid__n_shard=grid[1], model__selection=selection, train__lr=3e-3,
                           model__n_latent=131, train__batch=97, log__every=1, run__steps=30,
                           **recipe)
                lines = found[grid] = support.metrics(self.path(run_dir))
                self.assertLess(lines[-1]["loss"], 0.9 * lines[0]["loss"], run_dir)
                for one, here in zip(found[1, 1], lines):
                    self.assertAlmostEqual(one["loss"], here["loss"], delta=1e-3 * one["loss"])
                # from equal weights, equal codes
                self.assertRegex(lines[0]["code_hash"], "^[0-9a-f]{16}$")
                self.assertEqual(lines[0]["code_hash"], found[1, 1][0]["code_hash"], run_dir)

    def test_several_files(self):
        """Files are one table in the listed order, a glob's sorted, whatever their types."""
        write_activations(self.path("part-a.h5"), self.values[:333])
        write_activations(self.path("part-b.h5"), self.values[333:400].astype(">f8"))
        write_activations(self.path("part-c.h5"), self.values[400:], chunks=(50, WIDTH),
                          compression="gzip")
        self.train("one", log__every=1)
        lines = support.metrics(self.path("one"))
        for name, files in (("glob", "part-*.h5"),
                            ("list", ["part-a.h5", "part-b.h5", "part-c.h5"])):
            self.train(name, data__files=files, log__every=1)
            for one, here in zip(lines, support.metrics(self.path(name)), strict=True):
                self.assertEqual(one["loss"], here["loss"])

    def test_no_encoder_bias(self):
        self.train(model__b_enc=False)
        arrays = support.checkpoint(self.run_dir, 24)
        for name in ("model/b_enc", "optimizer/m/b_enc", "optimizer/v/b_enc"):
            self.assertFalse(arrays[name].any(), name)
        self.assertTrue(arrays["model/b_dec"].any())


if __name__ == "__main__":
    unittest.main()
