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
    top, files = files_of(path, wanted.part, labelled=wanted.labelled)
    shape = picture_shape(files, wanted.size)
    examples = load_images(files, shape, stream=wanted.stream).examples
    labels = np.asarray([file.parent.name for file in files])
    return Records(examples, labels, source=str(top))


def files_of(path: Path, part: str | None, *, labelled: bool) -> tuple[Path, list[Path]]:
    """The folder of a part and its pictures; without labels they may lie in the folder itself."""
    parted = part == "test" or (path / "train").is_dir()
    top = path / (part or "train") if parted else path
    if not top.is_dir():
        raise InputError(f"{path} has no test data: it has no folder {part!r}")
    try:
        files = _pictures([folder for folder in top.iterdir() if folder.is_dir()])
        files = files or _pictures([] if labelled else [top])
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error
    if not files:
        raise InputError(
            f"{top} holds no pictures in sub-folders: expected one folder of PNG or JPEG files for "
            f"each class"
        )
    return top, files


def has_test(path: Path) -> bool:
    return all((path / part).is_dir() for part in PARTS)


def _pictures(folders: list[Path]) -> list[Path]:
    """The pictures in these folders, sorted by name first, so that classes are mixed."""
    files = [
        file
        for folder in folders
        for file in folder.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
    ]
    return sorted(files, key=lambda file: (file.name, file.parent.name))
