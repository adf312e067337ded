#!/usr/bin/env python3
"""Writes elbo.json: eLBO and the ZF plot's counts, in double, of tokens whose |z|^2 and |f~|^2 the
authors of the top-AFA paper (Lee et al. 2025, arXiv 2503.24277) published for public SAEs: the last
tokens of the first sequences in visualization/output_csv of github.com/SewoongLee/top-afa-sae,
layer after layer, as their notebook visualization/zf-plot.ipynb (commit 2190aabd) measured them
(OpenWebText2, 128 tokens each), and the ten rows of that table which the notebook prints.

What the notebook computes, and this program follows:
- the cell that writes the table: f~ = (f_i |W_dec,i|, |b_dec|), ftf = f~ . f~, ztz = z . z, and the
  norms are their square roots;
- the first cell: h, the number of latents, is 24576 or 16384: the bias, though a coordinate of f~,
  is not counted;
- the cell that draws the ZF plot ("show_error_bound"): for e = eps (h - 1) of 0.25, 0.5 and 1 the
  lines |f~| = |z| sqrt(1 / (1 + e)) and |f~| = |z| sqrt(1 / (1 - e)), where a slope of 999 stands
  for infinity at e = 1, and each is labelled with eps = e / (h - 1).

The stored notebook has no cell that prints eLBO. It is the least eps whose two lines enclose the
token: here found by bisection of the lines above, then held against the paper's closed form
|ztz - ftf| / ((h - 1) ftf). Nothing here shares a line with Orthant or with the notebook."""
import json
import os

import numpy as np

GPT2 = {  # gpt2-small-res-jb: a row is a sequence, its columns layers 1 to 12
    "ztz": [[19.033733, 2294.8555, 2822.698, 3059.0203, 3719.8765, 4684.6187, 6287.6064, 7480.3677,
             10002.135, 14380.996, 22458.186, 48088.69],
            [27.742373, 2264.1401, 3056.1519, 3607.2263, 4650.7656, 5356.8027, 7010.465, 8108.4395,
             9392.07, 12673.361, 18935.691, 35906.89],
            [21.477196, 2298.8477, 2775.8413, 3112.2798, 3888.4668, 4563.563, 5682.883, 7316.591,
             9104.976, 13892.085, 23707.785, 49595.11],
            [20.562828, 2244.6216, 2922.5234, 3043.454, 3432.232, 4112.2954, 4943.9033, 5791.5586,
             8007.7437, 13867.177, 22778.084, 54027.855],
            [21.057587, 2597.3042, 3412.8828, 3977.4238, 4534.2646, 5242.0845, 6451.738, 7919.3125,
             10757.428, 14148.755, 23312.234, 50776.594],
            [26.311165, 2706.5342, 3535.1555, 3922.3198, 4395.4795, 4801.122, 5244.2393, 6470.6436,
             8761.828, 11563.404, 15597.791, 36400.324]],
    "ftf": [[17.208841, 2104.2947, 2538.373, 2596.0327, 2721.1763, 3014.9897, 3549.58, 4484.238,
             6076.42, 8523.018, 14508.951, 36379.758],
            [27.096485, 2508.1597, 3242.0322, 3481.415, 3781.6714, 4100.385, 4827.7593, 5518.4956,
             6643.7905, 9446.369, 15859.023, 36739.223],
            [18.326927, 2169.2107, 2571.4236, 2554.6274, 2880.268, 3256.852, 3821.681, 5066.222,
             6144.181, 8117.207, 13971.737, 35192.21],
            [17.045866, 2088.683, 2322.2393, 2443.9548, 2620.5852, 2891.439, 3357.1318, 3988.2988,
             5504.077, 8252.173, 14388.106, 36743.176],
            [20.689224, 2742.946, 3628.2935, 3662.7185, 3357.667, 3649.068, 4123.5654, 4506.131,
             5811.786, 8627.972, 13945.246, 35658.742],
            [25.21339, 2804.7002, 3234.6714, 3386.2393, 3503.7876, 3776.0525, 3989.4863, 4752.26,
             5701.5186, 8355.35, 14553.483, 38058.434]],
}
GEMMA = {  # gemma-scope-2b-pt-res-canonical, width 16k: columns layers 1 to 25
    "ztz": [[2756.664, 4301.2373, 3301.2075, 3757.3667, 3989.975, 5376.809, 5397.652, 7644.1235,
             7619.264, 11385.514, 14659.609, 18795.402, 19743.422, 31518.508, 31984.54, 45892.797,
             58101.914, 60059.22, 78770.164, 105561.22, 137029.22, 181760.28, 256197.94, 341499.3,
             451614.53],
            [5944.4893, 6522.179, 8011.7627, 7760.9775, 9184.777, 9512.049, 12473.93, 13569.145,
             21717.559, 24870.39, 27913.934, 36350.156, 29257.9, 40660.656, 40745.586, 52086.953,
             66187.94, 69225.76, 76994.36, 105367.19, 143373.38, 189000.1, 248947.19, 300330.28,
             351941.28],
            [6251.085, 7402.86, 9707.202, 12229.643, 13797.682, 12349.58, 13983.786, 17785.129,
             21175.582, 26645.71, 28384.637, 40585.547, 32788.383, 42982.684, 41280.508, 60340.12,
             66013.42, 59822.06, 72130.05, 72454.13, 95194.53, 115135.12, 152212.06, 192011.6,
             240790.44]],
    "ftf": [[2746.438, 4294.17, 3641.2153, 4240.524, 3394.3477, 4169.8667, 4293.892, 5211.3096,
             6280.0615, 8161.132, 9162.163, 11120.047, 11916.88, 17301.762, 19523.639, 24770.309,
             33293.816, 36675.152, 48132.633, 60755.613, 78147.664, 110383.625, 142027.81, 182682.0,
             234005.64],
            [8590.425, 5593.954, 7400.3965, 5023.8154, 7953.232, 5676.7617, 6848.2373, 7530.9277,
             10253.4, 10983.666, 12295.5625, 16123.402, 14874.817, 19736.852, 21841.656, 27165.744,
             36210.65, 38319.1, 49407.64, 61420.938, 80341.7, 110233.92, 143588.16, 172727.28,
             201777.31],
            [6324.6577, 7796.0923, 16920.35, 6779.5884, 17214.262, 7523.941, 8482.827, 9687.088,
             10916.234, 12619.414, 13325.861, 17948.842, 15825.525, 19870.48, 22932.725, 30014.193,
             37348.594, 36395.66, 48356.062, 55033.26, 67401.55, 90531.375, 117437.48, 146333.53,
             216188.53]],
}


# gpt2-small-res-jb, rows 0 to 4 and 11995 to 11999: ztz, ftf, |z| and |f~| as the notebook prints
# them. Three of these tokens are below the lowest line.
PRINTED = [
    (19.033733, 17.208841, 4.362767, 4.148354),
    (2294.855500, 2104.294700, 47.904650, 45.872593),
    (2822.698000, 2538.373000, 53.129070, 50.382270),
    (3059.020300, 2596.032700, 55.308410, 50.951280),
    (3719.876500, 2721.176300, 60.990790, 52.164894),
    (11087.618000, 4419.363300, 105.297760, 66.478294),
    (15839.279000, 5757.351600, 125.854200, 75.877210),
    (19738.941000, 7991.003400, 140.495350, 89.392410),
    (24954.754000, 13457.385000, 157.970730, 116.005970),
    (41531.570000, 34468.242000, 203.792950, 185.656250),
]

PLOTTED = (0.25, 0.5, 1.0)  # eps (h - 1) of the lines
STEEP = 999.0               # the notebook's slope for infinity


def slopes(e):
    """|f~| / |z| of the lines for eps (h - 1) = e."""
    return np.sqrt(1 / (1 + e)), np.sqrt(1 / (1 - e)) if e < 1 else STEEP


def encloses(e, ratio):
    lower, upper = slopes(e)
    return lower <= ratio <= upper


def least_e(ratio):
    """The least e whose lines enclose a token with |f~| / |z| = ratio, to the last bits."""
    low, high = 0.0, 1.0
    while not encloses(high, ratio):
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (low, middle) if encloses(middle, ratio) else (middle, high)
    return high


def figures(name, h, ztz, ftf):
    ztz, ftf = np.array(ztz, np.float64), np.array(ftf, np.float64)
    ratio = np.sqrt(ftf) / np.sqrt(ztz)
    elbo = np.array([least_e(r) for r in ratio]) / (h - 1)
    np.testing.assert_allclose(elbo, np.abs(ztz - ftf) / ((h - 1) * ftf), rtol=1e-10)
    within = [sum(bool(encloses(e, r)) for r in ratio) for e in PLOTTED]
    return {"name": name, "n_latent": h, "ztz": ztz.tolist(), "ftf": ftf.tolist(),
            "elbo": elbo.tolist(), "median": float(np.percentile(elbo, 50)),
            "q25": float(np.percentile(elbo, 25)), "q75": float(np.percentile(elbo, 75)),
            "mean": float(elbo.mean()), "over": int(np.sum(ratio > 1)),
            "under": int(np.sum(ratio < 1)), "within": within}


def main():
    sets = []
    for name, h, published in (("gpt2-small-res-jb", 24576, GPT2),
                               ("gemma-scope-2b-16k", 16384, GEMMA)):
        ztz, ftf = np.array(published["ztz"]), np.array(published["ftf"])
        sets.append(figures(name, h, ztz.ravel(), ftf.ravel()))
        sets += [figures(f"{name}, layer {i + 1}", h, ztz[:, i], ftf[:, i])
                 for i in range(ztz.shape[1])]
    ztz, ftf, norm_z, norm_f = np.array(PRINTED).T
    np.testing.assert_allclose(np.sqrt([ztz, ftf]), [norm_z, norm_f], rtol=2e-7)
    sets.append(figures("gpt2-small-res-jb, printed", 24576, ztz, ftf))
    sets += [figures(f"gpt2-small-res-jb, printed, token {i}", 24576, ztz[i:i + 1], ftf[i:i + 1])
             for i in range(len(PRINTED))]
    lines = [{"e": e, "lower": float(slopes(e)[0]), "upper": float(slopes(e)[1])} for e in PLOTTED]
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "elbo.json")
    with open(path, "w") as file:
        json.dump({"lines": lines, "sets": sets}, file, indent=None, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
