import sys
import threading
from types import ModuleType, SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from streamer.errors import DetectionFailed, DeviceError, MissingDependency, ModelError
from streamer.inference import session as door
from streamer.inference.session import Session, open_session
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


def node(name: str, shape: list[object], kind: str = "tensor(float)") -> SimpleNamespace:
    return SimpleNamespace(name=name, shape=shape, type=kind)


def fake_session(inputs, outputs) -> SimpleNamespace:
    return SimpleNamespace(
        get_inputs=lambda: inputs,
        get_outputs=lambda: outputs,
        run=lambda names, feed: [np.full(1, ord(n[0])) for n in names],
    )


IMAGE = node("image", ["n", 3, "h", "w"])
OUTPUTS = [node("loc", ["n", "p", 4]), node("conf", ["n", "p", 2]), node("marks", ["n", "p", 10])]


def wrapped(inputs, outputs) -> Session:
    return Session(
        fake_session(inputs, outputs), provider="cpu", requested="cpu", warning=None, errors=()
    )


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([IMAGE, IMAGE], OUTPUTS),
        ([node("image", ["n", 1, "h", "w"])], OUTPUTS),
        ([node("image", ["n", 3, "h", "w"], "tensor(uint8)")], OUTPUTS),
        ([node("ids", ["n", "length"])], OUTPUTS),
        ([IMAGE], OUTPUTS[:2]),
        ([IMAGE], [*OUTPUTS, OUTPUTS[0]]),
        ([IMAGE], [OUTPUTS[0], OUTPUTS[0], OUTPUTS[2]]),
        ([IMAGE], [node("logits", ["n", 1000])]),
    ],
)
def test_another_model_is_refused_with_what_it_takes_and_gives(inputs, outputs) -> None:
    with pytest.raises(ModelError, match=r"not a RetinaFace.*takes.*gives.*registry.toml"):
        wrapped(inputs, outputs)


def test_outputs_are_told_apart_by_shape_whatever_their_order() -> None:
    session = wrapped([IMAGE], [OUTPUTS[2], OUTPUTS[0], OUTPUTS[1]])
    assert [chr(a[0]) for a in session.run(noise())] == ["l", "c", "m"]


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


class Broken(Exception):
    """Stands for the classes that onnxruntime raises."""


def failing(provider: str, text: str) -> Session:
    def run(names, feed):
        raise Broken(text)

    inner = fake_session([IMAGE], OUTPUTS)
    inner.run = run
    return Session(inner, provider=provider, requested=provider, warning=None, errors=(Broken,))


@pytest.mark.parametrize(
    "text",
    [
        "CUDA failure 700: an illegal memory access was encountered ; GPU=0",
        "CUDA failure 719: unspecified launch failure",
        "CUDNN failure 5000: CUDNN_STATUS_EXECUTION_FAILED ; GPU=0",
        "CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED",
    ],
)
def test_a_gpu_that_is_lost_ends_the_program(text) -> None:
    with pytest.raises(DeviceError, match="restart"):
        failing("cuda", text).run(noise())


@pytest.mark.parametrize(
    "text",
    [
        "Failed to allocate memory for requested buffer of size 2147483648",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
        "CUDA failure 2: out of memory",
    ],
)
def test_a_gpu_that_is_full_fails_one_batch(text) -> None:
    with pytest.raises(DetectionFailed, match="smaller batch"):
        failing("cuda", text).run(noise())


# Where it runs


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CUDA", "", "cuda:-1", "cpu:0"])
def test_unknown_devices_are_refused(device) -> None:
    with pytest.raises(DeviceError, match="use auto, cpu, cuda or cuda:N"):
        open_session(model_bytes(), device=device, threads=1, spin=False)


@pytest.mark.skipif(HAS_CUDA, reason="this onnxruntime has CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_on_a_build_without_it_is_an_error_with_a_remedy(device, capfd) -> None:
    with pytest.raises(DeviceError, match=r"without CUDA.*streamer\[gpu\]"):
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


class FakeBuild(ModuleType):
    """An onnxruntime with CUDA: ``lands_on`` is where nodes end up."""

    def __init__(
        self, *, cuda_loads: bool = True, cpu_nodes: tuple[str, ...] = (), error: str = ""
    ) -> None:
        super().__init__("onnxruntime")
        real = onnxruntime
        self.capi, self.GraphOptimizationLevel = real.capi, real.GraphOptimizationLevel
        self.ExecutionMode, self.SessionOptions = real.ExecutionMode, real.SessionOptions
        self.cuda_loads, self.cpu_nodes, self.error = cuda_loads, cpu_nodes, error
        self.opened: list[dict[str, object]] = []
        self.severities: list[int] = []
        self.set_default_logger_severity = self.severities.append

    def get_available_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def preload_dlls(self) -> None:
        if not self.cuda_loads:
            print("Failed to load libcublasLt.so.13: libcublasLt.so.13: cannot open")

    def InferenceSession(self, model, options, *, providers, enable_fallback):  # noqa: N802
        assert enable_fallback == 0
        names = [p if isinstance(p, str) else p[0] for p in providers]
        cuda = names == ["CUDAExecutionProvider"]
        assert cuda or names == ["CPUExecutionProvider"]
        try:
            strict = options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
        except RuntimeError:
            strict = False
        self.opened.append({"cuda": cuda, "strict": strict, "providers": providers})
        if cuda and self.error:
            raise onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException(self.error)
        if cuda and strict and (not self.cuda_loads or self.cpu_nodes):
            raise onnxruntime.capi.onnxruntime_pybind11_state.Fail(
                "[ONNXRuntimeError] : 1 : FAIL : This session contains graph nodes that are "
                "assigned to the default CPU EP, but fallback to CPU EP has been disabled."
            )
        works = cuda and self.cuda_loads
        inner = fake_session([IMAGE], OUTPUTS)
        inner.get_providers = lambda: [
            "CUDAExecutionProvider" if works else "CPUExecutionProvider",
            "CPUExecutionProvider",
        ]
        inner.get_provider_graph_assignment_info = lambda: [
            part("CUDAExecutionProvider", "Conv", "Softmax"),
            part("CPUExecutionProvider", *self.cpu_nodes),
        ]
        return inner


def part(provider: str, *kinds: str) -> SimpleNamespace:
    nodes = [SimpleNamespace(op_type=kind) for kind in kinds]
    return SimpleNamespace(ep_name=provider, get_nodes=lambda: nodes)


@pytest.fixture
def build(monkeypatch):
    def install(**settings) -> FakeBuild:
        fake = FakeBuild(**settings)
        monkeypatch.setitem(sys.modules, "onnxruntime", fake)
        return fake

    return install


@pytest.mark.parametrize("device", ["cuda", "cuda:2", "auto"])
def test_cuda_that_works_is_used_strictly(build, device) -> None:
    fake = build()
    session = open_session(b"model", device=device, threads=4, spin=True)
    assert (session.provider, session.requested, session.warning) == ("cuda", device, None)
    [only] = fake.opened
    assert only["strict"]
    assert only["providers"][0][1]["device_id"] == ("2" if device == "cuda:2" else "0")
    assert fake.severities == [3, 4, 3]  # silent for the attempt, then its errors are heard


def test_a_gpu_that_does_not_exist_is_an_error_at_once(build) -> None:
    fake = build(
        error="[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : CUDA failure 101: invalid\ndevice"
    )
    with pytest.raises(
        DeviceError, match=r"device 7 cannot be used \(CUDA failure 101: invalid dev"
    ):
        open_session(b"model", device="cuda:7", threads=1, spin=False)
    assert len(fake.opened) == 1
    assert fake.severities[-1] == 3


def test_sizes_computed_on_the_cpu_do_not_refuse_a_gpu_that_does_the_work(build) -> None:
    fake = build(cpu_nodes=("Shape", "Gather", "Concat", "Unsqueeze"))
    assert open_session(b"model", device="cuda", threads=1, spin=False).provider == "cuda"
    assert [o["strict"] for o in fake.opened] == [True, False]


def test_a_convolution_on_the_cpu_does(build) -> None:
    build(cpu_nodes=("Shape", "Conv", "Resize"))
    with pytest.raises(DeviceError, match="Conv, Resize"):
        open_session(b"model", device="cuda", threads=1, spin=False)


def test_cuda_that_does_not_load_says_what_is_missing_and_nothing_else(build, capfd) -> None:
    build(cuda_loads=False)
    with pytest.raises(DeviceError, match=r"libcublasLt.so.13 is missing.*nvidia-smi"):
        open_session(b"model", device="cuda", threads=1, spin=False)
    assert capfd.readouterr() == ("", "")


def test_auto_then_runs_on_the_cpu_and_warns(build) -> None:
    fake = build(cuda_loads=False)
    session = open_session(b"model", device="auto", threads=1, spin=False)
    assert (session.provider, session.requested) == ("cpu", "auto")
    assert "running on the CPU" in session.warning
    assert "libcublasLt.so.13" in session.warning
    assert not fake.opened[-1]["cuda"]


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="needs onnxruntime-gpu")
def test_the_real_gpu_build_uses_its_gpu_or_says_why_not(capfd) -> None:
    session = open_session(model_bytes(), device="auto", threads=1, spin=False)
    if session.provider == "cuda":
        assert session.warning is None
        session.run(noise())
    else:
        assert "CUDA did not load" in session.warning
        with pytest.raises(DeviceError, match="CUDA did not load"):
            open_session(model_bytes(), device="cuda", threads=1, spin=False)
    assert capfd.readouterr() == ("", "")


# Without onnxruntime


def test_without_onnxruntime_the_extras_are_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependency, match=r"'streamer\[cpu\]' or 'streamer\[gpu\]'"):
        cpu()


def test_an_empty_shell_of_onnxruntime_is_told_from_none(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    with pytest.raises(MissingDependency, match="damaged"):
        cpu()
