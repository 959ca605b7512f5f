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
