"""Top-AFA exactly (Lee et al. 2025, arXiv 2503.24277, section 5), with numpy alone.

`orthant export` has put this file beside the weights, because the tool that they are for knows no
top-AFA: its thresholds are only the nearest to it that the tool can express.

    from top_afa import TopAFA
    sae = TopAFA("folder")           # where sae_weights.safetensors and orthant.json are
    f = sae.encode(x)                # (tokens, latents), zeros where nothing is selected
    x_hat = sae.decode(f, x)         # (tokens, d_model)

The rule, for a token x (after the input normalisation that the model was trained with):
    a_i = W_enc_i . (x - b_dec) + b_enc_i                            in float32
    s_i = (max(a_i, 0) |W_dec_i|)^2                                  in float64
    t   = |x - b_dec|, or |x| for a model of target "raw"            in float64
    q_i = min(2^39, max(1, round(s_i 2^38 / t^2))) where s_i > 0     in uint64
Strongest first (equals: the lower latent first), c_j is the sum of the first j q; the last of all
latents counts as 1e8 2^38 / t^2. Kept are the first j for which |sqrt(c_j) - 2^19| is least. Integer
sums do not depend on their order, so that the set is the same in any program.
"""
import json
import os

import numpy as np


def load_tensors(path):
    """{name: array} of a safetensors file of float32."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            assert entry["dtype"] == "F32", f"{name} is {entry['dtype']}, not F32"
            tensors[name] = np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"])
    return tensors


def kept(strength, target):
    """How many of the strongest are kept; strength (n) in descending order, target = t."""
    square = float(target) ** 2
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        units = strength * 2.0 ** 38 / square
        last = 1e8 * 2.0 ** 38 / np.float64(square)
    most = 2.0 ** 38 if square == 0 else 2.0 ** 39
    units = np.where(units < most, units, most)  # a division by t = 0 gives the most, too
    q = np.where(strength > 0, np.maximum(np.rint(units), 1.0), 0.0).astype(np.uint64)
    sums = np.cumsum(q, dtype=np.uint64).astype(np.float64)
    sums[-1] = last
    return 1 + int(np.argmin(np.abs(np.sqrt(sums) - 2.0 ** 19)))


class TopAFA:
    def __init__(self, folder):
        with open(os.path.join(folder, "orthant.json")) as file:
            about = json.load(file)
        tensors = load_tensors(os.path.join(folder, "sae_weights.safetensors"))
        self.centred = about["target"] == "centred"
        self.layernorm = about["input_norm"] == "layernorm"
        self.W_enc, self.W_dec = tensors["W_enc"], tensors["W_dec"]  # (d, n), (n, d)
        self.b_enc, self.b_dec = tensors["b_enc"], tensors["b_dec"]
        self.decoder_norm = np.linalg.norm(self.W_dec.astype(np.float64), axis=1)

    def normalise(self, x):
        """(x as the encoder sees it, mean, std)."""
        x = np.asarray(x, np.float32)
        if not self.layernorm:
            return x, np.float32(0), np.float32(1)
        mean = x.astype(np.float64).mean(-1, keepdims=True)
        std = x.astype(np.float64).std(-1, keepdims=True, ddof=1)
        return ((x - mean) / (std + 1e-5)).astype(np.float32), mean, std

    def encode(self, x):
        """Codes (tokens, n) of tokens (tokens, d)."""
        x, _, _ = self.normalise(x)
        centred = x - self.b_dec
        values = np.maximum(centred @ self.W_enc + self.b_enc, np.float32(0))
        targets = np.linalg.norm((centred if self.centred else x).astype(np.float64), axis=-1)
        for token, target in zip(values, targets):
            strength = (token.astype(np.float64) * self.decoder_norm) ** 2
            order = np.argsort(-strength, kind="stable")
            token[order[kept(strength[order], target):]] = 0
        return values

    def decode(self, f, x=None):
        """Reconstructions; a model that normalises its input needs x to map them back."""
        out = f @ self.W_dec + self.b_dec
        if not self.layernorm:
            return out
        _, mean, std = self.normalise(x)
        return (out * std + mean).astype(np.float32)
