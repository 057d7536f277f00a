"""The CPU's networks: a quicker one is used where it is the same and really quicker."""

import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest

from streamer.inference.cpu import (
    BLOCKS,
    MOST_ROUNDS,
    SIZES,
    PlainNetwork,
    QuickNetwork,
    least_seconds,
)
from streamer.inference.session import open_session
from tests.inference.pictures import model_bytes


class Sleeper:
    """Stands for an onnxruntime session that takes so long and adds so much."""

    def __init__(self, seconds: float, plus: float = 0.0, *, width: int = 4) -> None:
        self.seconds, self.plus, self.width, self.runs = seconds, plus, width, 0

    def run(self, outputs: list[str], feed: dict[str, np.ndarray], options: object) -> list:
        assert options is not None
        self.runs += 1
        time.sleep(self.seconds)
        first = feed["image"][:, 0, 0, :1] + self.plus
        return [np.repeat(first, self.width, axis=1) for _ in outputs]


def network(session: Sleeper) -> PlainNetwork:
    return PlainNetwork(session, "image", ["loc"])


def batch(height: int = 32, width: int = 64, count: int = 1) -> np.ndarray:
    return np.ones((count, 3, height, width), np.float32)


def chosen(plain: Sleeper, rewritten: dict[int, Sleeper]) -> QuickNetwork:
    def rewrite(height: int, width: int, block: int) -> PlainNetwork | None:
        return network(rewritten[block]) if block in rewritten else None

    quick = QuickNetwork(plain, "image", ["loc"], rewrite)
    quick.prepare(batch(), object)
    return quick


def test_the_quickest_is_chosen_and_used_for_its_size_only() -> None:
    plain, wide, narrow = Sleeper(0.01), Sleeper(0.001), Sleeper(0.005)
    quick = chosen(plain, {16: wide, 8: narrow})
    trial = quick.chosen[32, 64]
    assert trial is not None
    assert trial.block == 16
    assert trial.share < 0.9
    runs = plain.runs, wide.runs, narrow.runs
    quick.run(batch(count=3), object())
    quick.run(batch(64, 64), object())
    assert (plain.runs, wide.runs, narrow.runs) == (runs[0] + 1, runs[1] + 1, runs[2])


@pytest.mark.parametrize(
    "rewritten",
    [
        {16: Sleeper(0.01), 8: Sleeper(0.02)},  # not quicker
        {16: Sleeper(0.0, plus=0.01)},  # not the same
        {16: Sleeper(0.0, plus=float("nan"))},
        {16: Sleeper(0.0, width=5)},
        {},  # not to be rewritten
    ],
)
def test_the_plain_one_stays_where_another_is_not_better(rewritten: dict[int, Sleeper]) -> None:
    plain = Sleeper(0.005)
    quick = chosen(plain, rewritten)
    assert quick.chosen == {(32, 64): None}
    before = plain.runs
    quick.run(batch(), object())
    assert plain.runs == before + 1


def test_a_size_is_tried_once_and_sizes_are_bounded() -> None:
    tried: list[tuple[int, int]] = []

    def rewrite(height: int, width: int, block: int) -> None:
        tried.append((height, width))

    quick = QuickNetwork(Sleeper(0.0), "image", ["loc"], rewrite)
    for height in (32, 32, 64, 96, 128, 160, 192):
        quick.prepare(batch(height), object)
    assert len(tried) == len(BLOCKS) * SIZES
    assert len(quick.chosen) == SIZES


@pytest.mark.parametrize(
    ("walls", "rounds", "least"),
    [
        ([5, 5, 5, 5, 5, 1], 5, 5),  # quiet: what might come later is not waited for
        ([9, 9, 9, 7, 7, 5, 5, 5, 5, 5, 1], 10, 5),  # busy: the first five would say 7
        (range(1000, 0, -40), MOST_ROUNDS, 40),  # never steady
    ],
)
def test_the_least_time_is_sought_until_it_is_steady(
    monkeypatch: pytest.MonkeyPatch, walls: Sequence[int], rounds: int, least: int
) -> None:
    now, took = [0.0], iter(walls)
    monkeypatch.setattr("streamer.inference.cpu.time.perf_counter", lambda: now[0])
    runs = []

    def run() -> None:
        runs.append(0)
        now[0] += next(took)

    assert least_seconds(run) == [least]
    assert len(runs) == rounds


def test_a_real_network_gives_the_same_before_and_after() -> None:
    session = open_session(model_bytes(), device="cpu", threads=1, spin=False)
    pictures = np.random.default_rng(1).uniform(-120, 140, (2, 3, 192, 320)).astype(np.float32)
    before = session.run(pictures)
    session.warm_up(pictures)
    after = session.run(pictures)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_others_may_run_while_a_size_is_prepared() -> None:
    session = open_session(model_bytes(), device="cpu", threads=1, spin=False)
    pictures = np.zeros((1, 3, 96, 160), np.float32)
    wanted = session.run(pictures)
    over = threading.Event()
    wrong: list[float] = []

    def run() -> None:
        while not over.is_set():
            for a, b in zip(session.run(pictures), wanted, strict=True):
                wrong.extend([] if np.allclose(a, b, atol=1e-4) else [float(np.abs(a - b).max())])

    thread = threading.Thread(target=run)
    thread.start()
    session.warm_up(pictures)
    over.set()
    thread.join(30)
    assert not wrong
