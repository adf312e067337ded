"""Writes the small activation files next to it, one for each form that the reader meets.

Token i, value j (0-based, global row): ((7 i + 3 j) mod 64 - 32) / 8, exact in every float type.
Run: python3 make.py (needs h5py). tests/io/format_values.h holds the same formula.
"""

import os

import h5py
import numpy as np

FOLDER = os.path.dirname(os.path.abspath(__file__))
WIDTH = 6


def values(first, count, width=WIDTH):
    row, column = np.mgrid[first:first + count, 0:width]
    return ((7 * row + 3 * column) % 64 - 32) / 8.0


def write(name, data, dataset="activations", attribute=None, userblock=0, **options):
    with h5py.File(os.path.join(FOLDER, name + ".h5"), "w", userblock_size=userblock) as file:
        made = file.create_dataset(dataset, data=data, track_times=False, **options)
        if attribute:
            made.attrs["dtype"] = attribute


def bfloat16(data, order):
    return (data.astype("<f4").view("<u4") >> 16).astype(order + "u2")


def elsewhere():
    """Files whose values are said to lie in others, in every way that HDF5 has."""
    with h5py.File(os.path.join(FOLDER, "external-link.h5"), "w") as file:
        file["activations"] = h5py.ExternalLink("f4.h5", "activations")
    with h5py.File(os.path.join(FOLDER, "soft-link.h5"), "w") as file:
        file.create_dataset("hidden", data=values(0, 24).astype("<f4"), track_times=False)
        file["activations"] = h5py.SoftLink("/hidden")
    with h5py.File(os.path.join(FOLDER, "dangling-link.h5"), "w") as file:
        file["activations"] = h5py.SoftLink("/nothing")
    with h5py.File(os.path.join(FOLDER, "external-storage.h5"), "w") as file:
        file.create_dataset("activations", (24, WIDTH), "<f4", external=[("f4.h5", 0, 24 * WIDTH * 4)],
                            track_times=False)
    layout = h5py.VirtualLayout((24, WIDTH), "<f4")
    layout[:] = h5py.VirtualSource("f4.h5", "activations", (24, WIDTH))
    with h5py.File(os.path.join(FOLDER, "virtual.h5"), "w") as file:
        file.create_virtual_dataset("activations", layout)


def main():
    table = values(0, 24)
    for kind in ("f2", "f4", "f8"):
        write(kind, table.astype("<" + kind))
        write(kind + "-big", table.astype(">" + kind))
    write("bf16", bfloat16(table, "<"), attribute="bfloat16")
    write("bf16-big", bfloat16(table, ">"), attribute=np.bytes_("bfloat16"))
    write("chunked", table.astype("<f2"), chunks=(5, 4))
    write("gzip", table.astype(">f4"), chunks=(7, 6), compression="gzip", shuffle=True)
    write("userblock", table.astype("<f4"), userblock=512)
    # One table of 24 rows in five files of different lengths and types.
    first = 0
    for part, (count, kind) in enumerate([(5, "<f4"), (1, ">f8"), (0, "<f2"), (9, "<f2")]):
        write(f"part-{part}", values(first, count).astype(kind))
        first += count
    write("part-4", values(first, 24 - first).astype("<f2"), chunks=(4, 6), compression="gzip")

    broken = table.astype("<f4")
    broken[3, 2], broken[7, 0], broken[20, 5] = np.nan, np.inf, -np.inf
    write("nonfinite", broken)
    write("one-dimension", table[:, 0].astype("<f4"))
    write("three-dimensions", table.reshape(4, 6, 6).astype("<f4"))
    write("int32", table.astype("<i4"))
    write("uint16", bfloat16(table, "<"))
    write("no-rows", table[:0].astype("<f4"))
    write("width-5", values(0, 24, 5).astype("<f4"))
    write("lzf", table.astype("<f4"), chunks=(24, 6), compression="lzf")  # h5py's own filter
    write("other-name", table.astype("<f4"), dataset="hidden")
    elsewhere()


if __name__ == "__main__":
    main()
