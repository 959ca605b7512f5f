"""Out of memory: every backend says how much was wanted and what to do, in one line."""

import pytest

from portadnn.backends import get_backend
from portadnn.errors import InputError, OutOfMemoryError


def test_what_no_machine_has(backend):
    if backend.library == "dask":
        pytest.skip("it fills the memory chunk by chunk")
    with pytest.raises(OutOfMemoryError) as caught, backend.scope():
        backend.to_numpy(backend.xp.zeros((10**6, 10**7), dtype=backend.dtype))  # 40 TB or 80
    text = str(caught.value)
    assert text.startswith(f"the backend {backend.name!r} ran out of memory")
    wanted = {
        "float32": ("36.4 TiB", "38,146,972.7 MiB"),
        "float64": ("72.8 TiB", "76,293,945.3 MiB"),
    }
    assert any(
        f"it wanted {amount}. Take a smaller" in text for amount in wanted[backend.dtype_name]
    )
    assert ("float32" in text) == (backend.dtype_name == "float64")
    assert isinstance(caught.value, InputError)
    assert isinstance(caught.value, MemoryError)


def test_training_that_no_machine_can_hold(backend_name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["train", "--layers", "1000000,1000000", "--epochs", "1", "--backend", backend_name]
    pytest.importorskip("cyclopts")
    from portadnn.cli.main import main

    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "it wanted 7.28 TiB. Take a smaller batch size" in error


@pytest.mark.parametrize("error", [ZeroDivisionError("40 bytes"), RuntimeError("odd"), KeyError(1)])
def test_other_errors_are_as_they_were(backend, error):
    with pytest.raises(type(error)) as caught, backend.scope():
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("torch", "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 3 GiB", "20.00 GiB"),
        (
            "torch",
            "MPS backend out of memory (MPS allocated: 4 GB). Tried to allocate 5 MB",
            "5 MB",
        ),
        ("torch", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling", "more than there is"),
        ("jax", "RESOURCE_EXHAUSTED: Out of memory allocating 2097152 bytes.", "2.0 MiB"),
        ("cupy", "cudaErrorMemoryAllocation: out of memory", "more than there is"),
    ],
)
def test_the_words_of_the_libraries(name, text, wanted, require):
    require(name)
    told = pytest.raises(OutOfMemoryError, match=f"it wanted {wanted}. Take")
    with told, get_backend(name).scope():
        raise RuntimeError(text)


def test_an_error_of_an_inner_scope_is_told_once():
    outer = get_backend("strict", dtype="float64")
    told = pytest.raises(OutOfMemoryError, match="the backend 'numpy' ran.*wanted more than")
    with told, outer.scope(), get_backend("numpy").scope():
        raise MemoryError


def test_the_pool_of_a_gpu(cupy):
    backend = get_backend("cupy")
    pool = cupy.cuda.MemoryPool()
    pool.set_limit(size=2**20)
    told = pytest.raises(OutOfMemoryError)
    with cupy.cuda.using_allocator(pool.malloc), told as caught, backend.scope():
        backend.xp.zeros(2**20, dtype=backend.dtype)
    assert "it wanted 4.0 MiB" in str(caught.value)
    assert isinstance(caught.value.__cause__, cupy.cuda.memory.OutOfMemoryError)
