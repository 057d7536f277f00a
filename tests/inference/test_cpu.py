"""The CPU's networks: a quicker one is used where it is the same and really quicker."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

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


class Placed(Sleeper):
    """Says on which cores each of its runs may go on, and takes as long as it is told."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.placed: list[set[int]] = []
        self.inside, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def run(self, outputs: list[str], feed: dict[str, np.ndarray], options: object) -> list:
        self.placed.append(os.sched_getaffinity(0))
        self.inside.set()
        assert self.go_on.wait(10)
        return super().run(outputs, feed, options)


def batch(height: int = 32, width: int = 64, count: int = 1) -> np.ndarray:
    return np.ones((count, 3, height, width), np.float32)


def chosen(plain: Sleeper, rewritten: dict[int, Sleeper]) -> QuickNetwork:
    def rewrite(height: int, width: int, block: int) -> PlainNetwork | None:
        return network(rewritten[block]) if block in rewritten else None

    quick = QuickNetwork(plain, "image", ["loc"], None, rewrite)
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

    quick = QuickNetwork(Sleeper(0.0), "image", ["loc"], None, rewrite)
    for height in (32, 32, 64, 96, 128, 160, 192):
        quick.prepare(batch(height), object)
    assert len(tried) == len(BLOCKS) * SIZES
    assert len(quick.chosen) == SIZES


def on_a_thread(*steps: Callable[[], object]) -> list[object]:
    """What each gives, or raises, one after the other on one thread that is not the main one."""
    found: list[object] = []

    def work() -> None:
        for step in steps:
            try:
                found.append(step())
            except AssertionError as error:
                found.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    worker.join(20)
    return found


def here() -> set[int]:
    return os.sched_getaffinity(0)


def test_a_thread_is_bound_to_its_core_for_the_run_only() -> None:
    session, before = Placed(), here()
    core = max(before)
    bound = PlainNetwork(session, "image", ["loc"], core)
    free = PlainNetwork(session, "image", ["loc"])
    found = on_a_thread(
        lambda: bound.run(batch(), object()), here, lambda: free.run(batch(), object())
    )
    assert session.placed == [{core}, before]
    assert found[1] == before


def test_after_a_run_that_failed_the_thread_and_the_core_are_free() -> None:
    session, before = Placed(), here()
    bound = PlainNetwork(session, "image", ["loc"], max(before))
    found = on_a_thread(
        lambda: bound.run(batch(), None), here, lambda: bound.run(batch(), object())
    )
    assert isinstance(found[0], AssertionError)
    assert found[1] == before
    assert session.placed == [{max(before)}] * 2


def test_the_main_thread_is_never_bound() -> None:
    session, before = Placed(), here()
    PlainNetwork(session, "image", ["loc"], max(before)).run(batch(), object())
    assert session.placed == [before]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core is all that there is")
def test_a_thread_that_was_confined_by_others_stays_so() -> None:
    session, both = Placed(), sorted(here())
    bound = PlainNetwork(session, "image", ["loc"], both[-1])
    found = on_a_thread(
        lambda: os.sched_setaffinity(0, {both[0]}), lambda: bound.run(batch(), object()), here
    )
    assert session.placed == [{both[0]}]
    assert found[2] == {both[0]}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core is all that there is")
def test_what_is_said_of_a_thread_during_a_run_stays() -> None:
    class Confined(Placed):
        def run(self, *arguments: Any) -> list:
            found = super().run(*arguments)
            os.sched_setaffinity(0, {both[0]})
            return found

    session, both = Confined(), sorted(here())
    bound = PlainNetwork(session, "image", ["loc"], both[-1])
    assert on_a_thread(lambda: bound.run(batch(), object()), here)[1] == {both[0]}
    assert session.placed == [{both[-1]}]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core is all that there is")
def test_of_two_runs_at_once_one_is_bound() -> None:
    session, anywhere = Placed(), os.sched_getaffinity(0)
    bound = PlainNetwork(session, "image", ["loc"], max(anywhere))
    session.go_on.clear()
    first = threading.Thread(target=bound.run, args=(batch(), object()))
    first.start()
    assert session.inside.wait(10)
    session.inside.clear()
    second = threading.Thread(target=bound.run, args=(batch(), object()))
    second.start()
    assert session.inside.wait(10)
    session.go_on.set()
    first.join(10)
    second.join(10)
    assert session.placed == [{max(anywhere)}, anywhere]


def test_a_core_that_was_taken_away_is_done_without() -> None:
    session, before = Placed(), here()
    gone = PlainNetwork(session, "image", ["loc"], 1023)
    on_a_thread(lambda: gone.run(batch(), object()))
    assert session.placed == [before]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core is all that there is")
def test_threads_that_share_a_run_have_a_core_each() -> None:
    def bound(threads: int, *, spin: bool) -> list[set[int]]:
        before = {int(task.name) for task in Path("/proc/self/task").iterdir()}
        session = open_session(model_bytes(), device="cpu", threads=threads, spin=spin)
        tasks = {int(task.name) for task in Path("/proc/self/task").iterdir()} - before
        assert len(tasks) == threads - 1
        assert session.provider == "cpu"
        return sorted((os.sched_getaffinity(task) for task in tasks), key=min)

    cores = sorted(os.sched_getaffinity(0))
    assert bound(len(cores), spin=True) == [{core} for core in cores[1:]]
    assert bound(len(cores), spin=False) == [set(cores)] * (len(cores) - 1)
    # More threads than cores, or fewer: nobody knows which cores others use.
    assert bound(len(cores) + 1, spin=True) == [set(cores)] * len(cores)


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
