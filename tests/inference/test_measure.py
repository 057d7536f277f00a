"""Measurements, with stand-in networks of RetinaFace's contract and with the real model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from streamer.apart import Crashed
from streamer.errors import DetectionFailed, DeviceError, ModelError
from streamer.inference import measure as module
from streamer.inference.detector import RetinaFace
from streamer.inference.gpu_memory import GpuMemory
from streamer.inference.measure import (
    Measurement,
    load,
    machine,
    measure,
    measure_apart,
    save,
    sustained,
)
from streamer.inference.session import open_session
from streamer.vision.picture import ArrayPicture
from tests.inference.standin import standin

ONE = Measurement(
    model="a", input_size=640, width=640, height=384, device="cpu", warning=None, threads=2,
    load_ms=1.0, first_ms=2.0, ms_min=1.0, ms_median=1.5, ms_max=2.0, runs=3, per_second=60.0,
    memory=1 << 20, peak=1 << 21, gpu_memory=None,
)  # fmt: skip


@pytest.mark.parametrize("size", [{}, {"channels": 24, "layers": 2}])
def test_a_standin_has_the_contract_of_the_head(size: dict[str, int]) -> None:
    """It sees a face where it is bright, in all batches and shapes, as the real models would."""
    session = open_session(standin(**size), device="cpu", threads=1, spin=False)
    picture = np.zeros((360, 640, 3), np.uint8)
    picture[96:160, 320:384] = 255
    bright, dark = ArrayPicture(picture), ArrayPicture(np.zeros((720, 1280, 3), np.uint8))
    seen, nothing = RetinaFace(session, input_size=320).detect([bright, dark])
    assert len(seen) > 0
    assert len(nothing) == 0
    centres = (seen.boxes[:, :2] + seen.boxes[:, 2:]) / 2
    assert np.all(np.abs(centres - (352, 128)) <= 32)
    loc, conf, landmarks = session.run(np.zeros((3, 3, 64, 96), np.float32))
    assert (loc.shape, conf.shape, landmarks.shape) == ((3, 252, 4), (3, 252, 2), (3, 252, 10))


def test_in_a_process_of_its_own(model_bytes: bytes) -> None:
    found = measure_apart(
        model_bytes, model="retinaface_mnet025", input_size=320, device="auto", seconds=0.05
    )
    assert (found.width, found.height, found.model) == (320, 192, "retinaface_mnet025")
    assert 0 < found.ms_min <= found.ms_median <= found.ms_max
    assert found.runs >= 3
    assert found.per_second is not None
    assert found.per_second > 0
    assert found.peak > found.memory > 0


def test_a_larger_network_takes_more_memory() -> None:
    memory = [
        measure_apart(
            standin(channels=channels, layers=2), model="x", input_size=320, device="cpu",
            seconds=0.01, throughput=False,
        ).memory
        for channels in (4, 256)
    ]  # fmt: skip
    # 6 layers of 3x3x256x256 weights of 4 bytes; onnxruntime may keep them once more, packed
    assert memory[1] - memory[0] > 6 * 9 * 256 * 256 * 4 * 0.8


def test_errors_of_the_session_come_through() -> None:
    with pytest.raises(ModelError, match="not an ONNX model"):
        measure_apart(b"junk", model="x", input_size=320)
    with pytest.raises(DeviceError, match="unknown"):
        measure_apart(standin(), model="x", input_size=320, device="toaster")
    with pytest.raises(Crashed, match="multiple of 32"):
        measure_apart(standin(), model="x", input_size=321)


def test_nobody_waits_for_a_session_that_hangs() -> None:
    with pytest.raises(Crashed, match="did not end within"):
        measure_apart(standin(), model="x", input_size=320, seconds=60.0, timeout_s=3.0)


class FakeGpu:
    """A session on a GPU that takes one batch size only."""

    provider, warning = "cuda", None

    def __init__(self, most: int) -> None:
        self.most = most

    def run(self, batch: np.ndarray) -> None:
        if len(batch) > self.most:
            raise DetectionFailed("out of memory; use less")


@pytest.mark.parametrize("most", [1, 8])
def test_a_gpu_is_measured_in_batches_and_its_own_memory(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    frees = iter([GpuMemory(10 << 30, 16 << 30), GpuMemory(9 << 30, 16 << 30)])
    asked: list[int] = []
    monkeypatch.setattr(module, "gpu_memory", lambda n: asked.append(n) or next(frees))
    monkeypatch.setattr(module, "open_session", lambda *_, **__: FakeGpu(most))
    found = measure(b"", model="x", input_size=64, device="cuda:3", seconds=0.001, throughput=True)
    assert (found.device, found.threads, found.gpu_memory) == ("cuda", 1, 1 << 30)
    assert asked == [3, 3]
    assert found.per_second is not None


def test_a_gpu_that_fails_altogether_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "gpu_memory", lambda n: None)
    monkeypatch.setattr(module, "open_session", lambda *_, **__: FakeGpu(0))
    with pytest.raises(DetectionFailed):
        measure(b"", model="x", input_size=64, device="cuda", seconds=0.001, throughput=True)


def test_what_was_measured_is_kept_for_this_machine(tmp_path: Path) -> None:
    file = tmp_path / "measured.json"
    assert load(file) == []
    save(file, [ONE])
    assert load(file) == [ONE]
    assert list(tmp_path.iterdir()) == [file]
    about = json.loads(file.read_text())
    assert about["machine"] == machine()
    assert "onnxruntime" in str(machine()["onnxruntime"])


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(schema=0),
        lambda d: d["machine"].update(cores=1000),
        lambda d: d["measurements"].append({"model": "half"}),
        lambda d: d.pop("machine"),
        lambda d: d.update(measurements=7),
    ],
)
def test_what_another_machine_or_nobody_measured_counts_for_nothing(change, tmp_path) -> None:
    file = tmp_path / "measured.json"
    save(file, [ONE])
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))
    assert load(file) == []


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"null", b"[" * 100_000])
def test_a_damaged_file_counts_for_nothing(text: bytes, tmp_path: Path) -> None:
    file = tmp_path / "measured.json"
    file.write_bytes(text)
    assert load(file) == []


def test_the_next_larger_size_stands_for_one_nobody_measured() -> None:
    found = [
        ONE,
        dataclasses.replace(ONE, input_size=1280, per_second=15.0),
        dataclasses.replace(ONE, model="b", input_size=320, per_second=200.0),
        dataclasses.replace(ONE, model="c", device="cuda", per_second=900.0),
        dataclasses.replace(ONE, model="d", per_second=None),
    ]
    assert sustained(found, input_size=640, device="cpu") == {"a": 60.0}
    assert sustained(found[::-1], input_size=320, device="cpu") == {"a": 60.0, "b": 200.0}
    assert sustained(found, input_size=672, device="cpu") == {"a": 15.0}
    assert sustained(found, input_size=4096, device="cpu") == {}
    assert sustained(found, input_size=640, device="cuda") == {"c": 900.0}
