"""What the real packages make of a folder; run by the Python of the virtual environment of
test_packages_long.py, which has torch and them.

    packages.py run TOOL FOLDER X.npy OUT.npz    load the folder, encode and decode the tokens
    packages.py save KIND FOLDER X.npy OUT.npz   let the package save an autoencoder with random
                                                 weights, and encode and decode with that
OUT.npz gets `f` (tokens, n) and `x_hat` (tokens, d)."""
import json
import os
import sys

import numpy as np
import torch

torch.set_grad_enabled(False)
torch.set_num_threads(2)


def saelens():
    import sae_lens
    return sae_lens


# ---- running what Orthant has exported ----

def run_saelens(folder, x):
    sae = saelens().SAE.load_from_disk(folder, device="cpu")
    f = sae.encode(x)
    return f, sae.decode(f)


def run_sparsify(folder, x):
    from sparsify import SparseCoder
    sae = SparseCoder.load_from_disk(folder, device="cpu").float()
    out = sae.encode(x)
    f = torch.zeros(len(x), sae.num_latents).scatter_(1, out.top_indices, out.top_acts)
    return f, sae.decode(out.top_acts, out.top_indices)


def run_dictionary_learning(folder, x):
    from dictionary_learning.utils import load_dictionary
    sae, _ = load_dictionary(folder, "cpu")
    f = sae.encode(x)
    return f, sae.decode(f)


class OpenAI:
    """The forward of OpenAI's sparse_autoencoder, which is not on PyPI, written anew from its
    published description (Gao et al. 2024, section 2 and the repository's README): layer-normalise,
    f = ReLU(TopK(W_enc (x - pre_bias) + latent_bias)), x_hat = W_dec f + pre_bias, mapped back."""

    def __init__(self, state):
        self.state = state
        assert state["activation"] == "TopK"
        assert state["activation_state_dict"]["postact_fn"] == "ReLU"
        self.k = state["activation_state_dict"]["k"]
        assert state["stats_last_nonzero"].dtype == torch.int64

    def run(self, x):
        s = self.state
        mean = x.mean(-1, keepdim=True)
        std = (x - mean).std(-1, keepdim=True)
        a = ((x - mean) / (std + 1e-5) - s["pre_bias"]) @ s["encoder.weight"].T + s["latent_bias"]
        top = torch.topk(a, self.k, dim=-1)
        f = torch.zeros_like(a).scatter_(-1, top.indices, torch.relu(top.values))
        return f, (f @ s["decoder.weight"].T + s["pre_bias"]) * std + mean


def run_openai(folder, x):
    path = os.path.join(folder, "autoencoder.pt")
    return OpenAI(torch.load(path, weights_only=True)).run(x)


def run_top_afa(folder, x):
    sys.path.insert(0, folder)
    from top_afa import TopAFA
    sae = TopAFA(folder)
    f = sae.encode(x.numpy())
    return torch.from_numpy(f), torch.from_numpy(sae.decode(f, x.numpy()))


RUN = {"saelens": run_saelens, "sparsify": run_sparsify,
       "dictionary_learning": run_dictionary_learning, "openai": run_openai,
       "top_afa": run_top_afa}


# ---- what the packages save ----

N = 512


def fill(sae, seed=3):
    """Random weights, so that nothing is special: norms of decoder rows differ."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in sae.named_parameters():
        scale = 0.1 if value.ndim == 2 else 0.2
        value.data = torch.randn(value.shape, generator=generator) * scale
        if "threshold" in name:
            value.data = value.data.abs()


def save_saelens(kind, folder, d):
    lens = saelens()
    common = {"d_in": d, "d_sae": N, "device": "cpu"}
    configs = {
        "topk": lambda: lens.TopKSAEConfig(k=20, **common),
        "topk-rescaled": lambda: lens.TopKSAEConfig(
            k=20, rescale_acts_by_decoder_norm=True, normalize_activations="layer_norm", **common),
        "jumprelu": lambda: lens.JumpReLUSAEConfig(apply_b_dec_to_input=False, **common),
        "standard": lambda: lens.StandardSAEConfig(normalize_activations="layer_norm", **common)}
    config = configs[kind]()
    classes = {"topk": lens.TopKSAE, "topk-rescaled": lens.TopKSAE, "jumprelu": lens.JumpReLUSAE,
               "standard": lens.StandardSAE}
    sae = classes[kind](config)
    fill(sae)
    sae.save_model(folder)
    return run_saelens


def save_sparsify(kind, folder, d):
    from sparsify import SparseCoder, SparseCoderConfig
    sizes = {"num_latents": N} if kind == "sized" else {"expansion_factor": 2}
    sae = SparseCoder(d, SparseCoderConfig(k=20, **sizes),
                      dtype=torch.bfloat16 if kind == "bf16" else torch.float32)
    fill(sae)
    if kind == "bf16":
        sae = sae.to(torch.bfloat16)
    sae.save_to_disk(folder)
    return run_sparsify


def save_dictionary_learning(kind, folder, d):
    from dictionary_learning.dictionary import AutoEncoder, JumpReluAutoEncoder
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK
    classes = {"AutoEncoderTopK": lambda: AutoEncoderTopK(d, N, 20),
               "BatchTopKSAE": lambda: BatchTopKSAE(d, N, 20),
               "AutoEncoder": lambda: AutoEncoder(d, N),
               "JumpReluAutoEncoder": lambda: JumpReluAutoEncoder(d, N)}
    sae = classes[kind]()
    fill(sae)
    if kind == "BatchTopKSAE":
        sae.threshold.fill_(3.0)
    os.makedirs(folder)
    torch.save(sae.state_dict(), os.path.join(folder, "ae.pt"))
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump({"trainer": {"dict_class": kind, "k": 20}, "buffer": {}}, file)
    return run_dictionary_learning


def save_openai(_, folder, d):
    generator = torch.Generator().manual_seed(5)
    state = {"pre_bias": torch.randn(d, generator=generator) * 0.2,
             "latent_bias": torch.randn(N, generator=generator) * 0.2,
             "stats_last_nonzero": torch.zeros(N, dtype=torch.long),
             "latents_activation_frequency": torch.ones(N),
             "latents_mean_square": torch.zeros(N),
             "encoder.weight": torch.randn(N, d, generator=generator) * 0.1,
             "decoder.weight": (torch.randn(N, d, generator=generator) * 0.1).T,
             "activation": "TopK", "activation_state_dict": {"k": 20, "postact_fn": "ReLU"}}
    os.makedirs(folder)
    torch.save(state, os.path.join(folder, "autoencoder.pt"))
    return run_openai


def save_gemma_scope(_, folder, d):
    """As the published folders: the encoder sees x itself."""
    random = np.random.default_rng(6)
    arrays = {"W_enc": random.normal(size=(d, N)) * 0.1, "W_dec": random.normal(size=(N, d)) * 0.1,
              "b_enc": random.normal(size=N) * 0.2, "b_dec": random.normal(size=d) * 0.2,
              "threshold": np.abs(random.normal(size=N)) * 2}
    arrays = {name: value.astype("f4") for name, value in arrays.items()}
    os.makedirs(folder)
    np.savez(os.path.join(folder, "params.npz"), **arrays)

    def run(_, x):
        a = x @ torch.from_numpy(arrays["W_enc"]) + torch.from_numpy(arrays["b_enc"])
        f = torch.relu(a) * (a > torch.from_numpy(arrays["threshold"]))
        return f, f @ torch.from_numpy(arrays["W_dec"]) + torch.from_numpy(arrays["b_dec"])

    return run


SAVE = {"saelens": save_saelens, "sparsify": save_sparsify,
        "dictionary_learning": save_dictionary_learning, "openai": save_openai,
        "gemma_scope": save_gemma_scope}


def main():
    """Commands come one a line on stdin, so that torch is loaded once: JSON lists of words."""
    for line in sys.stdin:
        what, tool, folder, data, out = json.loads(line)
        x = torch.from_numpy(np.load(data))
        if what == "save":
            tool, _, kind = tool.partition("/")
            f, x_hat = SAVE[tool](kind, folder, x.shape[1])(folder, x)
        else:
            f, x_hat = RUN[tool](folder, x)
        np.savez(out, f=f.float().numpy(), x_hat=x_hat.float().numpy())
        print("done", flush=True)


if __name__ == "__main__":
    main()
