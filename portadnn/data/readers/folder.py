"""A folder with a sub-folder of pictures for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from portadnn.data.images import IMAGE_SUFFIXES, load_images, picture_shape
from portadnn.data.readers.records import PARTS, Records, Wanted
from portadnn.errors import InputError


def read(path: Path, wanted: Wanted) -> Records:
    """The pictures under ``path``, in the order of their names; their classes are their folders.

    If ``path`` has folders named train and test, they are the two parts of the data.
    """
    top = path
    if (path / "train").is_dir():
        top = path / (wanted.part or "train")
        if not top.is_dir():
            raise InputError(f"{path} has no folder {wanted.part!r}")
    files = pictures(top)
    if not files:
        raise InputError(
            f"{top} holds no pictures in sub-folders: expected one folder of PNG or JPEG files for "
            f"each class"
        )
    shape = picture_shape(files, wanted.size)
    examples = load_images(files, shape).examples
    classes = sorted({file.parent.name for file in files})
    index = {name: i for i, name in enumerate(classes)}
    labels = np.asarray([classes[index[file.parent.name]] for file in files])
    return Records(examples, labels, source=str(top))


def has_test(path: Path) -> bool:
    return all((path / part).is_dir() for part in PARTS)


def pictures(top: Path) -> list[Path]:
    """The pictures in the sub-folders, sorted by name first, so that classes are mixed."""
    try:
        folders = [folder for folder in top.iterdir() if folder.is_dir()]
        files = [
            file
            for folder in folders
            for file in folder.iterdir()
            if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
        ]
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error
    return sorted(files, key=lambda file: (file.name, file.parent.name))
