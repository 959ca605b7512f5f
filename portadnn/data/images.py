"""Single pictures, brought to the shape that a model takes."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from portadnn.data.dataset import Dataset
from portadnn.data.files import open_regular
from portadnn.data.foreign import MEBI, Budget, reading
from portadnn.data.stored import spooled, streams
from portadnn.errors import InputError, safe_text

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


logger = logging.getLogger("portadnn")


def load_images(
    paths: Sequence[str | os.PathLike[str]],
    input_shape: tuple[int, ...],
    *,
    ground: str = "white",
    stream: bool | None = None,
) -> Dataset:
    """PNG or JPEG files as an unlabelled dataset of uint8 images of ``input_shape``.

    Parameters
    ----------
    paths : sequence of paths
    input_shape : (height, width), (height, width, 1) or (height, width, 3)
        What the model was trained on; pictures are converted to grey or RGB and resized.
    ground : str
        The colour behind transparent parts, by its name or as "#rrggbb". A model that was trained
        on bright ink wants "black". The log says which pictures have such parts.
    stream : bool, optional
        As for ``load_dataset``.

    Raises
    ------
    InputError
        If a file is not a picture, the model does not take pictures, or the colour is unknown.
    """
    from PIL import Image, ImageColor, ImageOps

    grey = len(input_shape) == 2 or (len(input_shape) == 3 and input_shape[2] == 1)
    if not grey and not (len(input_shape) == 3 and input_shape[2] == 3):
        raise InputError(
            f"the model takes examples of shape {input_shape}, not pictures: expected "
            f"(height, width), (height, width, 1) or (height, width, 3)"
        )
    try:
        colour = ImageColor.getrgb(ground)[:3]
    except ValueError as error:
        raise InputError(
            f"unknown ground {ground!r}: expected a colour, for example white or #ffffff"
        ) from error
    transparent = []

    def read(path: str | os.PathLike[str]) -> np.ndarray:
        with _opened(path) as image:
            upright = ImageOps.exif_transpose(_eight_bits(image))
            if upright.has_transparency_data:
                layer = upright.convert("RGBA")
                upright = Image.new("RGBA", layer.size, (*colour, 255))
                upright.alpha_composite(layer)
                if layer.getchannel("A").getextrema() != (255, 255):
                    transparent.append(safe_text(str(path)))
            converted = upright.convert("L" if grey else "RGB")
            resized = converted.resize((input_shape[1], input_shape[0]))
        return np.asarray(resized, dtype=np.uint8).reshape(1, *input_shape)

    shape, kind = (len(paths), *input_shape), np.dtype(np.uint8)
    if streams(stream, shape, kind):
        rows: Any = spooled(map(read, paths), shape, kind, "the pictures")
    else:
        rows = np.concatenate([*map(read, paths)])
    if transparent:
        logger.warning("transparent parts are shown over %s: %s", ground, ", ".join(transparent))
    return Dataset(rows, None, (), source="the pictures")


def picture_shape(
    paths: Sequence[str | os.PathLike[str]], size: tuple[int, int] | None = None
) -> tuple[int, ...]:
    """The shape of the examples that pictures make: grey if all are grey, else RGB.

    Parameters
    ----------
    paths : sequence of paths
    size : (height, width), optional
        Default the size that all pictures have.

    Raises
    ------
    InputError
        If a file is not a picture, or the sizes differ and none is given.
    """
    grey = True
    first = None
    for path in paths:
        with _opened(path) as image:
            grey &= image.mode in ("1", "L", "LA", "I", "I;16")
            found = (image.height, image.width)
        if size is None and first is None:
            first = path, found
        elif first is not None and first[1] != found:
            raise InputError(
                f"{path} has {found[0]}x{found[1]} pixels, but {first[0]} has "
                f"{first[1][0]}x{first[1][1]}: expected one size. Bring all to one with --size N"
            )
    height, width = size or (first[1] if first else (0, 0))
    return (height, width) if grey else (height, width, 3)


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """A picture; whatever is wrong with it is an InputError that names the file."""
    from PIL import Image

    fault = "cannot be read as a PNG or JPEG picture"
    with open_regular(path) as file, reading(path, fault), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(file, formats=("PNG", "JPEG")) as image:
            budget = Budget(path, os.fstat(file.fileno()).st_size, 32 * MEBI)
            budget.take(f"a picture of {image.size} pixels", 4 * math.prod(image.size))
            yield image


def _eight_bits(image: Any) -> Any:
    """A picture with 8 bits a sample; the colour that PNG declares transparent is scaled too.

    Pillow would clip grey pictures with 16 bits at 255.
    """
    from PIL import Image

    key = image.info.get("transparency")
    if image.mode.startswith("I"):
        values = np.asarray(image, dtype=np.float64)
        eight = np.round(np.clip(values, 0, 65535) / 257).astype(np.uint8)
        alpha = np.where(values == key, 0, 255).astype(np.uint8)
        layers = [Image.fromarray(x) for x in (eight, alpha)]
        made = layers[0] if key is None else Image.merge("LA", layers)
        made.getexif().update(image.getexif())
        return made
    samples: Any = image.tile[0][-1] if image.tile else ""  # Pillow leaves the colour in these
    white = {"1": 1, "L;2": 3, "L;4": 15}.get(samples)
    if isinstance(key, int) and white:
        image.info["transparency"] = min(255 // white * key, 255)  # new Pillows scale it for "1"
    if isinstance(key, tuple) and samples == "RGB;16B":
        image.info["transparency"] = tuple(sample >> 8 for sample in key)
    return image
