"""A folded network is used where it is quicker and says the same, and never costs a face.

The CPU stands in for the GPU: the numbers and the bindings are real, the device is not.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import onnxruntime
import pytest
from structlog.testing import capture_logs

from streamer.errors import DetectionFailed, DeviceError, ModelError, OutOfMemory
from streamer.inference.cpu import PlainNetwork
from streamer.inference.cuda import GpuOptions
from streamer.inference.detector import RetinaFace
from streamer.inference.folding import SIZES, Folding
from streamer.inference.graph import FOLDED, TOP_K, Ports, fold
from streamer.inference.session import Session, open_session
from streamer.inference.watchdog import Watchdog
from streamer.types import Faces
from streamer.vision.picture import ArrayPicture
from tests.inference.dressed_ort import DressedBuild, quiet_cpu
from tests.inference.fake_ort import STATE
from tests.inference.pictures import ROOT, model_bytes, reference_pictures
from tests.inference.standin import standin

PORTS = Ports("input", "loc", "conf", "landmarks")
HEIGHT, WIDTH = 64, 96


# The choice


class Network(PlainNetwork):
    """A network on the CPU that takes ``seconds`` more and adds ``plus`` to its first output."""

    def __init__(
        self, model: bytes, image: str, outputs: tuple[str, ...], seconds: float, plus: float = 0.0
    ) -> None:
        super().__init__(quiet_cpu(model), image, list(outputs))
        self.seconds, self.plus, self.freed = seconds, plus, 0
        self.error: Exception | None = None

    def answer(self, batch: Any) -> list[Any]:
        if self.error is not None:
            raise self.error
        time.sleep(self.seconds)
        first, *others = self.run(batch, onnxruntime.RunOptions())
        return [first + np.float32(self.plus), *others]

    def free(self) -> None:
        self.freed += 1


def plain(seconds: float = 0.02) -> Network:
    return Network(standin(), PORTS.image, PORTS[1:], seconds)


def folded(seconds: float = 0.0, plus: float = 0.0) -> Network:
    model = fold(standin(), PORTS, height=HEIGHT, width=WIDTH)
    return Network(model, FOLDED.image, FOLDED[1:], seconds, plus)


def run(network: Network, batch: Any) -> list[Any]:
    return network.answer(batch)


def chosen(other: Network | Exception, seconds: float = 0.02) -> tuple[Any, list[Any]]:
    """The folded network if it was chosen, and what the log says."""

    def opened(height: int, width: int) -> Any:
        if isinstance(other, Exception):
            raise other
        return other

    folding = Folding(plain(seconds), opened)
    assert folding.network(HEIGHT, WIDTH) is None
    with capture_logs() as said:
        folding.choose(HEIGHT, WIDTH, run)
        folding.choose(HEIGHT, WIDTH, run)  # once only
    return folding.network(HEIGHT, WIDTH), said


def test_a_quicker_one_that_says_the_same_is_used_and_told() -> None:
    network, [line] = chosen(quick := folded())
    assert network is quick
    assert (line["event"], line["log_level"]) == ("folded", "info")
    assert (line["width"], line["height"]) == (WIDTH, HEIGHT)
    assert line["ms"] < 20 <= line["plain_ms"]
    assert line["differs"] < 1e-3


def test_one_that_is_not_quicker_is_not() -> None:
    network, [line] = chosen(folded(0.04), 0.0)
    assert network is None
    assert (line["event"], line["log_level"]) == ("not_folded", "info")
    assert line["ms"] >= 40


@pytest.mark.parametrize("plus", [0.002, -1.0, float("nan"), float("inf")])
def test_one_that_says_something_else_is_not_and_a_warning_says_so(plus: float) -> None:
    network, [line] = chosen(folded(plus=plus))
    assert network is None
    assert (line["event"], line["log_level"]) == ("folding_failed", "warning")
    assert line["detail"].startswith("the plain network is used, because the folded one is")


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (ModelError("it is another; use it as it is"), "not_folded"),
        (DeviceError("it is another; use another device"), "folding_failed"),
    ],
)
def test_one_that_cannot_be_made_or_opened_is_no_error(error: Exception, event: str) -> None:
    network, [line] = chosen(error)
    assert network is None
    assert line["event"] == event
    assert line["detail"] == "the plain network is used, because it is another"


@pytest.mark.parametrize("error", [DetectionFailed("no; try later"), OutOfMemory("full; use less")])
def test_one_that_cannot_be_run_lets_go_of_its_memory(error: Exception) -> None:
    broken = folded()
    broken.error = error
    network, [line] = chosen(broken)
    assert network is None
    assert broken.freed == 1
    assert (line["event"], line["log_level"]) == ("folding_failed", "warning")


def test_a_gpu_that_is_lost_while_it_is_tried_is_an_error() -> None:
    broken = folded()
    broken.error = DeviceError("the GPU stopped working; restart")
    with pytest.raises(DeviceError, match="restart"):
        chosen(broken)


def test_sizes_are_bounded_and_threads_try_one_at_a_time() -> None:
    inside, most, opened = [0], [0], []

    def refuse(height: int, width: int) -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.002)
        opened.append((height, width))
        inside[0] -= 1
        raise ModelError("no; never")

    folding = Folding(plain(0), refuse)
    sizes = [32 * n for n in range(1, SIZES + 5)]
    threads = [
        threading.Thread(target=lambda: [folding.choose(n, 32, run) for n in sizes])
        for _ in range(3)
    ]
    with capture_logs():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert opened == [(n, 32) for n in sizes[:SIZES]]
    assert most == [1]


# The whole way, by the session and the detector


@cache
def pictures() -> dict[str, np.ndarray]:
    return dict(reference_pictures(ROOT / "streamer" / "assets" / "demo.mp4"))


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Iterator[DressedBuild]:
    """A GPU on which the folded network is said to take half the time; who is quicker here is not
    asked, for other work on the machine would answer."""

    def half(*runs: Callable[[], object]) -> list[float]:
        for each in runs:
            each()
        return [1.0, 0.5]

    dressed = DressedBuild()
    monkeypatch.setattr("streamer.inference.folding.least_seconds", half)
    monkeypatch.setitem(sys.modules, "onnxruntime", dressed)
    with capture_logs():
        yield dressed


def opened(model: bytes, device: str = "cuda", **gpu: Any) -> Session:
    options = GpuOptions(**{"max_batch": 4, **gpu})
    return open_session(model, device=device, threads=1, spin=False, gpu=options)


def on_cpu(model: bytes, **rules: Any) -> RetinaFace:
    return RetinaFace(open_session(model, device="cpu", threads=1, spin=False), **rules)


def assert_same(ours: list[Faces], theirs: list[Faces]) -> None:
    for mine, reference in zip(ours, theirs, strict=True):
        assert len(mine) == len(reference)
        np.testing.assert_allclose(mine.boxes, reference.boxes, rtol=0, atol=1e-3)
        np.testing.assert_allclose(mine.landmarks, reference.landmarks, rtol=0, atol=1e-3)
        np.testing.assert_allclose(mine.scores, reference.scores, rtol=0, atol=1e-5)


class Watched:
    """Keeps the shapes that are run from now on."""

    def __init__(self, build: DressedBuild, *, then: Callable[[Any], None] | None = None) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.then = then
        build.before = self

    def __call__(self, batch: Any) -> None:
        self.shapes.append(batch.shape)
        if self.then is not None:
            self.then(batch)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "tensorrt"])
def test_real_faces_are_those_of_the_plain_network(build: DressedBuild, device: str) -> None:
    mine = RetinaFace(opened(model_bytes(), device), confidence=0.3)
    theirs = on_cpu(model_bytes(), confidence=0.3)
    names = [f"demo-{n}-1280x736" for n in (0, 60, 200)]
    asked = [ArrayPicture(pictures()[name].copy()) for name in names]
    mine.warm_up(1280, 736)
    seen = Watched(build)
    for some in (asked[:1], asked[1:], asked):
        found = mine.detect(some)
        assert_same(found, theirs.detect(some))
        assert sum(len(faces) for faces in found) >= len(some)
    assert seen.shapes == [(n, 384, 640, 3) for n in (1, 2, 4)]  # bytes, padded to a bucket


@pytest.mark.parametrize("name", pictures())
def test_every_reference_picture(build: DressedBuild, name: str) -> None:
    pixels = pictures()[name]
    height, width = pixels.shape[:2]
    mine = RetinaFace(opened(model_bytes()), input_size=320)
    mine.warm_up(width, height)
    seen = Watched(build)
    asked = [ArrayPicture(pixels.copy())]
    assert_same(mine.detect(asked), on_cpu(model_bytes(), input_size=320).detect(asked))
    assert [len(shape) for shape in seen.shapes] == [4]
    assert seen.shapes[0][3] == 3


def spotted(seed: int, *, bright: float) -> ArrayPicture:
    """Cells of 32 pixels, of which so many show a face to a stand-in."""
    random = np.random.default_rng(seed)
    cells = random.random((12, 20)) < bright
    shades = np.where(cells, random.integers(190, 256, cells.shape), 20)
    grown = shades.repeat(32, 0).repeat(32, 1)[:360].astype(np.uint8)
    return ArrayPicture(np.stack([grown] * 3, axis=2).copy())


@pytest.mark.parametrize(("channels", "layers"), [(1, 0), (4, 1), (16, 2)])
def test_networks_of_other_sizes_are_folded_alike(
    build: DressedBuild, channels: int, layers: int
) -> None:
    model = standin(channels=channels, layers=layers, seed=channels)
    mine, theirs = RetinaFace(opened(model)), on_cpu(model)
    asked = [spotted(seed, bright=0.05) for seed in range(3)]
    mine.warm_up(640, 360)
    found = mine.detect(asked)
    assert sum(len(faces) for faces in found) > 10
    assert_same(found, theirs.detect(asked))
    assert mine._session.folds(384, 640)


def test_a_crowd_beyond_the_best_is_asked_of_the_plain_network(build: DressedBuild) -> None:
    mine, theirs = (
        each(standin(), nms=1.0, max_faces=5000)
        for each in (lambda model, **rules: RetinaFace(opened(model), **rules), on_cpu)
    )
    mine.warm_up(640, 360)
    asked = [spotted(0, bright=0.05), spotted(1, bright=0.9), spotted(2, bright=0.05)]
    seen = Watched(build)
    found = mine.detect(asked)
    assert_same(found, theirs.detect(asked))
    assert len(found[1]) > TOP_K
    assert seen.shapes == [(4, 384, 640, 3), (1, 3, 384, 640)]


def test_a_size_that_was_not_warmed_up_runs_plain(build: DressedBuild) -> None:
    mine = RetinaFace(opened(model_bytes()), input_size=128)
    seen = Watched(build)
    mine.detect([ArrayPicture(np.zeros((72, 128, 3), np.uint8))])
    assert seen.shapes == [(1, 3, 96, 128)]
    assert len(build.models) == 1


def test_every_batch_is_timed_by_the_shape_it_has_for_everybody(build: DressedBuild) -> None:
    session = opened(standin())
    mine = RetinaFace(session, input_size=64)
    for count in (1, 2, 4):
        mine.warm_up(64, 64, count)
    assert sorted(session.warmed) == [(n, 3, 64, 64) for n in (1, 2, 4)]
    assert len(build.models) == 2


@pytest.mark.parametrize("options", [{"fold": False}, {"memory_limit": 1 << 30}])
def test_it_can_be_forbidden_and_a_limit_of_memory_is_kept(
    build: DressedBuild, options: dict[str, Any]
) -> None:
    session = opened(standin(), **options)
    RetinaFace(session, input_size=64).warm_up(64, 64)
    assert not session.folds(64, 64, trial=True)
    assert len(build.models) == 1


def test_tensorrt_gets_a_profile_of_the_picture_s_size(build: DressedBuild) -> None:
    session = opened(standin(), "tensorrt")
    assert session.folds(64, 96, trial=True)
    options = build.opened[-1].providers[0][1]
    assert options["trt_profile_min_shapes"] == "pixels:1x64x96x3"
    assert options["trt_profile_opt_shapes"] == "pixels:4x64x96x3"
    assert options["trt_profile_max_shapes"] == "pixels:4x64x96x3"


def test_a_model_that_cannot_be_folded_runs_as_it_is(build: DressedBuild) -> None:
    old = standin().replace(b"\x42\x02\x10\x0d", b"\x42\x02\x10\x0a")  # operator set 10
    assert old != standin()
    session = opened(old)
    with capture_logs() as said:
        RetinaFace(session, input_size=64).warm_up(64, 64)
    assert not session.folds(64, 64)
    [line] = [line for line in said if line["event"] == "not_folded"]
    assert "operator set 10" in line["detail"]


def test_a_device_that_does_not_take_it_runs_the_plain_one(build: DressedBuild) -> None:
    session = opened(standin())
    build.error = STATE.Fail("TopK is not implemented")
    with capture_logs() as said:
        RetinaFace(session, input_size=64).warm_up(64, 64)
    assert not session.folds(64, 64)
    [line] = [line for line in said if line["event"] == "folding_failed"]
    assert line["detail"].startswith("the plain network is used, because CUDA on GPU 0 cannot")
    assert line["log_level"] == "warning"


def test_one_that_says_something_else_on_this_device_is_not_used(build: DressedBuild) -> None:
    def skew(batch: Any, outputs: list[Any]) -> None:
        if batch.dtype == np.uint8:
            outputs[0][0, 7, 2] += 0.01

    build.after = skew
    session = opened(model_bytes())
    assert not session.folds(64, 64, trial=True)


def test_pictures_of_a_size_that_is_not_folded_are_refused(build: DressedBuild) -> None:
    session = opened(standin())
    with pytest.raises(ValueError, match="no folded network for 64x32"):
        session.run_folded(np.zeros((1, 32, 64, 3), np.uint8))


# What fails while running folded


def test_where_memory_is_short_the_batch_is_halved_and_then_the_picture(
    build: DressedBuild,
) -> None:
    session = opened(model_bytes())
    mine = RetinaFace(session, input_size=320)
    mine.warm_up(320, 320, 4)
    room = [320 * 320]

    def full(batch: Any) -> None:
        if batch.size > 3 * room[0]:
            raise STATE.RuntimeException("Failed to allocate memory for requested buffer of 99")

    seen = Watched(build, then=full)
    face = ArrayPicture(pictures()["astronaut-512x512"].copy())
    assert [len(faces) for faces in mine.detect([face] * 3)] == [1] * 3
    folded_shapes = [(n, 320, 320, 3) for n in (4, 1, 1, 1)]
    assert seen.shapes == folded_shapes
    assert (session.memory.splits, session.memory.shrinks) == (1, 0)
    room[0] = 300 * 300
    assert [len(faces) for faces in mine.detect([face])] == [1]
    assert seen.shapes[4:] == [(1, 320, 320, 3), (1, 3, 256, 256)]  # not tried folded: plain
    assert (session.memory.splits, session.memory.shrinks) == (1, 1)


def test_lack_of_memory_lets_go_of_what_both_keep(build: DressedBuild) -> None:
    session = opened(standin())
    RetinaFace(session, input_size=64).warm_up(64, 64)
    network = session._folding.network(64, 64)
    assert network.ready((1, 64, 64, 3))

    def full(batch: Any) -> None:
        raise STATE.RuntimeException("Failed to allocate memory for requested buffer of 99")

    Watched(build, then=full)
    with pytest.raises(OutOfMemory):
        session.run_folded(np.zeros((1, 64, 64, 3), np.uint8))
    assert not network.ready((1, 64, 64, 3))
    assert not session._network.ready((1, 3, 64, 64))


def test_a_gpu_that_is_lost_ends_the_program(build: DressedBuild) -> None:
    mine = RetinaFace(opened(standin()), input_size=64)
    mine.warm_up(64, 64)

    def lost(batch: Any) -> None:
        raise STATE.Fail("CUDA failure 700: an illegal memory access ; GPU=0")

    Watched(build, then=lost)
    with pytest.raises(DeviceError, match="restart"):
        mine.detect([ArrayPicture(np.zeros((64, 64, 3), np.uint8))])


class Ending(Watchdog):
    """Ends each run it is told to, as onnxruntime would, and keeps the limits it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[float] = []
        self.ends = False

    def begin(self, options: Any, limit_s: float) -> Any:
        self.given.append(limit_s)
        run = super().begin(options, limit_s)
        run.ended = options.terminate = self.ends
        return run


def test_runs_of_both_are_watched_by_one_rule(build: DressedBuild) -> None:
    session = opened(standin())
    session._watchdog = watchdog = Ending()
    assert session.folds(64, 64, trial=True)
    assert set(watchdog.given) == {60.0}  # while nothing is known
    watchdog.given.clear()
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    session.warm_up_folded(pixels)
    session.run_folded(pixels)
    session.run_folded(pixels.repeat(4, axis=0))
    assert watchdog.given == [60, 60, 5, 60]  # the first of a shape may take long
    watchdog.ends = True
    with pytest.raises(DetectionFailed, match="did not end within"):
        session.run_folded(pixels)
    assert session.hangs == 1


def test_cuda_graphs_are_recorded_for_each_network(build: DressedBuild) -> None:
    entries: list[tuple[int, str]] = []
    usual = build.InferenceSession

    def opened_and_watched(model: bytes, options: Any, **more: Any) -> Any:
        session = usual(model, options, **more)
        if hasattr(session, "run_with_iobinding") and build.opened[-1].gpu:
            ran = session.run_with_iobinding

            def noted(io: Any, options: Any) -> None:
                entries.append((io.image.shape()[-1], options.get_run_config_entry("gpu_graph_id")))
                ran(io, options)

            session.run_with_iobinding = noted
        return session

    build.InferenceSession = opened_and_watched
    session = opened(standin(), cuda_graphs=True)
    assert session.folds(64, 64, trial=True)
    entries.clear()
    session.warm_up_folded(np.zeros((2, 64, 64, 3), np.uint8))
    session.run_folded(np.zeros((1, 64, 64, 3), np.uint8))
    assert entries == [(3, "-1"), (3, "2"), (3, "1")]  # those of 1 were recorded by the trial


def test_four_threads_find_what_one_finds(build: DressedBuild) -> None:
    mine = RetinaFace(opened(model_bytes()), input_size=320)
    mine.warm_up(1280, 736)
    asked = [ArrayPicture(pictures()[f"demo-{n}-1280x736"].copy()) for n in (0, 60, 120, 200)]
    alone = [mine.detect([picture])[0] for picture in asked]
    found: dict[int, list[Faces]] = {}
    threads = [
        threading.Thread(target=lambda k: found.update({k: mine.detect(asked[k:])}), args=(k,))
        for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(4):
        assert_same(found[k], alone[k:])


def test_on_a_cpu_nothing_is_folded() -> None:
    session = open_session(standin(), device="cpu", threads=1, spin=False)
    look = partial(session.folds, 64, 64)
    assert (look(), look(trial=True), look()) == (False, False, False)
