"""``portadnn export``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from portadnn.cli.options import EXIT_WRONG, JsonOption


def export(
    model: Path,
    out: Path,
    /,
    *,
    format: Literal["hdf5", "onnx", "safetensors"] | None = None,
    as_json: JsonOption = False,
) -> int:
    """Write a model in another format, and say what was checked of the file.

    An ONNX file is run on 100 random rows if onnxruntime is installed. Exit code 1 if the file does
    not fit the model.

    Parameters
    ----------
    model
        A model.h5 of `portadnn train`, or a model.safetensors of this command.
    out
        The file to write.
    format
        Default by the suffix of the file: .h5, .onnx or .safetensors.
    """
    from portadnn.cli.output import print_json, print_line
    from portadnn.data.files import format_of
    from portadnn.errors import InputError
    from portadnn.export.formats import FORMATS, checked
    from portadnn.training.models import fingerprint

    names = [str(format_of(path)).lower() for path in (model, out)]
    row = FORMATS.get(format or names[1])
    load = FORMATS.get(names[0], FORMATS["hdf5"]).load
    if row is None:
        raise InputError(f"{out} does not have the suffix of a model format: expected one of "
                         f".h5, .onnx, .safetensors, or --format")  # fmt: skip
    if load is None:
        raise InputError(f"{model} is an ONNX file, which portadnn does not read: expected .h5 or "
                         f".safetensors")  # fmt: skip
    loaded = load(model)
    row.save(loaded, out)
    found = checked(out, loaded, row)
    again = fingerprint(loaded if row.load is None else row.load(out))
    fits = again == fingerprint(loaded) and found.get("ratio", 0.0) <= 1
    if as_json:
        print_json({"file": str(out), "fingerprint": fingerprint(loaded), "fits": fits, **found})
        return 0 if fits else EXIT_WRONG
    said = f"it was not run, because {row.runtime} is not installed"
    if found:
        said = (f"{found['runtime']} computed {found['rows']} random rows: the largest error is "
                f"{found['error']:.2g}, and {found['ratio']:.2g} of its bound")  # fmt: skip
    elif row.load is not None:
        said = f"read back, its weights have the SHA-256 {again[:12]}..."
    print_line(f"{out}: {said}{'' if fits else ': IT DOES NOT FIT THE MODEL'}")
    return 0 if fits else EXIT_WRONG
