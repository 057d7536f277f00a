"""Which session, how many workers, what batches."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from structlog.testing import capture_logs

from streamer import engine as module
from streamer.app import App
from streamer.config import Config, Model, parse_config
from streamer.cores import usable_cores
from streamer.engine import Engine, open_engine
from streamer.errors import DetectionFailed, DeviceError
from streamer.inference import session as door
from streamer.inference.choose import Choice
from streamer.inference.cuda import BoundNetwork, GpuOptions, batch_sizes
from streamer.inference.detector import RetinaFace
from streamer.inference.gpu_memory import GpuMemory
from streamer.inference.providers import open_cpu
from streamer.inference.session import Session, open_session
from streamer.status import GpuUse
from streamer.vision.picture import ArrayPicture

ROOT = Path(__file__).resolve().parent.parent


def config(cameras: dict[str, Any], **sections: Any) -> Config:
    return parse_config({"cameras": cameras, "device": "cpu", **sections}, {})


@pytest.fixture(autouse=True)
def the_model(model_path: Path) -> None:
    """Every test here needs the real model."""


def test_workers_follow_cores_and_cameras() -> None:
    one = config({"a": {"source": "synthetic:"}})
    alone = open_engine(one, base_folder=ROOT, environ={}, cameras=1)
    assert (alone.max_batch, alone.model) == (1, "retinaface_mnet025")
    assert open_engine(one, base_folder=ROOT, environ={}, cameras=50).workers == usable_cores()
    asked = config({"a": {"source": "synthetic:"}}, inference={"workers": 3, "max_batch": 2})
    engine = open_engine(asked, base_folder=ROOT, environ={}, cameras=50)
    assert (engine.workers, engine.max_batch) == (3, 2)


def test_a_model_of_ones_own_keeps_its_name(tmp_path: Path, model_bytes: bytes) -> None:
    (tmp_path / "mine.onnx").write_bytes(model_bytes)
    settings = config({"a": {"source": "synthetic:"}}, model={"path": "mine.onnx"})
    engine = open_engine(settings, base_folder=tmp_path, environ={}, cameras=1)
    assert engine.model == "retinaface_mnet025"  # known by its hash, whatever the file is called


@pytest.fixture
def pretended_gpu(monkeypatch: pytest.MonkeyPatch) -> list[GpuOptions]:
    """A session that says it is on a GPU and runs as on one, on CPU memory; how it was opened."""
    asked: list[GpuOptions] = []

    def pretend(model: bytes, *, device: str, gpu: GpuOptions, **options: Any) -> Session:
        asked.append(gpu)
        session = open_session(model, device="cpu", **options)
        plain: Any = session._network
        session.provider = "cuda"
        session._network = BoundNetwork(
            onnxruntime, plain._session, image=plain._image, outputs=plain._outputs,
            sizes=batch_sizes(gpu.max_batch), device="cpu",
        )  # fmt: skip
        return session

    monkeypatch.setattr(module, "open_session", pretend)
    return asked


def test_a_gpu_gets_one_worker_and_every_size_of_batch_is_warm_before_the_first_frame(
    pretended_gpu: list[GpuOptions],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "SLOW_GPU_S", 60.0)  # this machine may be busy
    cameras = {f"c{n}": {"source": "synthetic:", "input_size": 256} for n in range(20)}
    settings = config(cameras, inference={"workers": 3, "max_batch": 4})
    engine = open_engine(settings, base_folder=ROOT, environ={}, cameras=20)
    assert (engine.workers, engine.max_batch) == (1, 4)
    assert (pretended_gpu[0].max_batch, pretended_gpu[0].largest_input) == (4, 640)
    engine.detector(Model(), 256)
    assert sorted(engine.session.warmed) == [(n, 3, 160, 256) for n in (1, 2, 4)]
    said = "".join(capfd.readouterr())
    assert said.count("warmed_up") == 3
    assert "workers_ignored" in said
    engine.detector(Model(), 128)
    assert "".join(capfd.readouterr()).count("warmed_up") == 3  # of the new size only


def test_a_device_that_is_far_too_slow_is_a_warning_with_the_figure(
    pretended_gpu: list[GpuOptions],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    settings = config({"a": {"source": "synthetic:"}}, inference={"max_batch": 1})
    engine = open_engine(settings, base_folder=ROOT, environ={}, cameras=1)
    monkeypatch.setattr(module, "SLOW_GPU_S", 1e-6)
    engine.detector(Model(), 256)
    said = "".join(capfd.readouterr())
    assert "warm_up_slow" in said
    assert str(round(engine.session.warmed[1, 3, 160, 256] * 1e3, 1)) in said


def test_the_gpu_that_is_used_is_the_one_that_is_read(
    pretended_gpu: list[GpuOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Meter:
        def __init__(self, number: int) -> None:
            self.number = number

        def read(self) -> GpuUse:
            return GpuUse(self.number, 1, 2, 0.5)

    monkeypatch.setattr(module, "GpuMeter", Meter)
    settings = config({"a": {"source": "synthetic:"}}, inference={"max_batch": 1})
    engine = open_engine(settings, base_folder=ROOT, environ={}, cameras=1)
    assert engine.gpu_use() == GpuUse(0, 1, 2, 0.5)


def test_on_a_cpu_one_picture_at_a_time_is_warm() -> None:
    settings = config({"a": {"source": "synthetic:"}})
    engine = open_engine(settings, base_folder=ROOT, environ={}, cameras=1)
    assert engine.gpu_use() is None
    engine.detector(Model(), 256)
    assert list(engine.session.warmed) == [(1, 3, 160, 256)]


class Opened:
    """Opens real sessions and remembers what was asked."""

    def __init__(self, model_bytes: bytes) -> None:
        self.model_bytes = model_bytes
        self.asked: list[tuple[int, bool]] = []
        self.devices: list[str] = []
        self.broken = False

    def __call__(self, device: str, threads: int, spin: bool) -> Session:
        if self.broken:
            raise DeviceError("no; try later")
        self.asked.append((threads, spin))
        self.devices.append(device)
        return open_session(self.model_bytes, device="cpu", threads=1, spin=False)

    def engine(self, cores: int, cameras: int, workers: int | None = None) -> Engine:
        return Engine(
            "m", self, device="auto",
            cores=cores, cameras=cameras, workers=workers, max_batch=None,
        )  # fmt: skip


def test_threads_of_a_run_follow_the_cameras_as_they_come_and_go(model_bytes: bytes) -> None:
    opened = Opened(model_bytes)
    engine = opened.engine(cores=8, cameras=1)
    detector = engine.detector(Model(), 128)
    first = engine.session
    first.memory.splits = 3
    first._watchdog.count_hang()
    for cameras in (1, 2, 3, 8, 100, 0, 1):
        engine.retune(cameras)
    assert opened.asked == [(8, True), (4, True), (2, True), (1, False), (8, True)]
    assert opened.devices == ["auto", *["cpu"] * 4]  # what auto became, it stays
    assert engine.session is not first
    assert (engine.session.memory.splits, engine.session.hangs) == (3, 1)
    assert engine.session.warmed  # before it was used
    assert engine.workers == 8
    picture = ArrayPicture(np.zeros((72, 128, 3), np.uint8))
    assert len(detector.detect([picture])[0]) == 0


def test_as_many_runs_are_warm_as_go_on_at_once(
    model_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def warm(self: RetinaFace, session: Session, width: int, height: int, *rest: int) -> None:
        asked.append(rest[-1])

    monkeypatch.setattr(RetinaFace, "_warm", warm)
    engine = Opened(model_bytes).engine(cores=8, cameras=2)  # four threads for each run
    engine.detector(Model(), 128)
    for cameras in (1, 3, 100):
        engine.retune(cameras)
    assert asked == [2, 1, 4, 8]


def test_a_camera_that_comes_and_goes_opens_nothing_again(model_bytes: bytes) -> None:
    opened = Opened(model_bytes)
    engine = opened.engine(cores=2, cameras=1)
    engine.detector(Model(), 128)
    first = engine.session
    for times in (1, 2, 3):
        engine.retune(2)
        assert engine.session is not first
        engine.session._watchdog.count_hang()
        engine.retune(1)
        assert engine.session is first
        assert first.hangs == times
    assert opened.asked == [(2, True), (1, False)]


class Stubborn:
    """A network whose run does not end, whatever it is told, until it is let go; then it fails."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Event()

    def run(self, batch: Any, options: Any) -> Any:
        self.begun.set()
        assert self.go.wait(60)
        assert options.terminate
        raise onnxruntime.capi.onnxruntime_pybind11_state.Fail("Exiting due to terminate flag")


def test_a_run_that_hangs_is_seen_and_counted_whatever_session_is_used_by_then(
    model_bytes: bytes,
) -> None:
    engine = Opened(model_bytes).engine(cores=8, cameras=1)
    engine.detector(Model(), 128)
    old, stubborn = engine.session, Stubborn()
    network, old._network = old._network, stubborn  # type: ignore[assignment]
    old._pace, old._first_s = None, 0.05
    failed: list[DetectionFailed] = []

    def hang() -> None:
        with pytest.raises(DetectionFailed, match="did not end within") as caught:
            old.run(np.zeros((1, 3, 64, 64), np.float32))
        failed.append(caught.value)

    worker = threading.Thread(target=hang)
    worker.start()
    try:
        assert stubborn.begun.wait(30)
        deadline = time.monotonic() + 30
        while engine.session.stuck_s() == 0 and time.monotonic() < deadline:
            stubborn.go.wait(0.01)
        for cameras in (2, 3):  # kept as the spare one, and then not even that
            before = engine.session.stuck_s()
            engine.retune(cameras)
            assert engine.session is not old
            assert engine.session.stuck_s() > before > 0
    finally:
        old._network = network
        stubborn.go.set()
        worker.join(30)
    assert len(failed) == 1
    assert (engine.session.stuck_s(), engine.session.hangs) == (0, 1)


def test_threads_that_were_chosen_by_hand_stay(model_bytes: bytes) -> None:
    opened = Opened(model_bytes)
    engine = opened.engine(cores=8, cameras=1, workers=2)
    engine.retune(20)
    assert opened.asked == [(4, False)]
    assert engine.workers == 2


def test_a_session_that_cannot_be_opened_now_leaves_the_old_one(
    model_bytes: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    opened = Opened(model_bytes)
    engine = opened.engine(cores=4, cameras=1)
    session = engine.session
    opened.broken = True
    engine.retune(4)
    assert engine.session is session
    assert "retune_failed" in "".join(capfd.readouterr())
    opened.broken = False
    engine.retune(4)
    assert engine.session is not session


def test_a_model_named_auto_is_chosen_and_told(capfd: pytest.CaptureFixture[str]) -> None:
    settings = config({"a": {"source": "synthetic:"}}, model={"name": "auto"})
    engine = open_engine(settings, base_folder=ROOT, environ={}, cameras=1)
    assert engine.model == "retinaface_mnet025"  # a CPU, and nothing larger was measured here
    said = "".join(capfd.readouterr())
    assert "model_chosen" in said
    assert "CPU" in said


def test_auto_goes_by_the_gpu_only_where_it_is_really_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int | None] = []

    def choose(*, gpu_free: int | None, **_: Any) -> Choice:
        asked.append(gpu_free)
        return Choice("retinaface_mnet025", "so it is")

    monkeypatch.setattr(module, "auto_model", choose)
    monkeypatch.setattr(module, "gpu_build", lambda: True)
    monkeypatch.setattr(module, "gpu_memory", lambda number: GpuMemory(3 << 30, 8 << 30))
    settings = config({"a": {"source": "synthetic:"}}, model={"name": "auto"}, device="auto")
    assert open_engine(settings, base_folder=ROOT, environ={}, cameras=1).session.provider == "cpu"
    assert asked == [3 << 30, None]


class BusyGpu:
    """A build for GPUs on a machine whose GPU is full, until ``free``; it says how it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.free = False
        monkeypatch.setattr(door, "built_with", lambda ort, kind: True)
        monkeypatch.setattr(door, "_open_proved", self.open)

    def open(
        self, ort: Any, model: bytes, asked: Any, device: str, threads: int, gpu: Any
    ) -> Session:
        self.asked.append(asked.kind)
        if not self.free:
            raise DeviceError("CUDA on GPU 0 cannot be used: out of memory; see nvidia-smi")
        opened = open_cpu(ort, model, threads=threads, spin=False)
        session = Session(opened, ort=ort, requested=device)
        session.provider = "cuda"
        return session


def test_auto_falls_back_to_the_cpu_aloud_and_never_changes_while_it_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = BusyGpu(monkeypatch)
    monkeypatch.setattr(module, "usable_cores", lambda: 2)
    settings = config(
        {"a": {"source": "synthetic:", "input_size": 128}},
        device="auto", http=None, publish={"zeromq": None},
    )  # fmt: skip
    with capture_logs() as log:
        app = App(settings, base_folder=ROOT, environ={})
    first, engine = app.status(), app._engine
    [told] = [line for line in log if line["event"] == "device_fallback"]
    assert (told["log_level"], told["detail"]) == ("warning", first.device_warning)
    assert (first.provider, first.requested_device) == ("cpu", "auto")
    assert first.device_warning.startswith("running on the CPU, because CUDA on GPU 0 cannot be")
    gpu.free = True
    before = engine.session
    engine.retune(2)
    later = app.status()
    assert engine.session is not before
    assert (later.provider, engine.session.requested) == ("cpu", "auto")
    assert later.device_warning == first.device_warning
    assert gpu.asked == ["cuda"]  # once, at the start
