"""Makes tests/golden/probes.h5, what tests/eval/test_probe.c compares with: values of twelve latents
on 400 tokens, labels of five tasks, and the logistic regressions that scikit-learn fits to each of
them, with the penalty of include/orthant/eval/probe.h.

    python3 tests/golden/probes.py FILE.h5        needs h5py, numpy, scikit-learn 1.2 or newer
"""
import sys

import h5py
import numpy as np
from sklearn.linear_model import LogisticRegression

TOKENS, LATENTS, L2 = 400, 12, 1e-6


def make_values(random):
    """Sparse values, and what is hard for a fit."""
    fires = random.random((TOKENS, LATENTS)) < 0.25
    values = np.where(fires, random.gamma(2.0, 1.5, (TOKENS, LATENTS)), 0.0)
    values[:, 1] = 0.0  # never fires
    values[:, 3] = 0.0  # fires once
    values[37, 3] = 2.5
    values[:, 4] = 0.5  # a second constant
    values[:, 5] = 3.0 + random.normal(0.0, 0.5, TOKENS)  # always fires
    values[:, 7] *= 1e-4  # the same latent in other units
    values[:, 8] *= 1e4
    return values.astype(np.float32)


def make_labels(random, values):
    """Of a probability that a latent sets; of a latent alone; rare; hardly any known; all equal."""
    labels = np.zeros((TOKENS, 5), np.int8)
    labels[:, 0] = random.random(TOKENS) < 1 / (1 + np.exp(2.0 - 1.2 * values[:, 0]))
    labels[:, 1] = values[:, 2] > 0
    labels[:, 2] = random.random(TOKENS) < 0.03
    labels[:, 3] = values[:, 6] + random.normal(0.0, 1.0, TOKENS) > 1.0
    values[:, 6] *= labels[:, 0]  # only on tokens of class 1: no finite minimum without a penalty
    values[:, 9] *= 1 - labels[:, 0]
    labels[random.random((TOKENS, 5)) < 0.1] = -1
    labels[random.random(TOKENS) < 0.8, 3] = -1
    labels[:, 4] = np.where(labels[:, 4] < 0, -1, 1)
    return labels


def fit(values, labels):
    """w, b, loss, accuracy of one latent for one task."""
    known = labels >= 0
    label = labels[known].astype(np.float64)
    value = values.astype(np.float64)
    scale = np.sqrt((value[value > 0] ** 2).mean()) if (value > 0).any() else 1.0
    units = value[known] / scale
    model = LogisticRegression(C=1 / (L2 * len(label)), solver="newton-cholesky", tol=1e-14,
                               max_iter=10000)
    model.fit(units[:, None], label)
    w, b = model.coef_[0, 0], model.intercept_[0]
    z = units * w + b
    loss = (np.logaddexp(0.0, z) - label * z).mean()
    return w / scale, b, loss, ((z > 0) == (label == 1)).mean()


def main():
    random = np.random.default_rng(49)
    values = make_values(random)
    labels = make_labels(random, values)
    with h5py.File(sys.argv[1], "w") as file:
        file["activations"] = values
        file["labels"] = labels
        file["labels"].attrs["task_names"] = "planted, exact, rare, few, all equal"
        file.attrs["l2"] = L2
        # [tasks x latents, 4], without the last task: a regression needs both classes.
        file["fits"] = np.array([fit(values[:, i], labels[:, task])
                                 for task in range(4) for i in range(LATENTS)])


if __name__ == "__main__":
    main()
