"""Single pictures, brought to the shape that a model takes."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from portadnn.data.dataset import Dataset
from portadnn.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


logger = logging.getLogger("portadnn")


def load_images(
    paths: Sequence[str | os.PathLike[str]],
    input_shape: tuple[int, ...],
    *,
    ground: str = "white",
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

    Raises
    ------
    InputError
        If a file is no picture, the model does not take pictures, or the colour is unknown.
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
    rows = []
    transparent = []
    for path in paths:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(path, formats=("PNG", "JPEG")) as image:
                    upright = ImageOps.exif_transpose(_eight_bits(image))
                    if upright.has_transparency_data:
                        layer = upright.convert("RGBA")
                        upright = Image.new("RGBA", layer.size, (*colour, 255))
                        upright.alpha_composite(layer)
                        if layer.getchannel("A").getextrema() != (255, 255):
                            transparent.append(str(path))
                    converted = upright.convert("L" if grey else "RGB")
                    resized = converted.resize((input_shape[1], input_shape[0]))
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file") from error
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError,
                Image.DecompressionBombWarning) as error:  # fmt: skip
            raise InputError(f"{path} cannot be read as a PNG or JPEG picture: {error}") from error
        rows.append(np.asarray(resized, dtype=np.uint8).reshape(input_shape))
    if transparent:
        logger.warning("transparent parts are shown over %s: %s", ground, ", ".join(transparent))
    return Dataset(np.stack(rows), None, (), source="the pictures")


def _eight_bits(image: Any) -> Any:
    """A picture with 8 bits a sample, also in the colour that PNG declares transparent.

    Of grey pictures with 16 bits Pillow would cut off what is above 255.
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
    if isinstance(key, int) and samples in ("L;2", "L;4"):
        image.info["transparency"] = key * (85 if samples == "L;2" else 17)
    if isinstance(key, tuple) and samples == "RGB;16B":
        image.info["transparency"] = tuple(sample >> 8 for sample in key)
    return image
