import sys
import threading
import time
from types import ModuleType

import numpy as np
import onnxruntime
import pytest

from streamer.errors import DetectionFailed, DeviceError, MissingDependency, ModelError, OutOfMemory
from streamer.inference import session as door
from streamer.inference.providers import Opened, open_cpu
from streamer.inference.session import Session, open_session
from streamer.inference.watchdog import Watchdog
from tests.faults.looping_model import looping_model
from tests.inference.fake_ort import IMAGE, OUTPUTS, STATE, FakeBuild, FakeSession
from tests.inference.pictures import model_bytes

HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def cpu(threads: int = 1, spin: bool = False) -> Session:
    return open_session(model_bytes(), device="cpu", threads=threads, spin=spin)


def noise(n: int = 1, height: int = 64, width: int = 96) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 50, (n, 3, height, width)).astype(np.float32)


# What it runs


@pytest.mark.parametrize(("threads", "spin"), [(1, False), (1, True), (2, False), (2, True)])
def test_outputs_are_boxes_probabilities_and_landmarks(threads, spin) -> None:
    session = cpu(threads, spin)
    loc, conf, landmarks = session.run(noise(2))
    priors = 2 * (8 * 12 + 4 * 6 + 2 * 3)
    assert loc.shape == (2, priors, 4)
    assert conf.shape == (2, priors, 2)
    assert landmarks.shape == (2, priors, 10)
    assert {a.dtype for a in (loc, conf, landmarks)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(conf.sum(axis=2), 1, atol=1e-5)
    assert (session.provider, session.requested, session.warning) == ("cpu", "cpu", None)


def test_threads_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="threads"):
        cpu(threads=0)


def test_many_threads_on_one_session_get_what_one_gets() -> None:
    session = cpu()
    batches = [noise() * k for k in range(8)]
    alone = [session.run(b) for b in batches]
    together: dict[int, tuple[np.ndarray, ...]] = {}
    start = threading.Barrier(8)

    def work(k: int) -> None:
        start.wait()
        together[k] = session.run(batches[k])

    workers = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for k, expected in enumerate(alone):
        for ours, theirs in zip(together[k], expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


# What is not a model


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>404</html>", model_bytes()[:1000], model_bytes()[:-1000], b"\0" * 4096],
    ids=["empty", "html", "start only", "end missing", "zeros"],
)
def test_bytes_that_are_no_model_are_named_in_one_sentence(content, capfd) -> None:
    with pytest.raises(ModelError, match="not an ONNX model") as caught:
        open_session(content, device="cpu", threads=1, spin=False)
    text = str(caught.value)
    assert "\n" not in text
    assert "ONNXRuntimeError" not in text
    assert text.endswith("fetch it again")
    assert capfd.readouterr() == ("", "")


def wrapped(inner, kind: str = "cpu", **more) -> Session:
    opened = Opened(inner, kind, {})
    return Session(opened, ort=FakeBuild(), requested=kind, **more)


def test_outputs_are_told_apart_by_shape_whatever_their_order() -> None:
    session = wrapped(FakeSession([IMAGE], [OUTPUTS[2], OUTPUTS[0], OUTPUTS[1]]))
    assert [chr(int(a[0])) for a in session.run(noise())] == ["l", "c", "m"]


# What fails while running


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((1, 4, 64, 64), np.float32),
        np.zeros((1, 3, 64, 64), np.float64),
        np.zeros((0, 3, 64, 64), np.float32),
        np.zeros((3, 64, 64), np.float32),
    ],
    ids=["four channels", "float64", "empty batch", "no batch"],
)
def test_a_run_that_fails_is_one_clean_line_and_the_session_lives_on(batch, capfd) -> None:
    session = cpu()
    with pytest.raises(DetectionFailed) as caught:
        session.run(batch)
    text = str(caught.value)
    assert "\n" not in text
    assert "ONNXRuntimeError" not in text
    assert "onnxruntime_src" not in text
    assert capfd.readouterr() == ("", "")
    session.run(noise())


def failing(kind: str, error: Exception, **more) -> tuple[Session, FakeSession]:
    def fails(batch) -> None:
        raise error

    inner = FakeSession(fails=fails)
    return wrapped(inner, kind, **more), inner


@pytest.mark.parametrize("kind", ["cuda", "tensorrt"])
def test_a_gpu_that_is_lost_ends_the_program(kind) -> None:
    session, _ = failing(kind, STATE.Fail("CUDA failure 700: an illegal memory access ; GPU=0"))
    with pytest.raises(DeviceError, match="restart"):
        session.run(noise())


def test_a_gpu_that_is_full_fails_one_batch_and_lets_go_of_what_it_keeps() -> None:
    inner = FakeSession()
    session = wrapped(inner, "cuda")
    session.warm_up(noise(1))

    def full(batch) -> None:
        raise STATE.RuntimeException("Failed to allocate memory for requested buffer of size 99")

    inner.fails = full
    with pytest.raises(OutOfMemory, match="smaller batch"):
        session.run(noise(2))
    assert not session._network.ready((1, 3, 64, 96))
    inner.fails = lambda batch: None
    session.run(noise(1))


def test_a_provider_that_fails_in_mid_run_never_becomes_the_cpu(capfd) -> None:
    """The real session: its own fallback would print, open itself on the CPU and go on."""
    session = cpu()
    inner = session._network._session
    real, calls = inner._sess, []

    class Failing:
        def run(self, *arguments):
            calls.append(arguments)
            raise STATE.EPFail("CUDA execution provider failed")

        def __getattr__(self, name):
            return getattr(real, name)

    inner._sess = failing_inside = Failing()
    for _ in range(2):
        with pytest.raises(DetectionFailed, match="provider failed"):
            session.run(noise())
    assert inner._sess is failing_inside
    assert len(calls) == 2
    assert capfd.readouterr() == ("", "")
    inner._sess = real


@pytest.fixture
def bounded(monkeypatch):
    """Ends all runs of ``onnxruntime`` that were begun, in 30 s.

    No signal breaks into a run, pytest's own limit neither: a test of our limits that fails would
    hang. Ended so, a run fails by another error than the one that the test looks for.
    """
    made = []

    def options():
        made.append(real())
        return made[-1]

    def end() -> None:
        for each in made:
            each.terminate = True

    real = onnxruntime.RunOptions
    monkeypatch.setattr(onnxruntime, "RunOptions", options)
    timer = threading.Timer(30.0, end)
    timer.start()
    yield
    timer.cancel()
    timer.join()


@pytest.mark.usefixtures("bounded")
def test_a_run_that_never_ends_is_ended_counted_and_the_session_lives_on(capfd) -> None:
    opened = open_cpu(onnxruntime, looping_model(), threads=1, spin=False)
    session = Session(
        opened, ort=onnxruntime, requested="cpu", watchdog=Watchdog(look_s=0.02), run_s=0.2
    )
    black = np.zeros((1, 3, 192, 320), np.float32)
    session.warm_up(black)
    assert session.hangs == 0
    for hangs in (1, 2):
        with pytest.raises(DetectionFailed, match=r"did not end within \d\.\d s and was stopped"):
            session.run(black + 1)
        assert session.hangs == hangs
    session.run(black)
    assert session.stuck_s() == 0
    assert capfd.readouterr() == ("", "")


class Limits(Watchdog):
    """Keeps the limits it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[float] = []

    def begin(self, options, limit_s):
        self.given.append(limit_s)
        return super().begin(options, limit_s)


def test_a_run_may_take_five_seconds_or_twenty_times_the_warm_up() -> None:
    limits = Limits()
    inner = FakeSession()
    session = wrapped(inner, watchdog=limits)
    session.run(noise(1))
    session.warm_up(noise(1))
    session.run(noise(1))
    assert limits.given == [60, 60, 60, 5]
    inner.fails = lambda batch: time.sleep(0.3)
    session.warm_up(noise(1))
    session.run(noise(1))
    session.run(noise(2))
    assert 6 <= limits.given[-2] < 60
    assert limits.given[-1] == pytest.approx(2 * limits.given[-2])
    assert session.warmed[1, 3, 64, 96] >= 0.3


@pytest.mark.parametrize(("kind", "first"), [("cuda", 60), ("tensorrt", 1800)])
def test_on_a_gpu_the_first_run_of_each_shape_may_take_long(kind, first) -> None:
    limits = Limits()
    session = wrapped(FakeSession(), kind, watchdog=limits)
    session.warm_up(noise(4))
    session.run(noise(3))
    session.run(noise(1))
    assert limits.given == [first, first, 5, first]


# Where it runs


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CUDA", "", "cuda:-1", "cpu:0"])
def test_unknown_devices_are_refused(device) -> None:
    with pytest.raises(DeviceError, match="use auto, cpu, cuda, cuda:N"):
        open_session(model_bytes(), device=device, threads=1, spin=False)


@pytest.mark.skipif(HAS_CUDA, reason="this onnxruntime has CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "tensorrt", "openvino"])
def test_a_device_that_the_real_build_lacks_is_an_error_with_a_remedy(device, capfd) -> None:
    with pytest.raises(DeviceError, match=r"built without.*pip install"):
        open_session(model_bytes(), device=device, threads=1, spin=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(HAS_CUDA, reason="this onnxruntime has CUDA")
@pytest.mark.parametrize("gpu_there", [False, True])
def test_auto_on_a_build_without_cuda_warns_only_where_there_is_a_gpu(
    gpu_there, monkeypatch
) -> None:
    monkeypatch.setattr(door.Path, "exists", lambda self: gpu_there)
    session = open_session(model_bytes(), device="auto", threads=1, spin=False)
    assert (session.provider, session.requested) == ("cpu", "auto")
    assert (session.warning is not None) == gpu_there
    assert not gpu_there or "streamer[gpu]" in session.warning


@pytest.fixture
def build(monkeypatch):
    def install(**settings) -> FakeBuild:
        fake = FakeBuild(**settings)
        monkeypatch.setitem(sys.modules, "onnxruntime", fake)
        return fake

    return install


@pytest.mark.parametrize("device", ["cuda", "cuda:2", "tensorrt", "auto"])
def test_a_gpu_that_works_is_used_and_runs_batches_of_a_few_sizes(build, device) -> None:
    fake = build()
    session = open_session(b"model", device=device, threads=4, spin=True)
    provider = "cuda" if device == "auto" else device.partition(":")[0]
    assert (session.provider, session.requested, session.warning) == (provider, device, None)
    assert [session.batch_size(n) for n in (1, 3, 9)] == [1, 4, 16]
    assert sum(session.nodes.values()) == 2
    assert fake.preloaded == 1


MISSING_CUDNN = STATE.NotImplemented("cuDNN is not available: Conv is not implemented")


def test_a_gpu_that_opens_and_cannot_run_is_not_there(build) -> None:
    build(first_run=MISSING_CUDNN)
    with pytest.raises(DeviceError, match=r"GPU 0 cannot be used.*or set the device to cpu"):
        open_session(b"model", device="cuda", threads=1, spin=False)


@pytest.mark.parametrize("settings", [{"loads": False}, {"first_run": MISSING_CUDNN}])
def test_auto_then_runs_on_the_cpu_and_warns(build, settings) -> None:
    fake = build(**settings)
    session = open_session(b"model", device="auto", threads=1, spin=False)
    assert (session.provider, session.requested) == ("cpu", "auto")
    assert "running on the CPU, because CUDA on GPU 0 cannot be used" in session.warning
    assert not fake.opened[-1].gpu


def test_sessions_are_opened_one_at_a_time(build) -> None:
    fake = build()
    usual, inside, most = fake.preload_dlls, [0], [0]

    def preload() -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.02)
        usual()
        inside[0] -= 1

    fake.preload_dlls = preload
    threads = [
        threading.Thread(
            target=open_session, args=(b"model",),
            kwargs={"device": "cuda", "threads": 1, "spin": False},
        )
        for _ in range(4)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (fake.preloaded, most[0]) == (4, 1)


# Without onnxruntime


def test_without_onnxruntime_the_extras_are_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependency, match=r"'streamer\[cpu\]' or 'streamer\[gpu\]'"):
        cpu()


def test_an_empty_shell_of_onnxruntime_is_told_from_none(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    with pytest.raises(MissingDependency, match="damaged"):
        cpu()
