#!/usr/bin/env python3
"""Makes the .pt files beside it, which the tests read without PyTorch:

    python3 -m venv venv && venv/bin/pip install torch==2.13.0 numpy && venv/bin/python make.py
"""
import os
import pathlib

import torch

here = os.path.dirname(os.path.abspath(__file__))


def save(name, value, **options):
    torch.save(value, os.path.join(here, name), **options)


w = torch.arange(12, dtype=torch.float32).reshape(3, 4) / 8
every = torch.tensor([0, 1, 2, 3, 100])
state = {
    "w": w,
    "transposed": w.t(),
    "part": w[1:, 1:3],
    "expanded": torch.tensor([0.5, 1.5, 2.5]).expand(4, 3),
    "cube": torch.arange(24, dtype=torch.float32).reshape(2, 3, 4).permute(2, 0, 1),
    "parameter": torch.nn.Parameter(w[0].clone()),
    "empty": torch.zeros(0, 4),
    "scalar": torch.tensor(7, dtype=torch.int32),
    "k": 32, "large": 2**40, "negative": -5, "rate": 2.5, "flag": True, "none": None,
    "activation": "TopK",
    "activation_state_dict": {"k": 32, "postact_fn": "ReLU", "deep": [1, w[0]]},
    3: "an integer key",
    "dtype": torch.float16,
    "size": torch.Size([3, 4]),
    "device": torch.device("cpu"),
}
for kind in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
             "bool", "uint16", "uint32", "uint64"):
    state[kind] = every.to(getattr(torch, kind))
for protocol in (2, 4):
    save(f"state-{protocol}.pt", state, pickle_protocol=protocol)

torch.manual_seed(0)
linear = torch.nn.Linear(2, 3)
with torch.no_grad():
    linear.weight.copy_(torch.arange(6).reshape(3, 2))
    linear.bias.copy_(torch.tensor([-1.0, 0.0, 1.0]))
save("module.pt", linear.state_dict())

save("tensor.pt", (torch.arange(20).reshape(5, 4) / 4).to(torch.bfloat16))
save("cache.pt", {"states": (torch.arange(24).reshape(2, 3, 4) / 4).half(),
                  "input_ids": torch.arange(6).reshape(2, 3)})
save("object.pt", {"w": w, "path": pathlib.PurePosixPath("a")})
save("old.pt", {"w": w}, _use_new_zipfile_serialization=False)
