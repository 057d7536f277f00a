from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.types import Faces, Frame, Picture
from streamer.vision.picture import ArrayPicture
from streamer.vision.privacy import (
    CELLS,
    GROWTH,
    HELD_S,
    MARGIN,
    Mode,
    Privacy,
    PrivacyByName,
    around,
    hide,
    mode_of,
)

NOISE = np.random.default_rng(1).integers(0, 256, (240, 320, 3), np.uint8)
MODES: tuple[Mode, ...] = ("blur", "pixelate", "box")


def faces(*boxes: tuple[float, float, float, float], score: float = 0.9) -> Faces:
    n = len(boxes)
    return Faces(
        np.array(boxes, np.float32).reshape(n, 4),
        np.full(n, score, np.float32),
        np.zeros((n, 5, 2), np.float32),
    )


def frame(picture: Picture, epoch: int = 0) -> Frame:
    return Frame("cam", epoch, 0, 0.0, 0.0, None, picture)


def noise(epoch: int = 0) -> Frame:
    return frame(ArrayPicture(NOISE.copy()), epoch)


def changed(picture: Picture) -> np.ndarray:
    """Where the picture is not the noise it was made of: (height, width) of bool."""
    return (picture.bgr() != NOISE).any(axis=2)


@pytest.mark.parametrize("mode", MODES)
def test_inside_a_region_little_is_left_and_outside_all(mode: Mode) -> None:
    image = NOISE.copy()
    hide(image, np.array([[100, 50, 160, 110, 60]], np.float32), mode)
    part = image[50:110, 100:160].astype(int)
    assert part.std() < 0.25 * NOISE[50:110, 100:160].std()
    inside = np.zeros(image.shape[:2], bool)
    inside[50:110, 100:160] = True
    assert (image[~inside] == NOISE[~inside]).all()
    if mode == "pixelate":
        assert len(np.unique(part.reshape(-1, 3), axis=0)) <= CELLS**2


def test_none_hides_nothing() -> None:
    image = NOISE.copy()
    hide(image, np.array([[0, 0, 320, 240, 100]], np.float32), "none")
    assert (image == NOISE).all()


@given(
    st.lists(
        st.tuples(
            *[st.floats(-1000, 1000, width=32)] * 4, st.floats(0.0, 2000, width=32)
        ),
        max_size=5,
    ),
    st.sampled_from(MODES),
)  # fmt: skip
def test_any_region_is_borne_and_a_pixel_of_it_never_survives_by_rounding(
    rows: list[tuple[float, ...]], mode: Mode
) -> None:
    regions = np.array(rows, np.float32).reshape(-1, 5)
    image = np.full((60, 80, 3), 7, np.uint8)
    hide(image, regions, mode)
    if mode == "box":
        for x1, y1, x2, y2, _ in rows:
            if x2 > x1 and y2 > y1:
                left, top = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
                part = image[top : max(0, int(np.ceil(y2))), left : max(0, int(np.ceil(x2)))]
                assert not (part == 7).any()


def test_the_margin_grows_with_age_and_reaches_from_where_the_face_was() -> None:
    box = np.array([[100, 100, 140, 150]], np.float32)
    now = around(box, box, np.zeros(1, np.float32))[0]
    assert now.tolist() == pytest.approx([100 - 22.5, 100 - 22.5, 140 + 22.5, 150 + 22.5, 50])
    moved = np.array([[200, 100, 240, 150]], np.float32)
    later = around(moved, box, np.array([0.5], np.float32))[0]
    more = 50 * (MARGIN + 0.5 * GROWTH)
    assert later.tolist() == pytest.approx([100 - more, 100 - more, 240 + more, 150 + more, 50])


def test_what_a_look_found_is_covered_and_the_rest_is_not() -> None:
    privacy = Privacy("box")
    shown = privacy.looked(noise(), faces((100, 60, 140, 110)), 1.0).picture
    hidden = changed(shown)
    assert hidden[60:110, 100:140].all()
    assert not hidden[:, :60].any()
    assert mode_of(shown) == "box"
    assert mode_of(ArrayPicture(NOISE.copy())) == "none"


def test_a_face_that_is_not_found_any_more_stays_covered_for_a_while() -> None:
    privacy = Privacy("box")
    privacy.looked(noise(), faces((100, 60, 140, 110)), 1.0)
    missed = privacy.looked(noise(), Faces.none(), 1.0 + 0.9 * HELD_S).picture
    assert changed(missed)[60:110, 100:140].all()
    gone = privacy.looked(noise(), Faces.none(), 1.1 + HELD_S).picture
    assert not changed(gone).any()


def test_between_looks_a_walker_is_covered_where_he_is_where_he_was_and_around() -> None:
    privacy = Privacy("box")
    for n in range(6):  # 100 pixels a second, looked at five times a second
        box = (40 + 20 * n, 60, 80 + 20 * n, 110)
        privacy.looked(noise(), faces(box), 0.2 * n)
    for later_s in (0.04, 0.12, 0.2):
        hidden = changed(privacy.expected(noise(), 1.0 + later_s).picture)
        left = round(140 + 100 * later_s)
        assert hidden[60:110, 140 : left + 40].all()
        assert not hidden[:, :80].any()


def test_what_was_not_looked_at_is_covered_whole() -> None:
    privacy = Privacy("pixelate")
    unknown = privacy.unknown(noise()).picture
    assert len(np.unique(unknown.bgr().reshape(-1, 3), axis=0)) <= 36
    # Nobody has looked yet, so nobody knows: it is not "no faces".
    early = privacy.expected(noise(), 1.0).picture
    assert len(np.unique(early.bgr().reshape(-1, 3), axis=0)) <= 36
    privacy.looked(noise(), Faces.none(), 2.0)
    assert not changed(privacy.expected(noise(), 2.1).picture).any()
    other = privacy.expected(noise(epoch=1), 2.2)  # dialled again
    assert changed(other.picture).mean() > 0.99


def test_where_nothing_moves_the_margin_does_not_grow() -> None:
    privacy = Privacy("box")
    privacy.looked(noise(), faces((100, 60, 140, 110)), 1.0)
    now = changed(privacy.expected(noise(), 1.0).picture)
    still = changed(privacy.expected(noise(), 4.0, still=True).picture)
    assert (still == now).all()


def test_the_mode_holds_at_once_for_pictures_that_wait_somewhere() -> None:
    privacy = Privacy()
    waiting = privacy.looked(noise(), faces((100, 60, 140, 110)), 1.0).picture
    assert not changed(waiting).any()
    privacy.mode = "box"
    assert changed(waiting).all()  # nothing was noted of its faces: it is covered whole
    covered = privacy.looked(noise(), faces((100, 60, 140, 110)), 1.1).picture
    assert 0 < changed(covered).mean() < 0.5
    boxed = covered.bgr()
    privacy.mode = "blur"
    assert changed(covered)[70:100, 110:130].mean() > 0.9
    assert (covered.bgr() != boxed).any(), "it was made anew"
    privacy.mode = "none"
    assert not changed(covered).any()


def test_what_a_camera_knew_goes_with_it_and_its_pictures_stay_covered() -> None:
    names = PrivacyByName()
    first = names.of("door", "box")
    shown = first.looked(noise(), faces((100, 60, 140, 110)), 1.0).picture
    assert 0 < changed(first.expected(noise(), 1.1).picture).mean() < 0.5
    assert names.of("door", "box") is first  # replaced: what it knew goes on
    names.forget("door")
    second = names.of("door", "none")
    assert mode_of(shown) == "box"
    second.mode = "box"
    assert changed(second.expected(noise(), 1.1).picture).all(), "of the new one nobody knows"


def test_a_name_that_is_to_be_covered_is_covered_for_what_waits_of_it() -> None:
    names = PrivacyByName()
    waiting = names.of("door", "none").looked(noise(), Faces.none(), 1.0).picture
    names.forget("door")
    names.of("door", "none")
    assert not changed(waiting).any()
    names.of("door", "box")
    assert changed(waiting).all()


def test_a_picture_is_covered_at_any_size_and_once_for_each() -> None:
    asked = []

    class Asked(ArrayPicture):
        def bgr(self, width: int | None = None, height: int | None = None) -> np.ndarray:
            asked.append((width, height))
            return super().bgr(width, height)

    privacy = Privacy("box")
    shown = privacy.looked(frame(Asked(NOISE.copy())), faces((100, 60, 140, 110)), 1.0).picture
    assert (shown.width, shown.height) == (320, 240)
    small = shown.bgr(160, 120)
    assert small.shape == (120, 160, 3)
    assert (small[30:55, 50:70] == small[40, 60]).all()
    assert shown.bgr(160, 120) is small
    assert not small.flags.writeable
    assert asked == [(160, 120)]
