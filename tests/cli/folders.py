"""Folders of other tools, written by numpy alone: random autoencoders as those tools save them."""
import json
import os

import numpy as np

D, N, K = 24, 64, 6
TOGETHER = 1.5  # the one threshold of batchtopk


def write_safetensors(path, tensors, dtype="f4", name="F32"):
    header, data, at = {}, b"", 0
    for key, value in tensors.items():
        part = np.ascontiguousarray(value, dtype).tobytes()
        header[key] = {"dtype": name, "shape": list(np.shape(value)),
                       "data_offsets": [at, at + len(part)]}
        data, at = data + part, at + len(part)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + data)


def weights(seed=0, n=N, d=D):
    """W_enc (n, d), W_dec (n, d), b_enc, b_dec, threshold in float32; decoder norms differ."""
    random = np.random.default_rng(seed)
    made = {"W_enc": random.normal(size=(n, d)) / 3, "W_dec": random.normal(size=(n, d)) / 3,
            "b_enc": random.normal(size=n) / 4, "b_dec": random.normal(size=d) / 4,
            "threshold": np.abs(random.normal(size=n))}
    return {name: value.astype("f4") for name, value in made.items()}


def saelens(folder, w, drop=(), **keys):
    """`drop`: keys that are missing; others replace or add."""
    os.makedirs(folder)
    config = {"architecture": "topk", "d_in": D, "d_sae": N, "k": K, "dtype": "float32",
              "device": "cpu", "apply_b_dec_to_input": True, "normalize_activations": "none",
              "reshape_activations": "none", "rescale_acts_by_decoder_norm": False,
              "metadata": {"sae_lens_version": "6.0.0"}, **keys}
    for key in drop:
        del config[key]
    with open(os.path.join(folder, "cfg.json"), "w") as file:
        json.dump(config, file)
    tensors = {"W_enc": w["W_enc"].T, "W_dec": w["W_dec"], "b_enc": w["b_enc"],
               "b_dec": w["b_dec"]}
    if config.get("architecture") == "jumprelu":
        tensors["threshold"] = w["threshold"]
    if config.get("architecture") == "batchtopk":
        tensors["topk_threshold"] = np.float32(TOGETHER)
    write_safetensors(os.path.join(folder, "sae_weights.safetensors"), tensors)
    return folder


def sparsify(folder, w, drop=(), tensors=None, **keys):
    os.makedirs(folder)
    config = {"activation": "topk", "expansion_factor": 32, "num_latents": N, "k": K,
              "normalize_decoder": True, "multi_topk": False, "skip_connection": False,
              "transcode": False, "d_in": D, **keys}
    for key in drop:
        del config[key]
    with open(os.path.join(folder, "cfg.json"), "w") as file:
        json.dump(config, file)
    write_safetensors(os.path.join(folder, "sae.safetensors"), {
        "encoder.weight": w["W_enc"], "encoder.bias": w["b_enc"], "W_dec": w["W_dec"],
        "b_dec": w["b_dec"], **(tensors or {})})
    return folder


def gemma_scope(folder, w):
    os.makedirs(folder)
    np.savez(os.path.join(folder, "params.npz"), W_enc=w["W_enc"].T, W_dec=w["W_dec"],
             b_enc=w["b_enc"], b_dec=w["b_dec"], threshold=w["threshold"])
    return folder


def codes(w, x, selection, centred=True, layernorm=False, normed=False):
    """(f, x_hat in the space of the normalised input) in double."""
    w = {name: value.astype(float) for name, value in w.items()}
    x = x.astype(float)
    if layernorm:
        x = x - x.mean(1, keepdims=True)
        x = x / (x.std(1, ddof=1, keepdims=True) + 1e-5)
    a = (x - w["b_dec"] * centred) @ w["W_enc"].T + w["b_enc"]
    norm = np.linalg.norm(w["W_dec"], axis=1) if normed else np.ones(len(w["W_dec"]))
    a = a * norm
    if selection == "topk":
        f = np.where(a >= np.partition(a, -K, axis=1)[:, -K][:, None], np.maximum(a, 0), 0)
    else:
        limit = {"jumprelu": w["threshold"], "batchtopk": TOGETHER, "relu": 0}[selection]
        f = np.where(a > limit, np.maximum(a, 0), 0)
    return f, (f / norm) @ w["W_dec"] + w["b_dec"]


def normalised(x, layernorm):
    x = x.astype(float)
    if not layernorm:
        return x
    x = x - x.mean(1, keepdims=True)
    return x / (x.std(1, ddof=1, keepdims=True) + 1e-5)


def read_safetensors(path):
    """(header, {name: float32 array})."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    header.pop("__metadata__", None)
    return header, {name: np.frombuffer(data[slice(*entry["data_offsets"])], "<f4").reshape(
        entry["shape"]) for name, entry in header.items()}
