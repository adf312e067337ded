"""A small model for the tests of verbs that use one: trained once, read back in numpy."""
import os
import shlex
import subprocess

import h5py
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
TRAIN = os.path.join(HERE, "..", "data", "sample-train.h5")
EVAL = os.path.join(HERE, "..", "data", "sample-eval.h5")
LATENTS, K, STEPS = 256, 16, 40

CONFIG = """
data: {{files: {train}}}
input: {{norm: layernorm}}
model: {{n_latent: {latents}, k: {k}, b_enc: true}}
init: {{scheme: kaiming}}
loss: {{kind: mse}}
aux: {{variant: topafa, k: 64}}
dead: {{variant: batches}}
train: {{batch: 256, lr: 1e-3, beta2: 0.99, eps: 1e-8, clip: 1e5, decoder_norm: topafa}}
"""


def run(arguments, ranks=1, environment=None, timeout=300, before=None):
    """Run the program on some ranks; gives the finished process. `before` is a shell command that
    each rank runs first, under a launcher."""
    command = [os.environ["ORTHANT"], *map(str, arguments)]
    if before:
        command = ["bash", "-c", before + '; exec "$0" "$@"', *command]
    if ranks > 1 or before:
        launcher = os.environ.get("ORTHANT_MPIRUN", "mpirun --oversubscribe --bind-to none")
        command = [*shlex.split(launcher), "-n", str(ranks), *command]
    env = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
               **(environment or {}))
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout)


def errors(process):
    """The error lines of a run; a launcher adds lines of its own."""
    return [line for line in process.stderr.splitlines() if line.startswith("orthant: error:")]


def train(folder, selection, *overrides):
    """Train in folder/selection; gives the run directory."""
    config = os.path.join(folder, "config.yaml")
    with open(config, "w") as out:
        out.write(CONFIG.format(train=TRAIN, latents=LATENTS, k=K))
    run_dir = os.path.join(folder, selection)
    done = run(["train", config, "--quiet", "--set", "run.dir=" + run_dir, f"run.steps={STEPS}",
                "model.selection=" + selection, *overrides])
    assert done.returncode == 0, done.stderr
    return run_dir


def newest(run_dir):
    """The path of the newest checkpoint."""
    folder = os.path.join(run_dir, "checkpoints")
    return os.path.join(folder, sorted(os.listdir(folder))[-1])


def weights(run_dir):
    """The newest checkpoint's W_enc, W_dec, b_enc, b_dec in double."""
    with h5py.File(newest(run_dir)) as file:
        return [file["model/" + name][:].astype(np.float64)
                for name in ("W_enc", "W_dec", "b_enc", "b_dec")]


def tokens(path=EVAL):
    """Activations after layernorm (RECIPES, input normalisation)."""
    with h5py.File(path) as file:
        x = file["activations"][:].astype(np.float64)
    x -= x.mean(1, keepdims=True)
    return x / (x.std(1, ddof=1, keepdims=True) + 1e-5)


def select_topafa(a, x, W_dec, b_dec):
    s = (a * np.linalg.norm(W_dec, axis=1)) ** 2
    order = np.argsort(-s, axis=1, kind="stable")
    sums = np.cumsum(np.take_along_axis(s, order, 1), 1)
    sums[:, -1] = 1e8
    target = np.linalg.norm(x - b_dec, axis=1, keepdims=True)
    keep = np.abs(np.sqrt(sums) - target).argmin(1) + 1
    mask = np.zeros(a.shape, bool)
    np.put_along_axis(mask, order, np.arange(a.shape[1])[None] < keep[:, None], 1)
    return a * mask


def codes(run_dir, selection, batch, x):
    """Dense codes (tokens, latents) of the selections of RECIPES, in double."""
    W_enc, W_dec, b_enc, b_dec = weights(run_dir)
    parts = []
    for part in np.split(x, range(batch, len(x), batch)):
        a = np.maximum((part - b_dec) @ W_enc.T + b_enc, 0)
        if selection == "topk":
            a[a < np.partition(a, -K, axis=1)[:, -K][:, None]] = 0
        elif selection == "batchtopk":
            a[a < np.partition(a.ravel(), -K * len(a))[-K * len(a)]] = 0
        else:
            a = select_topafa(a, part, W_dec, b_dec)
        parts.append(a)
    return np.concatenate(parts)
