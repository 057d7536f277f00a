"""What only an NVIDIA GPU can show: run it by ``pytest tests/gpu`` where there is one.

None of it has been run yet: nobody had a GPU when it was written. Each test says what it found
in numbers when it fails.
"""

import statistics
import threading
import time

import av
import numpy as np
import pytest
from structlog.testing import capture_logs

from streamer.capture.av_picture import AvPicture, ColourConverter
from streamer.capture.pyav import gpu_context
from streamer.errors import DeviceError
from streamer.inference.cuda import GpuOptions
from streamer.inference.detector import RetinaFace
from streamer.inference.diagnosis import read_driver
from streamer.inference.session import Session, open_session
from streamer.vision.boxes import iou
from streamer.vision.picture import ArrayPicture
from tests.conftest import ROOT

DEMO = ROOT / "streamer" / "assets" / "demo.mp4"

pytestmark = pytest.mark.gpu

LIMIT_MIB = 512


@pytest.fixture(scope="module", autouse=True)
def gpu() -> None:
    driver = read_driver()
    if driver is None or driver.problem or not driver.gpus:
        pytest.skip("needs an NVIDIA GPU")


def opened(model: bytes, device: str = "cuda", **gpu: object) -> Session:
    return open_session(model, device=device, threads=1, spin=False, gpu=GpuOptions(**gpu))


@pytest.fixture(scope="module")
def cuda(model_bytes: bytes) -> Session:
    return opened(model_bytes)


@pytest.fixture(scope="module")
def cpu(model_bytes: bytes) -> Session:
    return open_session(model_bytes, device="cpu", threads=1, spin=False)


def noise(n: int, height: int = 384, width: int = 640, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 50, (n, 3, height, width)).astype(np.float32)


def close(ours: tuple[np.ndarray, ...], theirs: tuple[np.ndarray, ...], atol: float) -> None:
    for mine, reference in zip(ours, theirs, strict=True):
        assert mine.shape == reference.shape
        worst = float(np.abs(mine - reference).max())
        assert worst <= atol, f"differs by {worst}"


def test_it_is_on_the_gpu(cuda: Session) -> None:
    assert cuda.provider == "cuda"
    assert cuda.nodes.get("CUDAExecutionProvider", 0) > 50


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16])
def test_it_gives_what_the_cpu_gives(cuda, cpu, count) -> None:
    for seed in range(3):
        batch = noise(count, 192, 320, seed)
        # TF32 has 10 bits of mantissa; boxes of a 320 input then differ by a few hundredths.
        close(cuda.run(batch), cpu.run(batch), atol=0.1)


def test_it_finds_the_same_faces(cuda, cpu, astronaut) -> None:
    [ours] = RetinaFace(cuda).detect([ArrayPicture(astronaut)])
    [theirs] = RetinaFace(cpu).detect([ArrayPicture(astronaut)])
    assert len(ours) == len(theirs) == 1
    assert iou(ours.boxes, theirs.boxes)[0, 0] >= 0.98
    assert abs(float(ours.scores[0] - theirs.scores[0])) <= 0.01


def test_it_is_faster_than_a_cpu_could_be(cuda) -> None:
    batch = noise(1)
    cuda.warm_up(batch)
    walls = []
    for _ in range(50):
        began = time.perf_counter()
        cuda.run(batch)
        walls.append(time.perf_counter() - began)
    assert statistics.median(walls) < 0.010, f"{statistics.median(walls) * 1e3:.1f} ms"


def test_cuda_graphs_give_the_same(model_bytes, cuda) -> None:
    try:
        graphs = opened(model_bytes, cuda_graphs=True)
    except DeviceError as error:
        pytest.fail(f"this model cannot be run with CUDA graphs: {error}")
    for count in (1, 4, 3, 1, 4):
        for seed in range(4):  # bound, recorded, replayed, replayed
            batch = noise(count, seed=seed)
            close(graphs.run(batch), cuda.run(batch), atol=1e-3)


def test_threads_take_turns(cuda) -> None:
    batches = [noise(n % 4 + 1, 192, 320, n) for n in range(8)]
    alone = [cuda.run(batch) for batch in batches]
    found: dict[int, tuple[np.ndarray, ...]] = {}

    def work(n: int) -> None:
        for _ in range(20):
            found[n] = cuda.run(batches[n])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, reference in enumerate(alone):
        close(found[n], reference, atol=1e-3)


@pytest.mark.parametrize("graphs", [False, True])
def test_a_folded_network_agrees_and_finds_the_same_faces(model_bytes, astronaut, graphs) -> None:
    session = opened(model_bytes, cuda_graphs=graphs)
    plain = RetinaFace(opened(model_bytes, fold=False))
    picture = ArrayPicture(astronaut.copy())
    [reference] = plain.detect([picture])
    with capture_logs() as said:
        mine = RetinaFace(session)
        for count in (1, 2, 4):
            mine.warm_up(512, 512, count)
    lines = [line for line in said if line["event"] in ("folded", "not_folded", "folding_failed")]
    assert [line["event"] for line in lines] != ["folding_failed"], lines
    if not session.folds(640, 640):
        pytest.skip(f"folded it is not quicker here: {lines}")
    for count in (1, 3, 4):
        for faces in mine.detect([picture] * count):
            np.testing.assert_allclose(faces.boxes, reference.boxes, atol=0.05)
            np.testing.assert_allclose(faces.landmarks, reference.landmarks, atol=0.05)


def test_a_camera_s_stream_is_decoded_by_the_gpu() -> None:
    """NVDEC: a clip's H.264 decoded by the GPU and by software looks alike."""
    shown = {}
    for where in ("gpu", "software"):
        with av.open(str(DEMO)) as container:
            stream = container.streams.video[0]
            own = stream.codec_context
            context = gpu_context(own, "0") if where == "gpu" else own
            frames = []
            for packet in container.demux(stream):
                frames += [AvPicture(f, ColourConverter()).bgr(320, 180)
                           for f in context.decode(packet)]  # fmt: skip
                if len(frames) >= 25:
                    break
            shown[where] = frames[:25], context.pix_fmt
    assert shown["gpu"][1] == "cuda"
    for ours, theirs in zip(shown["gpu"][0], shown["software"][0], strict=True):
        assert float(np.abs(ours.astype(int) - theirs).mean()) < 1


def test_a_gpu_that_is_not_there_is_named(model_bytes) -> None:
    with pytest.raises(DeviceError, match="no GPU of this number"):
        opened(model_bytes, "cuda:31")


def test_where_memory_is_short_pictures_are_looked_at_in_smaller_batches(model_bytes, astronaut):
    session = opened(model_bytes, memory_limit=LIMIT_MIB << 20)
    detector = RetinaFace(session, input_size=1920)
    found = detector.detect([ArrayPicture(astronaut)] * 16)
    assert [len(faces) for faces in found] == [1] * 16
    assert session.memory.splits > 0, f"{LIMIT_MIB} MiB were enough; lower the limit"


def test_tensorrt_gives_what_cuda_gives(model_bytes, cuda, tmp_path) -> None:
    try:
        session = opened(model_bytes, "tensorrt", engines=tmp_path, max_batch=4)
    except DeviceError as error:
        pytest.skip(str(error))
    for count in (1, 3, 4):
        batch = noise(count, 192, 320)
        close(session.run(batch), cuda.run(batch), atol=0.2)
    assert list(tmp_path.rglob("*.engine")), "no engine was kept"
