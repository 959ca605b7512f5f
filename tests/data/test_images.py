import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from portadnn.data.images import load_images
from portadnn.errors import InputError


@pytest.fixture
def picture(tmp_path):
    """A 4 x 2 picture, red on the left and blue on the right."""
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[:, :2, 0] = pixels[:, 2:, 2] = 255
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    return path


def test_a_picture_of_the_right_size_is_taken_as_it_is(picture):
    data = load_images([picture], (2, 4, 3))
    assert data.labels is None
    assert data.examples.shape == (1, 2, 4, 3)
    np.testing.assert_array_equal(data.examples[0], np.asarray(Image.open(picture)))


def test_pictures_are_resized_and_turned_grey(picture, tmp_path):
    jpeg = tmp_path / "picture.JPG"
    Image.open(picture).save(jpeg, format="JPEG")
    data = load_images([picture, jpeg], (8, 8))
    assert data.examples.shape == (2, 8, 8)
    # luma of red is 76 and of blue 29 (ITU-R 601)
    assert abs(int(data.examples[0, 0, 0]) - 76) <= 1
    assert abs(int(data.examples[0, 0, 7]) - 29) <= 1


def test_what_is_no_picture(tmp_path):
    text = tmp_path / "text.png"
    text.write_text("hello")
    with pytest.raises(InputError, match="text.png cannot be read as a PNG or JPEG"):
        load_images([text], (2, 2))
    with pytest.raises(InputError, match=r"absent.png: no such file"):
        load_images([tmp_path / "absent.png"], (2, 2))


def test_a_truncated_picture(picture):
    picture.write_bytes(picture.read_bytes()[:60])
    with pytest.raises(InputError, match="cannot be read"):
        load_images([picture], (2, 4, 3))


def test_a_decompression_bomb(picture, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3)
    with pytest.raises(InputError, match="cannot be read.*decompression bomb"):
        load_images([picture], (2, 4, 3))


def test_a_model_that_takes_no_pictures(picture):
    with pytest.raises(InputError, match=r"examples of shape \(12,\), not pictures"):
        load_images([picture], (12,))


def test_sixteen_bits_are_scaled_not_cut_off(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.asarray([[300, 40000, 65535]], np.uint16)).save(path)
    examples = load_images([path], (1, 3)).examples
    np.testing.assert_array_equal(examples[0, 0], np.round(np.asarray([300, 40000, 65535]) / 257))


def test_photographs_are_turned_upright(picture, tmp_path):
    turned = tmp_path / "turned.png"
    with Image.open(picture) as image:
        exif = image.getexif()
        exif[0x0112] = 3  # orientation: upside down
        image.save(turned, exif=exif)
    upright, original = (load_images([p], (2, 4, 3)).examples for p in (turned, picture))
    np.testing.assert_array_equal(upright[0], original[0][::-1, ::-1])


def ink(mode):
    """Black ink on the left, a transparent right half that is black below, 1 x 2, by mode."""
    rgba = Image.fromarray(np.asarray([[[0, 0, 0, 255], [0, 0, 0, 0]]], np.uint8))
    if mode in ("RGBA", "LA"):
        return rgba.convert(mode), {}
    left, right = (30, 200)  # the right one is declared transparent
    if mode == "I;16":
        return Image.fromarray(np.asarray([[left, right]], np.uint16)), {"transparency": right}
    grey = Image.fromarray(np.asarray([[left, right]], np.uint8))
    if mode == "1":
        return grey.convert("1"), {"transparency": 1}
    if mode == "RGB":
        return grey.convert("RGB"), {"transparency": (right,) * 3}
    if mode == "P":
        palette = Image.new("P", (2, 1))
        palette.putpalette([0, 0, 0, 10, 10, 10])
        palette.putdata([0, 1])
        return palette, {"transparency": b"\xff\x00"}
    return grey, {"transparency": right}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB", "1", "I;16"])
@pytest.mark.parametrize("shape", [(1, 2, 3), (1, 2)])
def test_transparent_parts_are_shown_over_the_ground(mode, shape, tmp_path, caplog):
    path = tmp_path / "ink.png"
    picture, options = ink(mode)
    picture.save(path, **options)
    with Image.open(path) as saved:
        assert saved.mode == mode
    # bytes 0 to 255; the ink itself is dark
    over_white = load_images([path], shape).examples[0].reshape(2, -1)
    assert (over_white[0] <= 30).all()
    assert (over_white[1] == 255).all()
    assert caplog.messages == [f"transparent parts are shown over white: {path}"]
    over_black = load_images([path], shape, ground="#000000").examples[0].reshape(2, -1)
    np.testing.assert_array_equal(over_black[0], over_white[0])
    assert (over_black[1] == 0).all()


def test_half_transparent_ink_is_mixed_with_the_ground(tmp_path):
    path = tmp_path / "half.png"
    Image.new("RGBA", (1, 1), (0, 0, 0, 128)).save(path)
    assert abs(int(load_images([path], (1, 1)).examples[0, 0, 0]) - 127) <= 1


def test_an_opaque_alpha_channel_changes_nothing(picture, tmp_path, caplog):
    path = tmp_path / "opaque.png"
    with Image.open(picture) as image:
        image.convert("RGBA").save(path)
    for shape in ((2, 4, 3), (3, 3)):
        opaque, plain = load_images([path, picture], shape, ground="red").examples
        np.testing.assert_array_equal(opaque, plain)
    assert not caplog.messages


def png(bits, kind, row, key):
    """A PNG of 2 x 1 pixels, which Pillow cannot write: few or 16 bits and a transparent colour."""

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 2, 1, bits, kind, 0, 0, 0)
    parts = {b"IHDR": header, b"tRNS": key, b"IDAT": zlib.compress(b"\0" + row), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts.items())


@pytest.mark.parametrize(
    "content",
    [
        png(2, 0, bytes([0b00_01_0000]), struct.pack(">H", 1)),
        png(4, 0, bytes([0b0000_0001]), struct.pack(">H", 1)),
        png(16, 2, struct.pack(">6H", 0, 0, 0, 258, 258, 258), struct.pack(">3H", 258, 258, 258)),
    ],
)
def test_the_transparent_colour_of_other_depths(content, tmp_path):
    path = tmp_path / "depth.png"
    path.write_bytes(content)
    assert load_images([path], (1, 2)).examples[0].tolist() == [[0, 255]]


def test_an_unknown_ground(picture):
    with pytest.raises(InputError, match="unknown ground 'wite': expected a colour"):
        load_images([picture], (2, 4, 3), ground="wite")


def test_a_picture_of_16_bits_is_turned_as_its_camera_says(tmp_path):
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(np.asarray([[0, 65535]], np.uint16)).save(path, exif=exif)
    assert load_images([path], (1, 2)).examples[0].tolist() == [[255, 0]]
