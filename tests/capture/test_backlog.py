"""How late a picture is that waited here, and what is left out to catch up."""

import socket
from contextlib import ExitStack, closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.capture.backlog import BEGINNING_S, BEHIND_S, LASTING_S, LITTLE, Backlog, Unread

SIZE = 1000
MUCH = 10 * SIZE


class Queue:
    """Bytes that wait; to be set."""

    def __init__(self, waiting: int | None = 0) -> None:
        self.waiting = waiting

    def __call__(self) -> int | None:
        return self.waiting


def test_a_picture_is_as_late_as_the_stream_lags_since_nothing_waited() -> None:
    queue = Queue()
    backlog = Backlog(queue)
    assert backlog.late_s(100.0, 7.0, SIZE) == 0
    queue.waiting = MUCH
    assert backlog.late_s(100.1, 7.04, SIZE) == pytest.approx(0.06)
    assert backlog.late_s(101.0, 7.08, SIZE) == pytest.approx(0.92)
    assert backlog.late_s(101.0, 7.96, SIZE) == pytest.approx(0.04)  # it caught up
    queue.waiting = 0
    assert backlog.late_s(103.0, 8.0, SIZE) == 0  # nothing waited: the camera itself was quiet
    queue.waiting = MUCH
    assert backlog.late_s(103.04, 8.04, SIZE) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("waiting", [None, 0, SIZE + LITTLE])
def test_where_nothing_waits_a_slow_clock_of_the_camera_is_no_lateness(waiting: int | None) -> None:
    backlog = Backlog(Queue(waiting))
    assert [backlog.late_s(n * 0.04, n * 0.03, SIZE) for n in range(1000)] == [0.0] * 1000
    assert not backlog.gives_up(40.0)


def test_what_waits_is_little_when_it_is_less_than_a_picture() -> None:
    queue = Queue()
    backlog = Backlog(queue)
    for n in range(3):
        backlog.late_s(n * 0.04, n * 0.04, 100_000)
    queue.waiting = 90_000
    assert backlog.late_s(5.0, 0.12, 100_000) == 0
    queue.waiting = 110_000
    assert backlog.late_s(9.0, 0.16, 100_000) == pytest.approx(3.96)


def test_it_is_no_later_than_since_nothing_waited() -> None:
    """A clock that runs at half speed, or leaps ahead and back, cannot make it older than that."""
    queue = Queue()
    backlog = Backlog(queue)
    backlog.late_s(10.0, 50.0, SIZE)
    queue.waiting = MUCH
    backlog.late_s(10.1, 50.1, SIZE)
    assert backlog.late_s(10.2, 1e6, SIZE) == 0
    assert backlog.late_s(10.3, 1e6 - 5, SIZE) == 0
    assert backlog.late_s(10.4, 1e6 - 4.99, SIZE) <= 0.4 + 1e-9


@pytest.mark.parametrize("pts_s", [None, 3.0, -1e5])
def test_a_time_that_says_nothing_leaves_it_as_late_as_it_was(pts_s: float | None) -> None:
    queue = Queue()
    backlog = Backlog(queue)
    backlog.late_s(10.0, 3.0, SIZE)
    queue.waiting = MUCH
    assert backlog.late_s(11.0, 3.04, SIZE) == pytest.approx(0.96)
    assert backlog.late_s(11.1, pts_s, SIZE) == pytest.approx(0.96)
    assert backlog.late_s(11.2, pts_s, SIZE) == pytest.approx(0.96)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 2),
            st.none() | st.floats(-(2.0**32), 2.0**32),
            st.none() | st.integers(0, 10**6),
            st.integers(0, 10**6),
        ),
        max_size=60,
    )
)
def test_whatever_comes_the_instant_of_capture_never_goes_back(
    steps: list[tuple[float, float | None, int | None, int]],
) -> None:
    queue, now, newest = Queue(), 1000.0, 0.0
    backlog = Backlog(queue)
    for passed_s, pts_s, queue.waiting, size in steps:
        now += passed_s
        late_s = backlog.late_s(now, pts_s, size)
        assert 0 <= late_s <= now - 1000.0 + 1e-6
        assert now - late_s >= newest - 1e-5
        newest = max(newest, now - late_s)


def behind(by_s: float = 1.0) -> tuple[Backlog, Queue]:
    """A backlog that has just begun to leave pictures out; it is at 101.5 and 7.04."""
    queue = Queue()
    backlog = Backlog(queue)
    backlog.late_s(100.0 - BEGINNING_S, 7.0 - BEGINNING_S, SIZE)
    backlog.late_s(100.0, 7.0, SIZE)
    queue.waiting = MUCH
    assert backlog.late_s(100.0 + by_s, 7.02, SIZE) == pytest.approx(by_s - 0.02)
    assert not backlog.gives_up(100.0 + by_s)
    assert not backlog.gives_up(100.0 + by_s + LASTING_S - 0.01)
    assert backlog.passes(100.0 + by_s + LASTING_S, 7.04, key=False)
    assert backlog.gives_up(100.0 + by_s + LASTING_S)
    return backlog, queue


def test_pictures_are_left_out_until_a_key_picture_that_is_in_time() -> None:
    backlog, _ = behind()
    assert not backlog.passes(101.5, 7.04, key=False)
    assert not backlog.passes(101.5, 8.0, key=True)  # late itself
    assert not backlog.passes(101.5, 8.49, key=False)  # in time, but it cannot be decoded alone
    assert backlog.passes(101.5, 8.45, key=True)
    assert backlog.left_out() == 3
    assert backlog.left_out() == 0
    assert backlog.passes(101.5, 8.49, key=False)
    assert backlog.late_s(101.5, 8.49, SIZE) == pytest.approx(0.01)
    assert not backlog.gives_up(101.5)


def test_at_the_beginning_all_that_waits_is_left_out() -> None:
    """What is late then is not known yet, for FFmpeg kept some pictures as well."""
    queue = Queue()
    backlog = Backlog(queue)
    backlog.late_s(100.0, 7.0, SIZE)
    queue.waiting = MUCH
    backlog.late_s(101.0, 7.04, SIZE)
    backlog.late_s(101.6, 7.08, SIZE)
    assert backlog.gives_up(101.6)
    assert not backlog.passes(101.6, 8.59, key=True)
    queue.waiting = 0
    assert backlog.passes(101.6, 9.0, key=True)
    assert backlog.late_s(101.6, 9.0, SIZE) == 0


def test_a_key_picture_is_in_time_when_nothing_waits_behind_it() -> None:
    backlog, queue = behind()
    queue.waiting = 0
    assert not backlog.passes(101.5, 7.08, key=False)
    assert backlog.passes(101.6, 7.12, key=True)


def test_a_moment_of_a_busy_machine_leaves_nothing_out() -> None:
    queue = Queue()
    backlog = Backlog(queue)
    backlog.late_s(100.0, 7.0, SIZE)
    queue.waiting = MUCH
    for n in range(1, 100):  # two seconds of pictures, decoded in 0.2 s
        now, pts_s = 102.0 + n * 0.002, 7.0 + n * 0.02
        assert backlog.passes(now, pts_s, key=False)
        backlog.late_s(now, pts_s, SIZE)
        assert not backlog.gives_up(now)


def test_it_is_only_late_from_a_bound_on() -> None:
    queue = Queue()
    backlog = Backlog(queue)
    backlog.late_s(100.0, 7.0, SIZE)
    queue.waiting = MUCH
    for n in range(1, 200):
        backlog.late_s(100.0 + n * 0.04 + BEHIND_S - 0.05, 7.0 + n * 0.04, SIZE)
        assert not backlog.gives_up(100.0 + n * 0.04)


def connection(stack: ExitStack, host: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
    """One end and the other, the first of which dialled."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = stack.enter_context(socket.create_server((host, 0), family=family))
    near = stack.enter_context(socket.create_connection(listener.getsockname()[:2]))
    return near, stack.enter_context(listener.accept()[0])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_waits_of_a_connection_is_counted(host: str) -> None:
    with ExitStack() as stack:
        near, far = connection(stack, host)
        with Unread([host], far.getsockname()[1]) as unread:
            assert unread.bytes() == 0
            far.sendall(b"x" * 5000)
            assert near.recv(1, socket.MSG_PEEK | socket.MSG_WAITALL) == b"x"
            assert unread.bytes() == 5000
            near.recv(1000)
            assert unread.bytes() == 4000
            near.close()
            assert unread.bytes() is None
            with open("/dev/null") as again:  # noqa: PTH123 - most likely by the same number
                assert again
                assert unread.bytes() is None


@pytest.mark.parametrize(
    ("addresses", "other_port"), [(["127.0.0.2"], 0), (["127.0.0.1"], 1), ([], 0)]
)
def test_other_connections_are_not_it(addresses: list[str], other_port: int) -> None:
    with ExitStack() as stack:
        _, far = connection(stack)
        port = far.getsockname()[1] + other_port
        assert Unread(addresses, port).bytes() is None


def test_of_two_to_one_address_each_has_its_own() -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = listener.getsockname()[1]
        far, unread = [], []
        for _ in range(2):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            far.append(stack.enter_context(listener.accept()[0]))
            unread.append(stack.enter_context(Unread(["127.0.0.1"], port)))
        far[1].sendall(b"xyz")
        assert [one.bytes() for one in unread] == [0, 3]
        stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        both = [stack.enter_context(closing(listener.accept()[0])) for _ in range(2)]
        either = stack.enter_context(Unread(["127.0.0.1"], port))
        both[0].sendall(b"12345")
        assert either.bytes() == 0  # nobody knows which it is
        both[1].sendall(b"123")
        assert either.bytes() == 3


def test_a_connection_is_free_for_another_when_it_is_let_go() -> None:
    with ExitStack() as stack:
        _, far = connection(stack)
        port = far.getsockname()[1]
        with Unread(["127.0.0.1"], port):
            assert Unread(["127.0.0.1"], port).bytes() is None
        with Unread(["127.0.0.1"], port) as unread:
            assert unread.bytes() == 0
