import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.vision.letterbox import Letterbox

sides = st.integers(1, 8192)
input_sizes = st.integers(1, 60).map(lambda n: 32 * n)


@pytest.mark.parametrize(
    ("picture", "input_size", "content", "network"),
    [
        ((1280, 720), 640, (640, 360), (640, 384)),
        ((1920, 1080), 640, (640, 360), (640, 384)),
        ((720, 1280), 640, (360, 640), (384, 640)),
        ((640, 480), 640, (640, 480), (640, 480)),
        ((512, 512), 640, (640, 640), (640, 640)),
        ((320, 240), 640, (640, 480), (640, 480)),  # small pictures are scaled up
        ((1, 1), 32, (32, 32), (32, 32)),
        ((8192, 1), 640, (640, 1), (640, 32)),
        ((1, 8192), 640, (1, 640), (32, 640)),
        ((1366, 768), 640, (640, 360), (640, 384)),
    ],
)
def test_known_sizes(picture, input_size, content, network) -> None:
    box = Letterbox.fit(*picture, input_size)
    assert (box.content_width, box.content_height) == content
    assert (box.input_width, box.input_height) == network


@given(sides, sides, input_sizes)
def test_the_input_is_the_least_multiple_of_32_that_holds_the_content(w, h, size) -> None:
    box = Letterbox.fit(w, h, size)
    assert max(box.content_width, box.content_height) == size
    assert min(box.content_width, box.content_height) >= 1
    for content, side in (
        (box.content_width, box.input_width),
        (box.content_height, box.input_height),
    ):
        assert side % 32 == 0
        assert content <= side < content + 32


@given(sides, sides, input_sizes)
def test_the_shape_of_the_picture_is_kept_to_half_a_pixel(w, h, size) -> None:
    box = Letterbox.fit(w, h, size)
    scale = size / max(w, h)
    assert abs(box.content_width - w * scale) <= 0.5 or box.content_width == 1
    assert abs(box.content_height - h * scale) <= 0.5 or box.content_height == 1


@given(sides, sides, input_sizes, st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=8))
def test_there_and_back_again(w, h, size, fractions) -> None:
    box = Letterbox.fit(w, h, size)
    corners = np.sort(np.array(fractions, np.float32).reshape(-1, 2, 2), axis=1)
    boxes = (corners * np.array([w, h], np.float32)).reshape(-1, 4)
    landmarks = np.repeat(corners[:, :1] * np.array([w, h], np.float32), 5, axis=1)
    back, points = box.to_original(*box.to_input(boxes, landmarks))
    assert back.dtype == points.dtype == np.float32
    np.testing.assert_allclose(back, boxes, atol=2e-3, rtol=1e-6)
    np.testing.assert_allclose(points, landmarks, atol=2e-3, rtol=1e-6)


@given(sides, sides, input_sizes)
def test_the_far_corner_of_the_content_is_the_far_corner_of_the_picture(w, h, size) -> None:
    box = Letterbox.fit(w, h, size)
    corner = np.full((1, 5, 2), [box.content_width, box.content_height], np.float32)
    _, points = box.to_original(np.zeros((1, 4), np.float32), corner)
    np.testing.assert_allclose(points[0, 0], [w, h], rtol=1e-6)


def test_boxes_end_at_the_edge_and_landmarks_do_not() -> None:
    box = Letterbox.fit(1280, 720, 640)
    boxes, points = box.to_original(
        np.array([[-10, -10, 700, 380]], np.float32), np.full((1, 5, 2), -10, np.float32)
    )
    assert boxes.tolist() == [[0, 0, 1280, 720]]
    assert (points == -20).all()


def test_no_faces_map_to_no_faces() -> None:
    boxes, points = Letterbox.fit(1280, 720, 640).to_original(
        np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32)
    )
    assert boxes.shape == (0, 4)
    assert points.shape == (0, 5, 2)


@pytest.mark.parametrize(("w", "h", "size"), [(0, 1, 32), (1, 0, 32), (9, 9, 0), (9, 9, 33)])
def test_impossible_sizes_are_refused(w, h, size) -> None:
    with pytest.raises(ValueError, match="must be"):
        Letterbox.fit(w, h, size)


def test_one_size_is_computed_once() -> None:
    assert Letterbox.fit(640, 360, 640) is Letterbox.fit(640, 360, 640)
