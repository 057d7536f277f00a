import numpy as np
import pytest

from streamer.vision.anchors import priors


def slow_priors(height: int, width: int) -> np.ndarray:
    """The definition, one prior at a time."""
    rows = []
    for stride, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for y in range(-(-height // stride)):
            for x in range(-(-width // stride)):
                rows += [
                    [(x + 0.5) * stride / width, (y + 0.5) * stride / height, s / width, s / height]
                    for s in sides
                ]
    return np.array(rows, np.float32)


@pytest.mark.parametrize(("height", "width"), [(384, 640), (640, 384), (32, 32), (64, 1280)])
def test_they_are_what_the_definition_says_in_the_networks_order(height, width) -> None:
    np.testing.assert_array_equal(priors(height, width), slow_priors(height, width))


def test_a_640x384_input_has_10080() -> None:
    assert priors(384, 640).shape == (10080, 4)
    assert priors(384, 640).dtype == np.float32


def test_they_are_shared_and_read_only() -> None:
    assert priors(384, 640) is priors(384, 640)
    with pytest.raises(ValueError, match="read-only"):
        priors(384, 640)[0, 0] = 1


def test_no_size_is_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        priors(0, 640)
