"""Single pictures, brought to the shape that a model takes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from portadnn.data.dataset import Dataset
from portadnn.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


def load_images(paths: Sequence[str | os.PathLike[str]], input_shape: tuple[int, ...]) -> Dataset:
    """PNG or JPEG files as an unlabelled dataset of uint8 images of ``input_shape``.

    Parameters
    ----------
    paths : sequence of paths
    input_shape : (height, width), (height, width, 1) or (height, width, 3)
        What the model was trained on; pictures are converted to grey or RGB and resized.

    Raises
    ------
    InputError
        If a file is no picture, or the model does not take pictures.
    """
    from PIL import Image, ImageOps

    grey = len(input_shape) == 2 or (len(input_shape) == 3 and input_shape[2] == 1)
    if not grey and not (len(input_shape) == 3 and input_shape[2] == 3):
        raise InputError(
            f"the model takes examples of shape {input_shape}, not pictures: expected "
            f"(height, width), (height, width, 1) or (height, width, 3)"
        )
    rows = []
    for path in paths:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(path, formats=("PNG", "JPEG")) as image:
                    upright = ImageOps.exif_transpose(image)
                    converted = _eight_bits(upright).convert("L" if grey else "RGB")
                    resized = converted.resize((input_shape[1], input_shape[0]))
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file") from error
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError,
                Image.DecompressionBombWarning) as error:  # fmt: skip
            raise InputError(f"{path} cannot be read as a PNG or JPEG picture: {error}") from error
        rows.append(np.asarray(resized, dtype=np.uint8).reshape(input_shape))
    return Dataset(np.stack(rows), None, (), source="the pictures")


def _eight_bits(image: Any) -> Any:
    """A picture of 16 bits in 8; Pillow would cut off what is above 255."""
    from PIL import Image

    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image, dtype=np.float64)
    return Image.fromarray(np.round(np.clip(values, 0, 65535) / 257).astype(np.uint8))
