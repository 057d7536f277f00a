import threading
import time
from types import SimpleNamespace

import onnxruntime
import pytest

from streamer.inference import watchdog as module
from streamer.inference.watchdog import Watchdog


def options() -> SimpleNamespace:
    return SimpleNamespace(terminate=False)


def until(condition, seconds: float = 10.0) -> bool:
    give_up_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.005)
    return True


def watchers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "watchdog"]


def test_a_run_over_its_time_is_told_to_end_and_others_are_not() -> None:
    dog = Watchdog(look_s=0.01)
    late, early = options(), options()
    run, other = dog.begin(late, 0.05), dog.begin(early, 60)
    assert until(lambda: late.terminate)
    assert run.ended
    assert not early.terminate
    assert dog.stuck_s() > 0
    dog.end(run)
    dog.end(other)
    assert dog.stuck_s() == 0


def test_a_run_that_ends_in_time_is_left_alone() -> None:
    dog = Watchdog(look_s=0.01)
    for _ in range(50):
        mine = options()
        dog.end(dog.begin(mine, 0.2))
        assert not mine.terminate


def test_the_thread_ends_without_runs_and_comes_back_with_one(monkeypatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.05)
    before = set(watchers())
    dog = Watchdog(look_s=0.01)
    dog.end(dog.begin(options(), 60))
    assert until(lambda: set(watchers()) <= before)
    late = options()
    run = dog.begin(late, 0.02)
    assert until(lambda: late.terminate)
    dog.end(run)


def test_runs_that_begin_as_the_thread_ends_are_watched_all_the_same(monkeypatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.0)
    dog = Watchdog(look_s=0.001)
    for step in range(60):
        late = options()
        run = dog.begin(late, 0.002)
        assert until(lambda late=late: late.terminate), f"run {step} was not watched"
        dog.end(run)
        time.sleep(step % 7 * 0.0005)


def test_a_process_that_stood_still_ends_nothing() -> None:
    now = [100.0]
    dog = Watchdog(look_s=0.02, clock=lambda: now[0])
    mine = options()
    run = dog.begin(mine, 0.3)
    time.sleep(0.1)
    now[0] += 3600  # SIGSTOP for an hour
    time.sleep(0.1)
    assert not mine.terminate

    def a_little_later() -> bool:
        now[0] += 0.005
        return mine.terminate

    assert until(a_little_later)
    dog.end(run)


def test_a_run_that_cannot_be_ended_is_told_of_once(monkeypatch, capfd) -> None:
    monkeypatch.setattr(module, "STUCK_S", 0.05)
    dog = Watchdog(look_s=0.01)
    run = dog.begin(options(), 0.01)
    assert until(lambda: run.told)
    time.sleep(0.1)
    dog.end(run)
    said = capfd.readouterr()
    assert (said.out + said.err).count("run_stuck") == 1


@pytest.mark.parametrize("flag", [True, False])
def test_the_flag_is_one_that_onnxruntime_has(flag) -> None:
    real = onnxruntime.RunOptions()
    real.terminate = flag
    assert real.terminate is flag
