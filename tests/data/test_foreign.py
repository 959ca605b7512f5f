"""Files of strangers take no more memory than they can honestly hold, and each fault is named."""

import os
import struct
import tracemalloc
import zlib

import h5py
import numpy as np
import pytest
from data.test_hdf5 import CLASSES, X, Y, course_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portadnn.data import foreign
from portadnn.data.container import Container
from portadnn.data.dataset import Dataset
from portadnn.data.files import whole_file
from portadnn.data.foreign import Budget, open_hdf5, read_array, read_attribute
from portadnn.data.images import load_images
from portadnn.data.load import load_dataset
from portadnn.errors import InputError, OutOfMemoryError, safe_text
from portadnn.network.spec import Network
from portadnn.training.models import Model, load_model, save_model

MEBI = 2**20
ROWS = X.reshape(4, 12)


@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "folder", "absent", "loop"])
def test_only_regular_files_are_read(tmp_path, kind):
    os.mkfifo(tmp_path / "pipe")  # nobody writes to it: an ordinary open would wait for ever
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    message = {"folder": "Is a directory", "absent": "no such file", "loop": "Too many levels"}
    message = message.get(kind, "is a pipe or a device: expected a regular file")
    with pytest.raises(InputError, match=message), open_hdf5(tmp_path / kind):
        pass


def test_an_image_in_memory_goes_by_the_name_of_its_file(tmp_path):
    with whole_file(tmp_path / "a.h5") as content, h5py.File(content, "w") as file:
        file["x"] = np.arange(3)
    image = (tmp_path / "a.h5").read_bytes()
    with open_hdf5("/absent/ä.h5", image) as file:
        assert file.filename == "/absent/ä.h5"
        np.testing.assert_array_equal(file["x"], [0, 1, 2])
    with pytest.raises(InputError, match="ä.h5 is a damaged HDF5 file"), open_hdf5("ä.h5", b"no"):
        pass


def refused(read, path, message):
    """The InputError that reading raises, without much memory on the way."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=message) as caught:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 20 * MEBI
    finally:
        tracemalloc.stop()
    text = str(caught.value)
    assert str(path) in text
    assert text == safe_text(text)
    return text


def data_with(path, shape=(4, 12), dtype="u1", **options):
    """A data set whose examples are stored in another way."""
    course_file(path, train_set_x=None)
    with h5py.File(path, "a") as file:
        return file.create_dataset("train_set_x", shape, dtype, **options) and path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (2**34, 1)}, "has 0 of its 17,179,869,184 bytes in the file"),
        ({"shape": (20 * 2**20, 2**10), "chunks": (1, 2**10)}, "has 0 of its 20,971,520 chunks"),
        ({"shape": (2**62, 2**62), "chunks": (1, 1)}, "has 0 of its 21,.* chunks"),
        ({"fillvalue": 7}, "has 0 of its 48 bytes"),
        ({"chunks": (2**26, 2), "maxshape": (None, 12)}, "has chunks of 128.0 MiB"),
        ({"chunks": (2, 12), "scaleoffset": 3}, "has the filters number 6"),
    ],
)
def test_what_is_not_stored_or_in_chunks_too_large_is_refused(tmp_path, options, message):
    path = data_with(tmp_path / "a.h5", **options)
    assert path.stat().st_size < 10_000
    refused(load_dataset, path, f"train_set_x {message}")


def repeated_filter(path, filters, chunk=(4, 12), x=ROWS):
    """A data set whose examples went through these filters of HDF5, in order."""
    course_file(path, train_set_x=None)
    with h5py.File(path, "a") as file:
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk(chunk)
        for number in filters:
            options = {1: (9,), 2: (1,)}.get(number, ())
            plan.set_filter(number, h5py.h5z.FLAG_OPTIONAL, options)
        space = h5py.h5s.create_simple(x.shape)
        made = h5py.h5d.create(file.id, b"train_set_x", h5py.h5t.NATIVE_UINT8, space, plan)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, x)
    return path


def test_each_filter_once(tmp_path):
    for number, filters in enumerate(([1], [2, 1, 3], [32000], [2, 32000, 3], [2, 32000, 1])):
        data = load_dataset(repeated_filter(tmp_path / f"{number}.h5", filters))
        np.testing.assert_array_equal(data.examples, X.reshape(4, 12))
    twice = repeated_filter(tmp_path / "twice.h5", [1, 1])
    refused(load_dataset, twice, "train_set_x has the filters deflate, deflate .known, each once")


def test_a_few_kilobytes_do_not_become_a_gigabyte(tmp_path):
    zeros = np.zeros((4, 2**24), np.uint8)  # 64 MiB, of which lzf and then deflate leave 3 KB
    bomb = repeated_filter(tmp_path / "bomb.h5", [32000, 1], zeros.shape, zeros)
    assert bomb.stat().st_size < 12_000
    refused(load_dataset, bomb, r"train_set_x, of shape .* would take 64.0 MiB: expected \d.\d MiB")
    # a file that deflate alone made so small is as large as it says
    honest = repeated_filter(tmp_path / "honest.h5", [1], zeros.shape, zeros)
    assert load_dataset(honest).examples.nbytes == 2**26


def test_noise_that_deflate_makes_longer_is_read(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1, 2**22), dtype=np.uint8)
    path = course_file(tmp_path / "a.h5", train_set_x=None, train_set_y=Y[:1])
    with h5py.File(path, "a") as file:
        made = file.create_dataset(
            "train_set_x", data=noise, chunks=noise.shape, compression="gzip", fletcher32=True
        )
        assert made.id.get_chunk_info(0).size > noise.size + 64
    np.testing.assert_array_equal(load_dataset(path).examples, noise)


def test_a_stored_chunk_that_is_longer_than_its_values(tmp_path):
    path = data_with(tmp_path / "a.h5", chunks=(4, 12))
    with h5py.File(path, "a") as file:
        file["train_set_x"].id.write_direct_chunk((0, 0), bytes(48))
    assert (load_dataset(path).examples == 0).all()
    other = repeated_filter(tmp_path / "b.h5", [1])
    with h5py.File(other, "a") as file:
        file["train_set_x"].id.write_direct_chunk((0, 0), bytes(200))
    refused(load_dataset, other, "has a chunk of 200 bytes, which would be 48 when unpacked")


@pytest.mark.parametrize(
    "names",
    [
        np.asarray([0, 1], h5py.enum_dtype({"a": 0, "b": 1})),
        "references",
        np.asarray([np.arange(2), np.arange(3)], h5py.vlen_dtype("i4")),
    ],
)
def test_names_that_are_neither_texts_nor_plain_numbers(tmp_path, names):
    path = course_file(tmp_path / "a.h5", list_classes=None)
    with h5py.File(path, "a") as file:
        if isinstance(names, str):
            names = np.asarray([file["train_set_x"].ref] * 2, h5py.ref_dtype)
        file.create_dataset("list_classes", data=names, dtype=names.dtype)
    refused(load_dataset, path, "list_classes has dtype .* of HDF5's own: expected the names")


def test_a_million_names_and_no_more(tmp_path):
    path = course_file(tmp_path / "a.h5", list_classes=np.zeros(1_000_001, "u1"))
    refused(load_dataset, path, r"list_classes has shape \(1000001,\): .*, 1,000,000 at most")


def test_names_that_are_one_long_text_many_times(tmp_path):
    path = course_file(tmp_path / "a.h5", list_classes=np.asarray(["x" * 2**12] * 400, "O"))
    content = bytearray(path.read_bytes())
    # every name refers to one text: the address and the number of an object in a heap
    with h5py.File(path, "r") as file:
        start = file["list_classes"].id.get_offset()
    first = content[start : start + 16]
    content[start : start + 16 * 400] = first * 400
    path.write_bytes(content)
    assert set(load_dataset(path).classes) == {"x" * 2**12}
    small = Budget(path, 0, spare=2**20)
    with open_hdf5(path) as file:
        file.budget = small
        with pytest.raises(InputError, match="list_classes would take 0.0 MiB: expected 0.0 MiB"):
            read_array(file, "list_classes", kinds="O", expected="names")


def test_control_characters_do_not_reach_the_terminal(tmp_path):
    evil = "cat\x1b]0;owned\x07\x1b[2J\r\n\u202egod"
    safe = "cat\\x1b]0;owned\\x07\\x1b[2J\\r\\n\\u202egod"
    names = np.asarray([evil, "b"], "O")
    assert load_dataset(course_file(tmp_path / "a.h5", list_classes=names)).classes == (safe, "b")
    data = Dataset(X, Y, (evil, "b"), source=f"file {evil}")
    assert (data.classes, data.source) == ((safe, "b"), f"file {safe}")
    network = Network((12, 1))
    zeros = {name: np.zeros(shape, "f4") for name, shape in network.shapes.items()}
    model = Model(network, zeros, (evil, "b"), (2, 2, 3))
    save_model(model, tmp_path / "model.h5")
    assert load_model(tmp_path / "model.h5").classes == model.classes == data.classes
    with h5py.File(tmp_path / evil, "w") as file:
        file[evil] = 1
    with pytest.raises(InputError) as caught:
        load_dataset(tmp_path / evil)
    assert str(caught.value).isprintable()
    assert safe in str(caught.value)


def test_a_safe_text_stays_as_it_is():
    for text in ("naïve 猫 👩‍👧", "a\\x1b", ""):  # joined characters are no steering
        assert safe_text(text) == text


THING = Container("portadnn thing", "portadnn make", plain=1, sealed=(2,))


@pytest.mark.parametrize(
    "value",
    [
        3.0, 1, np.zeros(5), h5py.Empty("f4"), np.void(b"abc"), "NaN", "[Infinity]", "[1e999]",
        "[" * 10**5, "1" * 5000, b"\xff\xfe", np.asarray(["[]"], "O"), '{"layer_dims": [1e400, 2]}',
        '{"layer_dims": [2, 1], "head": {}}', '{"layer_dims": [2, 1], "activations": [[]]}', "{}",
        '[null]', '[true, 2.5]', '"ab"', 'null', '[{}]', '["a", 1]', '[[[]]]',
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "name", ["format", "version", "network", "classes", "input_shape", "scaled"]
)
def test_odd_attributes(tmp_path, name, value):
    path = tmp_path / "model.h5"
    network = Network((12, 1))
    arrays = {f"parameters/{n}": np.zeros(shape, "f4") for n, shape in network.shapes.items()}
    attributes = {
        "network": '{"layer_dims": [12, 1]}', "classes": '["a", "b"]', "input_shape": "[12]",
        "scaled": True,
    }  # fmt: skip
    kind = Container("portadnn model", "portadnn train", plain=1, sealed=(2,))
    kind.write(path, attributes, arrays)
    assert load_model(path).classes == ("a", "b")
    kind.write(path, attributes | {name: value}, arrays)
    refused(load_model, path, "model.h5")


def test_one_value_of_the_right_type(tmp_path):
    THING.write(tmp_path / "a.h5", {"n": 3, "t": "é", "s": np.bytes_(b"raw"), "b": True}, {})
    with THING.open(tmp_path / "a.h5") as file:
        found = [read_attribute(file, n, k) for n, k in (("n", int), ("t", str), ("s", str))]
        assert found == [3, "é", "raw"]
        assert read_attribute(file, "b", bool) is True
        for name, kind in (("n", str), ("n", bool), ("t", int), ("b", int), ("absent", str)):
            with pytest.raises(InputError, match=f"a.h5: attribute {name} (has shape|is missing)"):
                read_attribute(file, name, kind)


@given(st.data())
@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_content_is_read_or_refused(tmp_path, data):
    dtypes = st.sampled_from(
        ["u1", "i8", "f2", "f4", ">f8", "g", "c8", "?", "S3", "S0", "V5", "M8[s]", "O",
         np.dtype("i4,f4"), np.dtype("(2,)i4"), h5py.enum_dtype({"a": 1})]
    )  # fmt: skip
    shapes = st.sampled_from([(), (1,), (2,), (4,), (0,), (4, 12), (4, 0), (4, 1, 1, 1), (2, 2)])
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name in ("train_set_x", "train_set_y", "list_classes"):
            dtype, shape = data.draw(dtypes), data.draw(shapes)
            try:
                if dtype == "O":
                    file[name] = np.full(shape, data.draw(st.text()), "O")
                elif data.draw(st.booleans()):
                    file.create_dataset(name, data=np.zeros(shape, dtype), dtype=dtype)
                elif data.draw(st.booleans()):
                    file[name] = data.draw(st.sampled_from([np.inf, -1, 2**70, 3.5, "a", b""]))
                else:
                    file.create_dataset(name, data={"x": X, "y": Y, "s": CLASSES}[name[-1]])
            except (TypeError, ValueError, KeyError, OverflowError, OSError):
                continue  # HDF5 has no such thing
    try:
        assert isinstance(load_dataset(path), Dataset)
    except InputError as error:
        assert str(path) in str(error)
        assert str(error) == safe_text(str(error))


def test_a_pipe_in_the_place_of_any_file(tmp_path):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    for read in (
        load_dataset,
        lambda path: load_dataset(path, isolated=True),
        load_model,
        lambda path: load_images([path], (2, 2)),
    ):
        refused(read, pipe, "pipe.png is a pipe or a device: expected a regular file")


@pytest.mark.parametrize(
    "error", [AttributeError("odd"), OverflowError(), AssertionError(), RecursionError("deep")]
)
def test_whatever_is_raised_names_the_file(error):
    with (
        pytest.raises(InputError, match="^a.h5: x is damaged: ") as caught,
        foreign.reading("a.h5: x"),
    ):
        raise error
    assert str(error) or type(error).__name__ in str(caught.value)


def test_what_is_known_of_a_fault_is_said_once():
    for error, kind, message in (
        (InputError("a.h5: x is missing"), InputError, "^a.h5: x is missing$"),
        (InputError("no"), InputError, "^a.h5: x is damaged: no$"),
        (MemoryError(), OutOfMemoryError, "^a.h5: x cannot be read: there is not enough memory$"),
    ):
        reading = foreign.reading
        with pytest.raises(kind, match=message), reading("a.h5"), reading("a.h5: x"):
            raise error


def png(width, height):
    """A PNG that says that it is so large, and holds nothing."""

    def chunk(name, data):

        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_a_picture_that_declares_a_size_that_is_not_there(tmp_path):
    (tmp_path / "a.png").write_bytes(png(9000, 9000))
    message = r"a picture of \(9000, 9000\) pixels would take 309.0 MiB: expected 32.1 MiB at most"
    refused(lambda path: load_images([path], (2, 2)), tmp_path / "a.png", message)


def test_the_budget_is_shared_by_all_that_is_read(tmp_path):
    budget = Budget(tmp_path, 0, spare=100)
    budget.take("x", 60)
    with pytest.raises(InputError, match="y would take 0.0 MiB: expected 0.0 MiB at most"):
        budget.take("y", 60)
    budget.take("z", 40)
    assert budget.left == 0
