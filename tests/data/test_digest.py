"""The digest sees every bit and name, and nothing else."""

import hashlib

import numpy as np

from portadnn.data.digest import digest

ARRAYS = {"W1": np.arange(6.0).reshape(2, 3), "b1": np.zeros((2, 1))}


def test_the_digest_is_that_of_the_canonical_bytes():
    written = b"b1 <f4 (1, 2)\n" + bytes.fromhex("0000803f00000040")
    found = digest({"b1": np.asarray([[1, 2]], np.float32)})
    assert found == hashlib.sha256(written).hexdigest()


def test_neither_order_of_names_nor_of_memory_nor_of_bytes_matters():
    reordered = {"b1": ARRAYS["b1"], "W1": np.asfortranarray(ARRAYS["W1"])}
    assert digest(reordered) == digest(ARRAYS)
    swapped = {name: x.astype(">f8") for name, x in ARRAYS.items()}
    assert digest(swapped) == digest(ARRAYS)


def test_names_shapes_dtypes_and_last_bits_matter():
    W1, b1 = ARRAYS["W1"], ARRAYS["b1"]
    others = [
        {"W2": W1, "b1": b1},
        {"W1": W1.reshape(3, 2), "b1": b1},
        {"W1": W1.astype(np.float32), "b1": b1},
        {"W1": W1, "b1": -b1},  # -0
        {"W1": np.nextafter(W1, 9.0), "b1": b1},
        {"W1": W1},
    ]
    assert len({digest(x) for x in (ARRAYS, *others)}) == len(others) + 1
