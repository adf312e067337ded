"""Runs groups of tests/golden/trajectories.h5 through `orthant train` and compares what the program
logs and saves with what the authors' code did in double precision.

A group is 100 steps of batch 128 on the first 12,800 rows of sample-train.h5 in order. Its columns
hold each step's figures before the update; `gap` is the relative distance at which the step's
selection was decided: below NEAR_TIE another summation order may legitimately select another of two
latents of equal value, and from there on only the loose tolerance holds. Top-AFA has near-ties of
vanishing value at every step.
"""

import glob
import json
import os
import tempfile

import h5py
import numpy as np

import support

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "golden", "trajectories.h5")
ACTIVATIONS = os.path.join(support.DATA, "sample-train.h5")
NEAR_TIE, STRICT, LOOSE = 2e-6, 2e-5, 1e-3
TOPAFA_STRICT, TOPAFA_LOOSE, TOPAFA_STRICT_STEPS, TOPAFA_L0 = 1e-4, 3e-3, 10, 0.2
GRADIENT = 1e-5


class Group:
    """One group of the golden file."""

    def __init__(self, name):
        self.name = name
        with h5py.File(GOLDEN) as golden:
            group = golden[name]
            self.columns = [str(c) for c in golden.attrs["columns"]]
            self.n_latent = int(golden.attrs["n_latent"])
            self.batch = int(golden.attrs["batch"])
            self.steps = int(golden.attrs["steps"])
            self.probes = golden["probe_latents"][:]
            self.config = json.loads(group.attrs["config"])
            self.openai = group.attrs["code"] == "openai"
            self.log = group["log_fp64"][:]
            self.final = {k: group["final"][k]["rows"][:] for k in group["final"]}
            self.grad0 = {k: group["grad0"][k]["rows"][:] for k in group["grad0"]}
            scale = float(group.attrs.get("init_W_enc_scale", 1.0))
            self.W_enc = (golden["init/W_enc"][:].astype(float) * scale).astype(np.float32)
            self.b_dec = group["init_b_dec"][:] if "init_b_dec" in group else None
        self.topafa = not self.openai and self.config["sae_type"] == "topafa"

    def column(self, name):
        return self.log[:, self.columns.index(name)]

    def strict_steps(self):
        """Steps before the first near-tie."""
        if self.topafa:
            return TOPAFA_STRICT_STEPS
        near = np.flatnonzero(self.column("gap") < NEAR_TIE)
        return int(near[0]) if len(near) else self.steps

    def write_init(self, path):
        with h5py.File(path, "w") as file:
            file["W_enc"] = self.W_enc
            if self.b_dec is not None:
                file["b_dec"] = self.b_dec

    def settings(self):
        """The group's recipe in the program's keys."""
        c = self.config
        common = {
            "model.n_latent": self.n_latent, "train.batch": self.batch, "data.shuffle": "false",
            "data.files": ACTIVATIONS, "init.scheme": "file", "log.every": 1,
            "train.lr": c["lr"], "train.beta1": c["beta1"], "train.beta2": c["beta2"],
        }
        return common | (self.settings_openai(c) if self.openai else self.settings_topafa(c))

    def settings_openai(self, c):
        return {
            "model.selection": "topk", "model.k": c["k"], "model.b_enc": "true",
            "input.norm": "layernorm" if c.get("layernorm") else "none",
            "loss.kind": "mse_scaled", "loss.mse_scale": repr(c["mse_scale"]),
            "aux.variant": "gao", "aux.k": c["auxk"], "aux.coefficient": c["auxk_coef"],
            "dead.variant": "tokens", "dead.tokens": c["dead_steps"] * self.batch,
            "train.eps": c["eps"], "train.clip": c["clip"] or "none",
            "train.ema": c["ema"] or "none", "train.decoder_norm": "gao",
        }

    def settings_topafa(self, c):
        return {
            "model.selection": c["sae_type"], "model.b_enc": "false",
            "model.k": c.get("top_k", 32), "topk.relu_first": "true", "topafa.target": "centred",
            "input.norm": "layernorm" if c["input_unit_norm"] else "none", "loss.kind": "mse",
            "aux.variant": "topafa", "aux.k": c["top_k_aux"], "aux.coefficient": c["aux_penalty"],
            "afa.coefficient": c["afa_coeff"], "dead.variant": "batches",
            "dead.batches": c["n_batches_to_dead"], "train.eps": 1e-8,
            "train.clip": c["max_grad_norm"], "train.ema": "none", "train.decoder_norm": "topafa",
        }


def yaml_of(settings):
    nested = {}
    for key, value in settings.items():
        section, name = key.split(".")
        nested.setdefault(section, []).append(f"  {name}: {value}\n")
    return "".join(f"{section}:\n" + "".join(lines) for section, lines in nested.items())


class Run:
    """What `orthant train` left of one group."""

    def __init__(self, group, n_group, n_shard, steps, folder):
        run_dir = os.path.join(folder, "run")
        init = os.path.join(folder, "init.h5")
        config = os.path.join(folder, "config.yaml")
        group.write_init(init)
        settings = group.settings() | {
            "run.dir": run_dir, "run.steps": steps, "init.file": init,
            "grid.n_group": n_group, "grid.n_shard": n_shard, "checkpoint.every": steps,
        }
        with open(config, "w") as file:
            file.write(yaml_of(settings))
        done = support.run(["train", config, "--quiet"], n_group * n_shard)
        assert done.code == 0, f"exit {done.code}: {done.stderr[-600:]}"
        self.metrics = [line for line in support.metrics(run_dir) if "loss" in line]
        checkpoints = glob.glob(os.path.join(run_dir, "checkpoints", "step-*.h5"))
        self.checkpoint = max(checkpoints)

    def column(self, name):
        return np.array([line[name] for line in self.metrics], dtype=float)


def relative(value, wanted):
    return np.linalg.norm(value - wanted) / np.linalg.norm(wanted)


def check_metrics(group, run):
    steps, strict = group.steps, group.strict_steps()
    tight = TOPAFA_STRICT if group.topafa else STRICT
    loose = TOPAFA_LOOSE if group.topafa else LOOSE
    assert [line["step"] for line in run.metrics] == list(range(1, steps + 1))
    assert list(run.column("tokens")) == [group.batch * s for s in range(1, steps + 1)]
    # A term that vanishes beside the loss is measured against a ten-thousandth of the loss.
    floor = 1e-4 * np.abs(group.column("loss")) + 1e-6
    for name in ("loss", "mse", "aux", "afa", "grad_norm"):
        wanted = group.column(name)
        off = np.abs(run.column(name) - wanted) / np.maximum(np.abs(wanted), floor)
        assert off[:strict].max(initial=0) < tight, f"{name}: {off[:strict].max():.2g}"
        assert off.max() < loose, f"{name}: {off.max():.2g} at step {off.argmax() + 1}"
    l0 = np.abs(run.column("l0") - group.column("l0"))
    n_dead = np.abs(run.column("n_dead") - group.column("n_dead"))
    exact = 0 if group.topafa else strict
    assert l0[:exact].max(initial=0) < 1e-9, f"l0: {l0[:exact].max()}"
    assert l0.max() <= TOPAFA_L0, f"l0: {l0.max()}"
    assert n_dead[:strict].max(initial=0) == 0, f"n_dead: {n_dead[:strict].max()}"
    assert n_dead.max() <= 2, f"n_dead: {n_dead.max()}"
    return strict


def check_weights(group, run):
    loose = TOPAFA_LOOSE if group.topafa else LOOSE
    limit = STRICT if group.strict_steps() == group.steps else loose
    with h5py.File(run.checkpoint) as file:
        for name, wanted in group.final.items():
            if name.startswith("ema_"):
                value = file["ema/" + name[4:]][:].astype(float)
                value /= 1.0 - group.config["ema"] ** group.steps
            else:
                value = file["model/" + name][:].astype(float)
            value = value[group.probes] if value.shape[0] == group.n_latent else value
            assert relative(value, wanted) < limit, f"{name}: {relative(value, wanted):.2g}"


def check_trajectory(group, n_group, n_shard):
    with tempfile.TemporaryDirectory() as folder:
        run = Run(group, n_group, n_shard, group.steps, folder)
        check_metrics(group, run)
        check_weights(group, run)


def project_rows(g, W_enc):
    """What the recipes' projection leaves of W_dec's gradient: W_dec begins as W_enc's unit rows."""
    unit = W_enc / np.linalg.norm(W_enc, axis=1, keepdims=True)
    return g - (g * unit).sum(axis=1, keepdims=True) * unit


def check_first_gradient(group):
    """The gradient of step 1 from Adam's first moment, m = (1 - beta1) g, of a run of one step. The
    golden one is raw; what the program adds before Adam is undone (the clip, whose factor follows
    from the logged norm) or done to the golden one as well (the projection of W_dec's rows, which
    cannot be undone)."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(group, 1, 1, 1, folder)
        clip = group.config["clip"] if group.openai else None
        factor = min(1.0, clip / run.metrics[0]["grad_norm"]) if clip else 1.0
        with h5py.File(run.checkpoint) as file:
            for name, wanted in group.grad0.items():
                m = file["optimizer/m/" + name][:].astype(float)
                value = m / (1.0 - group.config["beta1"]) / factor
                wanted = wanted.astype(float)
                if value.shape[0] == group.n_latent:
                    value = value[group.probes]
                if name == "W_dec":
                    wanted = project_rows(wanted, group.W_enc[group.probes].astype(float))
                off = relative(value, wanted)
                assert off < GRADIENT, f"step-1 gradient of {name}: {off:.2g}"


def names():
    with h5py.File(GOLDEN) as golden:
        return [k for k in golden if isinstance(golden[k], h5py.Group) and "config" in golden[k].attrs]
