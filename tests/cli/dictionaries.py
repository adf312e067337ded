"""Models with chosen weights, for the tests of what is measured on dictionaries."""
import json
import os

import h5py
import numpy as np

import support


def make_model(folder, name, W_dec, W_enc=None, b_dec=None, k=4, norm="none", data=None):
    """A run directory whose only checkpoint holds these weights: one step at rate 0."""
    n, d = W_dec.shape
    weights, run_dir = os.path.join(folder, name + "-weights.h5"), os.path.join(folder, name)
    with h5py.File(weights, "w") as file:
        file["W_dec"] = W_dec.astype("f4")
        file["W_enc"] = (W_dec if W_enc is None else W_enc).astype("f4")
        if b_dec is not None:
            file["b_dec"] = b_dec.astype("f4")
    if data is None:
        data = support.write_activations(weights[:-3] + "-data.h5", support.tokens(64, d))
    config = os.path.join(folder, name + ".yaml")
    with open(config, "w") as file:
        json.dump({"run": {"dir": run_dir, "steps": 1}, "data": {"files": data},
                   "input": {"norm": norm}, "model": {"n_latent": n, "k": k},
                   "init": {"scheme": "file", "file": weights},
                   "train": {"batch": 32, "lr": 0, "decoder_norm": "none"}}, file)
    done = support.run(["train", config, "--quiet"])
    assert done.code == 0, done.stderr
    stored = support.checkpoint(run_dir, 1)["model/W_dec"]
    assert np.array_equal(stored, W_dec.astype("f4"))
    return run_dir


def cosines(A, B):
    """The cosines of all rows of A with all of B, in double; 0 for rows of zeros."""
    def unit(W):
        W = W.astype("f4").astype(np.float64)
        norm = np.linalg.norm(W, axis=1, keepdims=True)
        return np.divide(W, norm, out=np.zeros_like(W), where=norm > 0)
    return unit(A) @ unit(B).T
