"""Loads the stand-in's libraries into a process and puts them under CuPy."""

import ctypes
import os
from pathlib import Path

from fake_cuda_kernels import compile_module

# in the order of loading: those after the first use its functions
LIBRARIES = ("libcuda.so.1", "libnvrtc.so.12", "libcublas.so.12", "libcublasLt.so.12")

COMPILER = ctypes.CFUNCTYPE(
    None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p
)
_kept = []  # C holds pointers to these, so Python must not free them


def install(runtime):
    """Take the place of CUDA before CuPy asks for it.

    A library that is loaded already is found by its name, wherever others of that name lie. The
    runtime is within CuPy's own module, which is loaded here, patched, and then imported as usual.

    Parameters
    ----------
    runtime : str
        The file of CuPy's module ``cupy_backends.cuda.api.runtime``.

    Raises
    ------
    ImportError
        If the system does not let code be changed in memory.
    """
    folder = Path(os.environ["FAKE_CUDA_BUILT"])
    libraries = [ctypes.CDLL(str(folder / name), ctypes.RTLD_GLOBAL) for name in LIBRARIES]
    cuda, nvrtc = libraries[:2]

    module = ctypes.CDLL(runtime)
    # nm gave offsets in the file, and one function's address here gives where the file begins
    address = ctypes.cast(module.PyInit_runtime, ctypes.c_void_p).value
    base = address - ctypes.c_long.in_dll(cuda, "fake_cuda_origin").value
    patches = ctypes.addressof(ctypes.c_char.in_dll(cuda, "fake_cuda_patches"))
    if cuda.fake_cuda_patch(ctypes.c_void_p(base), ctypes.c_void_p(patches)):
        raise ImportError("fake_cuda: the system does not let CuPy's code be changed in memory")

    compiler = COMPILER(_compile)
    nvrtc.fake_cuda_set_compiler(compiler)
    _kept.extend((*libraries, module, compiler))


def _compile(source, options, result, log):
    """Called by nvrtc.c, to which no exception can get: it must write a result or a log."""
    try:
        path = compile_module(source.decode(), options.decode().splitlines())
        _write(result, b"fake_cuda " + os.fsencode(path), 4096)
    except KeyboardInterrupt:
        pass  # neither of them: nvrtc.c sends the signal again
    except Exception as error:
        _write(log, str(error).encode() or b"unknown error", 16384)


def _write(buffer, text, size):
    text = text[: size - 1].decode(errors="ignore").encode() + b"\0"
    ctypes.memmove(buffer, text, len(text))
