import numpy as np
import pytest

from streamer.errors import DetectionFailed
from streamer.vision.anchors import priors
from streamer.vision.letterbox import Letterbox
from streamer.vision.picture import ArrayPicture
from streamer.vision.retinaface import from_output, to_input

SETTINGS = {"confidence": 0.6, "nms": 0.4, "max_faces": 200}


def picture(width: int, height: int, seed: int = 0) -> ArrayPicture:
    rng = np.random.default_rng(seed)
    return ArrayPicture(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def silence(box: Letterbox, n: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs that say "no face" everywhere."""
    p = len(priors(box.input_height, box.input_width))
    conf = np.zeros((n, p, 2), np.float32)
    conf[..., 0] = 1
    return np.zeros((n, p, 4), np.float32), conf, np.zeros((n, p, 10), np.float32)


def test_channels_are_blue_green_red_less_their_mean_and_padding_is_zero() -> None:
    one = picture(1280, 720)
    box = Letterbox.fit(1280, 720, 640)
    batch = to_input([one], [box])
    assert batch.shape == (1, 3, 384, 640)
    assert batch.dtype == np.float32
    expected = one.bgr(640, 360).astype(np.float32) - np.array([104, 117, 123], np.float32)
    np.testing.assert_array_equal(batch[0, :, :360], expected.transpose(2, 0, 1))
    assert (batch[0, :, 360:] == 0).all()


def test_a_dirty_buffer_is_filled_whole_whatever_lay_in_it() -> None:
    tall, wide = Letterbox.fit(300, 640, 640), Letterbox.fit(310, 640, 640)
    assert (tall.input_width, tall.input_height) == (wide.input_width, wide.input_height)
    pictures = [picture(300, 640, 1), picture(310, 640, 2)]
    buffer = np.full((2, 3, 640, 320), np.nan, np.float32)
    batch = to_input(pictures, [tall, wide], out=buffer)
    assert batch is buffer
    np.testing.assert_array_equal(batch, to_input(pictures, [tall, wide]))
    assert (batch[0, :, :, 300:] == 0).all()
    assert (batch[1, :, :, 310:] == 0).all()


def test_the_picture_is_asked_for_the_size_wanted_and_no_other() -> None:
    asked = []

    class Asked:
        width, height = 1280, 720

        def bgr(self, width=None, height=None):
            asked.append((width, height))
            return np.zeros((height, width, 3), np.uint8)

    to_input([Asked()], [Letterbox.fit(1280, 720, 640)])
    assert asked == [(640, 360)]


def test_what_does_not_fit_together_is_refused() -> None:
    box = Letterbox.fit(64, 64, 64)
    with pytest.raises(ValueError, match="at least one"):
        to_input([], [])
    with pytest.raises(ValueError, match="one letterbox for each"):
        to_input([picture(64, 64)], [box, box])
    with pytest.raises(ValueError, match="out must have"):
        to_input([picture(64, 64)], [box], out=np.zeros((2, 3, 64, 64), np.float32))
    with pytest.raises(ValueError, match="one input size"):
        to_input([picture(64, 64), picture(64, 20)], [box, Letterbox.fit(64, 20, 64)])


def test_silence_is_no_face() -> None:
    box = Letterbox.fit(128, 128, 128)
    assert [len(f) for f in from_output(*silence(box, 3), [box] * 3, **SETTINGS)] == [0, 0, 0]


def test_faces_come_best_first_in_pixels_of_their_own_picture() -> None:
    small, large = Letterbox.fit(64, 64, 128), Letterbox.fit(256, 256, 128)
    loc, conf, points = silence(small, 2)
    table = priors(128, 128)
    first, second = 2 * (16 * 2 + 2), 2 * (16 * 12 + 12)  # 16-pixel squares, far apart
    conf[:, first, 1], conf[:, second, 1] = 0.7, 0.9
    ours, theirs = from_output(loc, conf, points, [small, large], **SETTINGS)
    assert ours.scores.tolist() == pytest.approx([0.9, 0.7])
    centre = table[second, :2] * 128
    expected = np.array([*(centre - 8), *(centre + 8)])
    np.testing.assert_allclose(ours.boxes[0], expected / 2, atol=1e-4)
    np.testing.assert_allclose(theirs.boxes[0], expected * 2, atol=1e-4)
    np.testing.assert_allclose(theirs.landmarks[0], np.tile(centre * 2, (5, 1)), atol=1e-4)


def test_never_more_than_max_faces() -> None:
    box = Letterbox.fit(128, 128, 128)
    loc, conf, points = silence(box)
    conf[0, :512:2, 1] = np.linspace(0.7, 0.99, 256)
    found = from_output(loc, conf, points, [box], confidence=0.6, nms=0.4, max_faces=7)[0]
    assert len(found) == 7
    assert found.scores[0] == pytest.approx(0.99)


def test_a_score_equal_to_the_threshold_does_not_pass_it() -> None:
    box = Letterbox.fit(32, 32, 32)
    loc, conf, points = silence(box)
    conf[0, 0, 1] = 0.5
    assert len(from_output(loc, conf, points, [box], confidence=0.5, nms=0.4, max_faces=9)[0]) == 0


def test_a_face_that_lies_in_the_padding_is_none() -> None:
    box = Letterbox.fit(640, 20, 640)
    loc, conf, points = silence(box)
    conf[0, 2 * 80 * 3, 1] = 0.99  # fourth row of cells, 20..36 pixels down, below the content
    assert len(from_output(loc, conf, points, [box], **SETTINGS)[0]) == 0


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_a_failure_and_not_an_empty_street(which, wrong) -> None:
    box = Letterbox.fit(64, 64, 64)
    outputs = silence(box)
    outputs[which][0, 17, 1] = wrong
    with pytest.raises(DetectionFailed):
        from_output(*outputs, [box], **SETTINGS)


@pytest.mark.parametrize("which", [0, 2])
@pytest.mark.parametrize("wrong", [1e4, 3e38, -3e38])
def test_faces_beyond_all_measure_are_a_failure(which, wrong) -> None:
    box = Letterbox.fit(64, 64, 64)
    outputs = silence(box)
    outputs[1][0, 17, 1] = 0.9
    outputs[which][0, 17] = wrong * (1e3 if which == 2 and abs(wrong) < 1e5 else 1)
    with pytest.raises(DetectionFailed):
        from_output(*outputs, [box], **SETTINGS)


def test_raw_logits_are_a_failure() -> None:
    box = Letterbox.fit(64, 64, 64)
    loc, conf, points = silence(box)
    conf[0, 3] = -4, 4
    with pytest.raises(DetectionFailed, match=r"0\.\.1"):
        from_output(loc, conf, points, [box], **SETTINGS)


def test_outputs_of_another_shape_are_a_failure() -> None:
    box = Letterbox.fit(64, 64, 64)
    loc, conf, points = silence(box)
    with pytest.raises(DetectionFailed, match="priors were expected"):
        from_output(loc[:, 1:], conf, points, [box], **SETTINGS)
    with pytest.raises(DetectionFailed, match="priors were expected"):
        from_output(loc, conf, points, [box, box], **SETTINGS)
