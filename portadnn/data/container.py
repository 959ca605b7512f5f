"""The container of our own files: an HDF5 image behind a block with its length and SHA-256.

docs/file-format.md describes every byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h5py

from portadnn.data.files import check_hdf5_name, check_size, open_regular, whole_file
from portadnn.data.foreign import Hdf5File, open_hdf5, read_attribute, reading
from portadnn.errors import InputError

# as in PNG and HDF5, a transfer as text or the loss of the eighth bit changes it
_MAGIC = b"\x89DNN\r\n\x1a\n"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_VERSION = 1
_FIELDS = struct.Struct("<8sQQ32s")  # magic, version, the image's length and SHA-256
_BLOCK = 512  # bytes; the smallest userblock of HDF5, zero after the fields


@dataclass(frozen=True)
class Container:
    """A kind of our own files.

    Parameters
    ----------
    format : str
        Names the kind in the file; its last word names it in messages.
    command : str
        The command that writes such files, for messages.
    plain : int
        The version of the content in files that are older than the block.
    sealed : tuple of int
        The versions that are read behind the block. The last one is written.
    packed : bool
        Whether arrays of more than 1,000 values are compressed.
    """

    format: str
    command: str
    plain: int
    sealed: tuple[int, ...]
    packed: bool = False

    def write(
        self, path: str | os.PathLike[str], attributes: dict[str, Any], arrays: dict[str, Any]
    ) -> None:
        """Replace ``path`` by a file of these attributes and arrays, as ``whole_file`` does."""
        check_hdf5_name(path)
        with whole_file(path) as content:
            # libhdf5 crashes if memory ends while it writes, so first see that there is enough
            bytes(2 * sum(x.nbytes for x in arrays.values()) + 2**23)
            # the oldest layout is the one that every tool reads, and it keeps no times
            with h5py.File(content, "w", libver="earliest", userblock_size=_BLOCK) as file:
                file.attrs.update({"format": self.format, "version": self.sealed[-1], **attributes})
                for name, x in arrays.items():
                    gzip = "gzip" if self.packed and x.size > 1000 else None
                    file.create_dataset(name, data=x, compression=gzip, shuffle=bool(gzip))
            whole = content.getbuffer()
            whole[:_BLOCK] = _block(whole[_BLOCK:])

    @contextlib.contextmanager
    def open(self, path: str | os.PathLike[str]) -> Iterator[Hdf5File]:
        """The HDF5 file in ``path``, read once into memory and checked before it is parsed.

        Raises
        ------
        InputError
            If it is not a file of this kind, or is damaged; also if the ``with`` block raises.
        """
        content, sealed = _read(path)
        noun = self.format.split()[-1]
        with open_hdf5(path, content) as file, reading(path, f"is a damaged {noun}"):
            if "format" not in file.attrs or read_attribute(file, "format", str) != self.format:
                raise InputError(
                    f"{path} is not a {self.format}: expected a file of `{self.command}`"
                )
            version = read_attribute(file, "version", int)
            # a file that lost its block does not pass for an old one
            known, how = (self.sealed, "with") if sealed else ((self.plain,), "without")
            if version not in known:
                raise InputError(
                    f"{path} is a {noun} of format version {version} {how} a SHA-256: "
                    f"this portadnn reads {', '.join(map(str, known))}"
                )
            yield file


def _block(image: memoryview) -> bytes:
    """The 512 bytes that precede an image."""
    fields = _FIELDS.pack(_MAGIC, _VERSION, len(image), hashlib.sha256(image).digest())
    return fields.ljust(_BLOCK, b"\0")


def _read(path: str | os.PathLike[str]) -> tuple[bytes, bool]:
    """The content of a file, and whether it has a block, which then fits the rest."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        check_size(f"{path} has", size, "a model or a bundle")
        block = file.read(_BLOCK)
        if block.startswith(_HDF5):
            return block + file.read(), False
        if not block.startswith(_MAGIC):
            raise InputError(f"{path} is not an HDF5 file of portadnn, or its beginning is damaged")
        if len(block) < _BLOCK:
            raise InputError(f"{path} is damaged: it ends within its first {_BLOCK} bytes")
        _, version, length, _ = _FIELDS.unpack_from(block)
        if version != _VERSION:
            raise InputError(
                f"{path} is a container of version {version}: this portadnn reads {_VERSION}"
            )
        if length != size - _BLOCK:
            raise InputError(
                f"{path} is damaged: it holds {size - _BLOCK} bytes of HDF5 but was written with "
                f"{length}"
            )
        content = block + file.read()
    if block != _block(memoryview(content)[_BLOCK:]):
        raise InputError(f"{path} is damaged: its SHA-256 is not the one that it was written with")
    return content, True
