import numpy as np
import pytest

from streamer.types import Faces, Tracks
from streamer.vision.annotate import colour_of, draw


def tracks(*boxes, first_id: int = 7) -> Tracks:
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    n = len(corners)
    middles = (corners[:, :2] + corners[:, 2:]) / 2
    return Tracks(
        np.arange(first_id, first_id + n),
        Faces(
            corners,
            np.full(n, 0.87, np.float32),
            np.repeat(middles[:, None], 5, axis=1).astype(np.float32),
        ),
    )


def grey(width: int = 640, height: int = 360) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def holds(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (image == np.array(colour, np.uint8)).all(axis=2)


def test_no_faces_change_nothing() -> None:
    image = grey()
    draw(image, Tracks(np.zeros(0, np.int64), Faces.none()))
    assert (image == 90).all()


def test_the_box_is_drawn_in_its_ids_colour_at_the_scale_of_the_image() -> None:
    image = grey()
    draw(image, tracks((400, 300, 600, 500)), 0.5, 0.5)
    inked = holds(image, colour_of(7))
    assert inked[150:250, 200].all()  # left edge
    assert inked[150:250, 300].all()  # right edge
    assert inked[250, 200:300].all()  # lower edge
    assert inked[195:206, 245:256].any()  # the landmarks, in the middle
    assert not inked[160:190, 210:240].any()  # the face itself is left alone
    assert (image[300:] == 90).all()


def test_the_label_stands_above_the_box_and_inside_it_at_the_top_of_the_picture() -> None:
    low, high = grey(), grey()
    draw(low, tracks((200, 100, 300, 200)))
    draw(high, tracks((200, 0, 300, 200)))
    assert (low[85:97, 205:240] != 90).any()
    assert holds(high, colour_of(7))[2:12, 200:240].any()


@pytest.mark.parametrize(("width", "height"), [(8, 6), (64, 36), (320, 180), (1920, 1080)])
@pytest.mark.parametrize(
    "box",
    [(-50, -50, 5, 5), (0, 0, 4, 4), (-900, -900, 9000, 9000), (5, 5, 5, 5), (1e5, 0, 2e5, 9)],
)
def test_any_box_on_any_size_is_drawn_without_complaint(width, height, box) -> None:
    draw(grey(width, height), tracks(box))


def test_a_face_that_was_only_predicted_has_corners_without_a_frame() -> None:
    found, expected = grey(640, 360), grey(640, 360)
    one = tracks((200, 100, 400, 300))
    draw(found, one)
    draw(expected, Tracks(one.ids, one.faces, np.array([0.2], np.float32)))
    before = grey(640, 360)
    assert (found[200, 200] != before[200, 200]).any()  # the middle of the left side
    assert (expected[198:203, 195:206] == before[198:203, 195:206]).all()
    assert (expected[100, 205] != before[100, 205]).any()  # a corner


def test_labels_of_two_ids_differ() -> None:
    one, other = grey(), grey()
    draw(one, tracks((200, 100, 300, 200), first_id=1))
    draw(other, tracks((200, 100, 300, 200), first_id=2))
    assert (one[80:99] != other[80:99]).any()


def test_neighbouring_ids_have_colours_far_apart_that_never_change() -> None:
    for identity in range(1, 200):
        here, there = np.array(colour_of(identity)), np.array(colour_of(identity + 1))
        assert np.abs(here - there).max() > 40
        assert here.max() == 255
        assert colour_of(identity) == tuple(here.tolist())


def test_a_picture_that_must_not_be_written_to_is_refused() -> None:
    image = grey()
    image.flags.writeable = False
    with pytest.raises(ValueError, match="copy"):
        draw(image, tracks((1, 1, 9, 9)))
