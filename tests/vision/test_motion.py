import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.types import NoPicture
from streamer.vision.motion import GAP_S, Background, MotionGate, average, grid, small_luma
from streamer.vision.picture import ArrayPicture

FPS = 15
ROWS, COLUMNS = 45, 80


def room(seed: int = 1) -> np.ndarray:
    """A scene with contrast, float, 40..200."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(40, 200, (9, 16))
    return np.kron(coarse, np.ones((5, 5)))


def cells(scene: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(scene), 0, 255).astype(np.uint8)


def with_square(scene: np.ndarray, x: int, y: int, side: int = 4, by: float = 40) -> np.ndarray:
    changed = scene.copy()
    changed[y : y + side, x : x + side] += by
    return changed


class Watch:
    """A gate that is shown scenes at an even rate."""

    def __init__(self, gate: MotionGate | None = None, fps: float = FPS) -> None:
        self.gate = gate if gate is not None else MotionGate()
        self.fps = fps
        self.index = 0

    def see(self, scene: np.ndarray, faces: np.ndarray | None = None) -> bool:
        self.index += 1
        return self.gate.wants(cells(scene), (self.index - 1) / self.fps, faces)

    def settle(self, scene: np.ndarray, seconds: float = 4.0) -> None:
        for _ in range(round(seconds * self.fps)):
            self.see(scene)
        assert not self.gate.moving


# What the gate wants.


def test_a_still_scene_is_looked_at_at_the_floor_rate() -> None:
    watch = Watch()
    watch.settle(room())
    wanted = [watch.see(room()) for _ in range(10 * FPS)]
    assert sum(wanted) == 10
    assert watch.gate.wakes == 0


def test_the_first_second_is_looked_at_whole() -> None:
    watch = Watch()
    assert all(watch.see(room()) for _ in range(FPS))
    assert watch.gate.moving


def test_what_moves_is_looked_at_at_once_and_whole() -> None:
    watch = Watch()
    watch.settle(room())
    wanted = [watch.see(with_square(room(), 5 + 2 * n, 20)) for n in range(20)]
    assert all(wanted)
    assert watch.gate.wakes == 1


def test_after_motion_it_is_looked_at_whole_for_the_hold_time_and_then_no_more() -> None:
    watch = Watch(MotionGate(hold_s=1.0))
    watch.settle(room())
    for n in range(20):
        watch.see(with_square(room(), 5 + 2 * n, 20))
    stands = with_square(room(), 5 + 2 * 19, 20)
    wanted = [watch.see(stands) for _ in range(4 * FPS)]
    assert all(wanted[: FPS - 1])
    assert sum(wanted[2 * FPS :]) == 2
    assert not watch.gate.moving


def test_a_face_that_is_there_at_once_and_stands_is_looked_at_some_times_only() -> None:
    watch = Watch()
    watch.settle(room())
    wanted = [watch.see(with_square(room(), 30, 20)) for _ in range(FPS)]
    assert wanted[0]
    assert 3 <= sum(wanted) <= 8


@pytest.mark.parametrize("seconds", [1, 3, 6])
def test_what_fades_in_is_not_taken_for_drift(seconds: float) -> None:
    watch = Watch()
    watch.settle(room())
    frames = round(seconds * FPS)
    for n in range(frames):
        watch.see(with_square(room(), 30, 20, by=60 * n / frames))
        if watch.gate.moving:
            break
    assert n / FPS <= 0.35 * seconds  # a face of a third of its contrast is not yet found


@pytest.mark.parametrize("sigma", [0.5, 2.0, 5.0])
def test_noise_does_not_wake_once_it_is_known(sigma: float) -> None:
    random = np.random.default_rng(2)
    watch = Watch()
    for _ in range(3 * FPS):
        watch.see(room() + random.normal(0, sigma, (ROWS, COLUMNS)))
    wakes = watch.gate.wakes
    for _ in range(60 * FPS):
        watch.see(room() + random.normal(0, sigma, (ROWS, COLUMNS)))
    assert watch.gate.wakes == wakes


def test_a_face_shows_through_noise() -> None:
    random = np.random.default_rng(2)
    watch = Watch()
    for _ in range(10 * FPS):
        watch.see(room() + random.normal(0, 2.0, (ROWS, COLUMNS)))
    assert watch.see(with_square(room(), 30, 20) + random.normal(0, 2.0, (ROWS, COLUMNS)))
    assert watch.gate.moving


def test_key_pictures_that_pulse_wake_at_first_only() -> None:
    pulse = np.random.default_rng(3).normal(0, 1.2, (ROWS, COLUMNS))
    watch = Watch()
    woke = []
    for n in range(30 * FPS):
        wakes = watch.gate.wakes
        watch.see(room() + (pulse if n % (4 * FPS) == 2 * FPS else 0))
        if watch.gate.wakes > wakes:
            woke.append(n)
    assert len(woke) <= 2
    assert all(n < 10 * FPS for n in woke)


@pytest.mark.parametrize(("gain", "offset"), [(0.5, 0), (1.2, 0), (1, 30), (0.7, 20)])
def test_light_that_changes_the_whole_scene_does_not_wake(gain: float, offset: float) -> None:
    watch = Watch()
    watch.settle(room())
    for n in range(3 * FPS):
        done = min(1.0, n / FPS)
        watch.see(room() * (1 + (gain - 1) * done) + offset * done)
    assert watch.gate.wakes == 0


def test_a_lamp_that_lights_unevenly_wakes_once_and_briefly() -> None:
    watch = Watch()
    watch.settle(room())
    lit = room() + 60 * np.linspace(0, 1, COLUMNS) * np.linspace(1, 0, ROWS)[:, None]
    wanted = [watch.see(lit) for _ in range(4 * FPS)]
    assert watch.gate.wakes == 1
    assert sum(wanted) <= FPS  # eleven looks more than the floor


def test_a_face_is_seen_while_the_light_changes() -> None:
    watch = Watch()
    watch.settle(room())
    assert watch.see(with_square(room(), 30, 20) * 0.8)
    assert watch.gate.moving


def test_another_scene_wakes_and_is_learned() -> None:
    watch = Watch()
    watch.settle(room(1))
    assert watch.see(room(2))
    watch.settle(room(2), 2)
    assert sum(watch.see(room(2)) for _ in range(5 * FPS)) == 5


def test_a_change_of_one_cell_or_of_a_line_of_cells_does_not_wake() -> None:
    watch = Watch()
    watch.settle(room())
    line = room()
    line[20, :40] += 60
    watch.see(with_square(room(), 30, 20, side=1, by=100))
    watch.see(line)
    assert watch.gate.wakes == 0


def sway(n: int) -> float:
    """A bush that is never still for long: brightness added at the n-th picture."""
    return 12 * math.sin(n * 0.4)


def test_leaves_that_never_rest_are_learned() -> None:
    watch = Watch()
    watch.settle(room())
    wanted = [watch.see(with_square(room(), 30, 20, 6, sway(n))) for n in range(180 * FPS)]
    assert sum(wanted[: 5 * FPS]) > 4 * FPS
    assert sum(wanted[-60 * FPS :]) <= 0.4 * 60 * FPS


def test_a_face_that_never_rests_is_never_learned() -> None:
    watch = Watch()
    watch.settle(room())
    at_it = np.array([[28, 18, 38, 28]], np.float32) / [COLUMNS, ROWS, COLUMNS, ROWS]
    faces = at_it.astype(np.float32)
    wanted = [watch.see(with_square(room(), 30, 20, 6, sway(n)), faces) for n in range(180 * FPS)]
    assert sum(wanted[-60 * FPS :]) >= 0.9 * 60 * FPS


def test_passers_by_leave_no_blind_spot() -> None:
    watch = Watch()
    watch.settle(room())
    for _ in range(10):
        for n in range(0, 80, 4):
            watch.see(with_square(room(), n, 20))
        watch.settle(room(), 6)
    assert watch.see(with_square(room(), 40, 20, by=12))
    assert watch.gate.moving


def test_sensitivity_makes_smaller_changes_wake() -> None:
    for sensitivity, wakes in ((1.0, 0), (2.0, 1)):
        watch = Watch(MotionGate(sensitivity=sensitivity))
        watch.settle(room())
        watch.see(with_square(room(), 30, 20, by=2))
        assert watch.gate.wakes == wakes


# Beginnings.


def test_a_gap_a_leap_back_and_another_size_begin_anew() -> None:
    gate = MotionGate(hold_s=0.0)
    now = 100.0
    for step in (0.0, 0.1, 0.1):
        now += step
        wanted = gate.wants(cells(room()), now)
    assert not wanted
    assert gate.wants(cells(room(2)), now + GAP_S + 0.1)
    assert gate.wants(cells(room(3)), now)
    assert gate.wants(cells(room(3))[:20], now + 0.1)
    assert not gate.wants(cells(room(3))[:20], now + 0.2)
    assert gate.wakes == 0


def test_pictures_that_nobody_wants_are_no_gap() -> None:
    gate, wanted = MotionGate(floor_fps=0.1), []
    for n in range(600):  # 15 a second, of which one in three seconds is wanted
        if n % 45:
            gate.passed(n / FPS)
            assert gate.still is (n > 45)
        else:
            wanted.append(gate.wants(cells(room()), n / FPS))
    assert wanted == [True, False, False, True] + [False, False, True] * 3 + [False]


def test_a_picture_without_brightness_is_wanted() -> None:
    gate = MotionGate()
    assert all(gate.wants(None, n / FPS) for n in range(40))
    assert not gate.moving


@pytest.mark.parametrize(
    "wrong", [{"floor_fps": 0}, {"floor_fps": math.nan}, {"hold_s": -1}, {"sensitivity": 0}]
)
def test_wrong_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        MotionGate(**wrong)


@settings(max_examples=60)
@given(
    fps=st.floats(3, 60), floor_fps=st.floats(0.5, 5), jitter=st.floats(0, 0.4),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_never_is_the_rate_below_the_floor(
    fps: float, floor_fps: float, jitter: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    gate = MotionGate(floor_fps=floor_fps, hold_s=0.0)
    at = (np.arange(round(8 * fps)) + random.uniform(-jitter, jitter, round(8 * fps))) / fps
    scene = cells(room())
    wanted = [now for now in at if gate.wants(scene, now)]
    gaps = np.diff([*wanted, at[-1]])
    # The next picture's instant is guessed from the last step; with jitter it may come later.
    assert gaps.max() <= max(1 / floor_fps, 1 / fps) + 4 * jitter / fps + 2e-3


@settings(max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)), seed=st.integers(0, 10_000),
    steps=st.lists(st.floats(-3, 3, allow_nan=False), min_size=1, max_size=30),
)  # fmt: skip
def test_any_pictures_at_any_instants_are_answered(
    shape: tuple[int, int], seed: int, steps: list[float]
) -> None:
    random = np.random.default_rng(seed)
    gate = MotionGate()
    at = 0.0
    for step in steps:
        at += step
        faces = random.uniform(-0.5, 1.5, (3, 4)).astype(np.float32)
        wanted = gate.wants(random.integers(0, 256, shape, np.uint8), at, faces)
        assert wanted in (True, False)


@pytest.mark.parametrize("value", [0, 255])
def test_a_black_or_white_picture_is_a_scene_as_any(value: int) -> None:
    watch = Watch()
    flat = np.full((ROWS, COLUMNS), float(value))
    watch.settle(flat)
    assert not watch.see(flat)
    assert watch.see(with_square(flat, 30, 20, by=40 if value == 0 else -40))


def test_the_background_tells_which_cells_changed() -> None:
    background = Background(cells(room()), 1.0)
    changed = background.changed(cells(with_square(room(), 30, 20)), 0.1, None)
    assert changed[20:24, 30:34].all()
    assert changed.sum() == 16


def test_what_is_seen_is_not_written_to() -> None:
    gate = MotionGate()
    scene, faces = cells(room()), np.full((1, 4), 0.5, np.float32)
    scene.flags.writeable = faces.flags.writeable = False
    gate.wants(scene, 0.0, faces)
    gate.wants(scene, 0.1, faces)


# Cells of a picture.


@pytest.mark.parametrize(
    ("longer", "cell", "step"),
    [(1280, 16, 4), (1920, 24, 12), (640, 8, 1), (3840, 48, 24), (2304, 24, 12), (704, 8, 1),
     (352, 4, 1), (60, 1, 1), (1366, 16, 4)],
)  # fmt: skip
def test_the_grid_of_sizes_that_cameras_have(longer: int, cell: int, step: int) -> None:
    assert grid(longer) == (cell, step)


@given(st.integers(1, 10_000))
def test_every_size_has_a_grid_that_fits(longer: int) -> None:
    cell, step = grid(longer)
    assert cell % step == 0
    assert longer // cell >= min(longer, 80)
    assert longer // cell <= 170


@given(
    st.sampled_from([(16, 4), (24, 12), (8, 1), (4, 1), (6, 1), (1, 1), (48, 24), (5, 1)]),
    st.integers(1, 9), st.integers(1, 9), st.integers(0, 4), st.integers(0, 1000),
)  # fmt: skip
def test_a_cell_is_the_mean_of_its_pixels(
    sizes: tuple[int, int], height: int, width: int, over: int, seed: int
) -> None:
    cell, step = sizes
    random = np.random.default_rng(seed)
    picture = random.integers(0, 256, (height * cell, width * cell + over), np.uint8)
    rows = picture[::step]
    got = average(rows, cell, step)
    width += over // cell
    assert got.shape == (height, width)
    blocks = rows[:, : width * cell].reshape(height, cell // step, width, cell)
    # Each of the few halvings rounds once.
    np.testing.assert_allclose(got, blocks.mean(axis=(1, 3)), atol=2.5)


def test_rows_without_a_whole_cell_are_refused() -> None:
    with pytest.raises(ValueError, match="no cell"):
        average(np.zeros((3, 100), np.uint8), 16, 4)


def test_the_brightness_of_an_array_is_its_green() -> None:
    pixels = np.zeros((720, 1280, 3), np.uint8)
    pixels[:, :640, 1] = 100
    got = small_luma(ArrayPicture(pixels))
    assert got is not None
    assert got.shape == (45, 80)
    assert (got[:, :40] == 100).all()
    assert (got[:, 40:] == 0).all()


def test_an_array_whose_sides_are_no_multiple_of_a_cell_is_cut() -> None:
    got = small_luma(ArrayPicture(np.zeros((1083, 1921, 3), np.uint8)))
    assert got is not None
    assert got.shape == (45, 80)


class Turned:
    """A decoded picture with its brightness, a quarter turned."""

    width, height, turns = 720, 1280, 1

    def luma(self, step: int) -> np.ndarray | None:
        plane = np.zeros((720, 1280), np.uint8)
        plane[:, 1240:] = 200  # the right edge as decoded: turned to the left, it is the top
        return plane[::step]

    def bgr(self, width: int | None = None, height: int | None = None) -> np.ndarray:
        raise AssertionError("nobody asked for colours")


def test_a_decoded_picture_is_turned_upright_and_not_converted() -> None:
    got = small_luma(Turned())
    assert got is not None
    assert got.shape == (80, 45)
    assert (got[:2] == 200).all()
    assert (got[3:] == 0).all()


def test_a_picture_without_a_plane_of_brightness_has_no_cells() -> None:
    class Palette(Turned):
        def luma(self, step: int) -> np.ndarray | None:
            return None

    assert small_luma(Palette()) is None
    assert small_luma(NoPicture(1280, 720)) is None


def test_a_picture_lower_than_a_cell_has_no_cells() -> None:
    assert small_luma(ArrayPicture(np.zeros((4, 1280, 3), np.uint8))) is None
