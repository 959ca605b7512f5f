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
