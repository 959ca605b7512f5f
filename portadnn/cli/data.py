"""Finding the examples that a command was given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portadnn.data.dataset import Dataset


def load_split(path: Path | None, split: str | None, *, labelled: bool = True) -> Dataset:
    """A split of an HDF5 file, or of the embedded digits; by default test where it is there."""
    from portadnn.data.hdf5 import has_split, load_dataset, load_digits

    if path is None:
        train, test = load_digits()
        return train if split == "train" else test
    split = split or ("test" if has_split(path, "test") else "train")
    return load_dataset(path, split, labelled=labelled)
