"""Runs the network: the only door to onnxruntime.

A GPU that was asked for is used or an error is raised. onnxruntime would fall back to the CPU in
three places (the build has no CUDA, CUDA does not load, CUDA fails while running) and say so in
a log line at most; here each of the three is an error.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

from streamer.errors import DetectionFailed, DeviceError, MissingDependency, ModelError
from streamer.types import Floats

_INSTALL: Final = "install it with: pip install 'streamer[cpu]' or 'streamer[gpu]', not both"

_CUDA: Final = "CUDAExecutionProvider"

_SHAPE_ARITHMETIC: Final = frozenset(
    {"Cast", "Concat", "Gather", "Identity", "Reshape", "Shape", "Slice", "Squeeze", "Unsqueeze"}
)
"""Nodes that compute sizes, on a handful of integers. onnxruntime itself prefers the CPU for
them when pictures may have any size; every other kind must be on the GPU."""

_ERROR_CLASSES: Final = (
    "EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf",
    "ModelLoaded", "NoModel", "NoSuchFile", "NotFound", "NotImplemented", "RuntimeException",
)  # fmt: skip
"""What onnxruntime raises; these classes share no base but ``Exception``."""

_GPU_IS_GONE: Final = re.compile(
    r"CUDA(?: failure|_ERROR| error)\D{0,3}(?:700|710|719|999|46|100)\b"
    r"|CUDNN_STATUS_EXECUTION_FAILED|CUBLAS_STATUS_(?!ALLOC_FAILED)"
)
"""After these the process can never use the GPU again: the CUDA context is dead."""


class _Opened(NamedTuple):
    session: Any
    provider: str
    warning: str | None = None


class Session:
    """A network that is ready to run. Made by :func:`open_session`; any thread may run it.

    ``provider`` is what it really runs on: "cpu" or "cuda"; ``requested`` the device asked for.
    ``warning`` is one sentence for a person when "auto" found signs of a GPU and could not use
    it, else None.
    """

    def __init__(
        self, session: Any, *, provider: str, requested: str, warning: str | None, errors: Any
    ) -> None:
        """Take an onnxruntime session. Raises :class:`ModelError` unless it is a RetinaFace."""
        self.provider = provider
        self.requested = requested
        self.warning = warning
        self._session = session
        self._errors = errors
        self._input, self._outputs = _signature(session)

    def run(self, batch: Floats) -> tuple[Floats, Floats, Floats]:
        """Run the network on ``batch``, (N, 3, H, W) float32, C-contiguous.

        Returns ``loc`` (N, P, 4), ``conf`` (N, P, 2) and ``landmarks`` (N, P, 10), float32.
        Raises :class:`DetectionFailed` when onnxruntime could not do it this time, and
        :class:`DeviceError` when the GPU is lost for good: only a restart helps then.
        """
        try:
            loc, conf, landmarks = self._session.run(self._outputs, {self._input: batch})
        except self._errors as error:
            if self.provider != "cpu" and _GPU_IS_GONE.search(str(error)):
                raise DeviceError(
                    f"the GPU stopped working ({_one_line(error)}); restart streamer, and look "
                    "at the driver's messages in the kernel log if it happens again"
                ) from None
            raise DetectionFailed(
                f"onnxruntime could not run the model on a batch of shape {batch.shape} "
                f"({_one_line(error)}); if it goes on, try a smaller batch or input size"
            ) from None
        return loc, conf, landmarks


def open_session(model: bytes, *, device: str, threads: int, spin: bool) -> Session:
    """Load a RetinaFace from the bytes of its ONNX file and make it ready to run.

    ``device``: "cpu"; "cuda" or "cuda:N" for an NVIDIA GPU, which is then used or an error is
    raised; "auto" for CUDA where it really works, else the CPU. ``threads`` (1 or more) share
    one run on the CPU. With ``spin`` they busy-wait for 1 ms between parts of it: much lower
    latency, at 1/3 of the processor time that onnxruntime's own default burns (measured at 10
    pictures a second on two threads: 15.9 ms and 31.6 ms of processor time, against 25.3 and
    30.3 without, 15.8 and 96.9 by default). The first run of each input size is slower; the
    caller does one to warm up.

    Raises :class:`MissingDependency` without onnxruntime, :class:`ModelError` when the bytes are
    not a RetinaFace, :class:`DeviceError` when the device cannot be used, and ``ValueError``
    when ``threads`` is below 1.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d{1,3}))?", device)
    if match is None:
        raise DeviceError(f"device {device!r} is unknown; use auto, cpu, cuda or cuda:N")
    ort = _onnxruntime()
    if device == "cpu":
        opened = _open_cpu(ort, model, threads, spin)
    elif device == "auto":
        opened = _open_auto(ort, model, threads, spin)
    else:
        opened = _open_cuda(ort, model, int(match[1] or 0))
    return Session(
        opened.session,
        provider=opened.provider,
        requested=device,
        warning=opened.warning,
        errors=_error_classes(ort),
    )


def _onnxruntime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError:
        raise MissingDependency(f"onnxruntime is not installed; {_INSTALL}") from None
    # Removing one of the two builds leaves an empty folder of the other, which still imports.
    if not hasattr(onnxruntime, "InferenceSession"):
        raise MissingDependency(
            "onnxruntime is damaged, as happens when its CPU and GPU builds were both installed; "
            f"uninstall both, then {_INSTALL}"
        )
    onnxruntime.set_default_logger_severity(3)  # errors only: no warnings about strange hardware
    module: ModuleType = onnxruntime
    return module


def _error_classes(ort: ModuleType) -> tuple[type[Exception], ...]:
    state = ort.capi.onnxruntime_pybind11_state
    named = [getattr(state, name) for name in _ERROR_CLASSES if hasattr(state, name)]
    return (*named, RuntimeError, ValueError)


def _options(ort: ModuleType, *, threads: int) -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what it prints as errors it also raises, and we say it
    return options


def _open_cpu(ort: ModuleType, model: bytes, threads: int, spin: bool) -> _Opened:
    options = _options(ort, threads=threads)
    if spin and threads > 1:
        options.add_session_config_entry("session.intra_op.spin_duration_us", "1000")
    else:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except _error_classes(ort) as error:
        raise _not_a_model(error) from None
    return _Opened(session, "cpu")


def _open_auto(ort: ModuleType, model: bytes, threads: int, spin: bool) -> _Opened:
    """CUDA if it really works, else the CPU, with a warning where a GPU seems to be meant."""
    warning = None
    if _CUDA in ort.get_available_providers():
        try:
            return _open_cuda(ort, model, 0)
        except DeviceError as error:
            warning = f"running on the CPU, because {error}"
    elif Path("/dev/nvidiactl").exists():
        warning = (
            "running on the CPU although there is an NVIDIA GPU, because this onnxruntime was "
            "built without CUDA; to use it, uninstall onnxruntime and pip install 'streamer[gpu]'"
        )
    return _open_cpu(ort, model, threads, spin)._replace(warning=warning)


def _open_cuda(ort: ModuleType, model: bytes, number: int) -> _Opened:
    if _CUDA not in ort.get_available_providers():
        raise DeviceError(
            "the onnxruntime that is installed was built without CUDA; "
            "uninstall it and pip install 'streamer[gpu]', or set the device to cpu"
        )
    said = io.StringIO()
    ort.set_default_logger_severity(4)  # its complaints become part of our own sentence
    try:
        if hasattr(ort, "preload_dlls"):
            with contextlib.redirect_stdout(said):  # it prints what it cannot load
                ort.preload_dlls()
        try:
            session = _cuda_session(ort, model, number, strict=True)
            _require_cuda(session, said.getvalue())
        except _error_classes(ort) as error:
            # Strictness also refuses a GPU that works, when sizes are computed on the CPU. Look
            # closer: open it without and prove from the nodes that all real work is on the GPU.
            if "assigned to the default CPU EP" not in str(error):
                raise
            session = _cuda_session(ort, model, number, strict=False)
            _require_cuda(session, said.getvalue())
            _require_all_work_on_cuda(session)
    except _error_classes(ort) as error:
        if type(error).__name__ in {"InvalidProtobuf", "InvalidGraph", "NoModel"} or (
            "No graph was found" in str(error)
        ):
            raise _not_a_model(error) from None
        raise DeviceError(
            f"CUDA device {number} cannot be used ({_one_line(error)}); "
            "check it with nvidia-smi, or set the device to cpu"
        ) from None
    finally:
        ort.set_default_logger_severity(3)
    return _Opened(session, "cuda")


def _cuda_session(ort: ModuleType, model: bytes, number: int, *, strict: bool) -> Any:
    options = _options(ort, threads=1)  # a pool of threads has nothing to do beside a GPU
    if strict:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    else:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    cuda = {
        "device_id": str(number),
        # A quick choice for each new input size: 2 ms, where trying all takes over 600 ms.
        "cudnn_conv_algo_search": "HEURISTIC",
        # Take the memory that is needed and not the next power of two.
        "arena_extend_strategy": "kSameAsRequested",
    }
    # The CPU is not in the list, and enable_fallback=0 forbids it after a failed run, too.
    return ort.InferenceSession(model, options, providers=[(_CUDA, cuda)], enable_fallback=0)


def _require_cuda(session: Any, said: str) -> None:
    """Raise :class:`DeviceError` unless CUDA loaded; ``said`` is what loading printed."""
    if session.get_providers()[0] == _CUDA:
        return
    missing = re.search(r"Failed to load (\S+?):", said)
    detail = f"{missing[1]} is missing" if missing else "no usable driver or GPU"
    raise DeviceError(
        f"CUDA did not load ({detail}); check nvidia-smi, and pip install 'streamer[gpu]' "
        "(CUDA 13) or 'streamer[gpu-cu12]' for older drivers, or set the device to cpu"
    )


def _require_all_work_on_cuda(session: Any) -> None:
    """Raise :class:`DeviceError` when a node that does real work is not on the GPU."""
    strangers = _work_elsewhere(session.get_provider_graph_assignment_info())
    if strangers:
        raise DeviceError(
            f"{', '.join(strangers)} of this model cannot run on the GPU; "
            "use a model of models/registry.toml, or set the device to cpu"
        )


def _work_elsewhere(parts: Iterable[Any]) -> list[str]:
    """Kinds of nodes that are not on the GPU and do more than compute sizes."""
    return sorted(
        {node.op_type for part in parts if part.ep_name != _CUDA for node in part.get_nodes()}
        - _SHAPE_ARITHMETIC
    )


def _signature(session: Any) -> tuple[str, list[str]]:
    """Names of the input and of the outputs in the order loc, conf, landmarks."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    by_width = {o.shape[2]: o.name for o in outputs if len(o.shape) == 3}
    if not (
        len(inputs) == 1
        and inputs[0].type == "tensor(float)"
        and len(inputs[0].shape) == 4
        and inputs[0].shape[1] == 3
        and len(outputs) == 3
        and all(o.type == "tensor(float)" for o in outputs)
        and set(by_width) == {4, 2, 10}
    ):
        takes = ", ".join(f"{i.name} {i.shape}" for i in inputs)
        gives = ", ".join(f"{o.name} {o.shape}" for o in outputs)
        raise ModelError(
            "this model is not a RetinaFace: it should take float (N, 3, H, W) and give (N, P, 4),"
            f" (N, P, 2) and (N, P, 10), but takes {takes} and gives {gives}; "
            "use a model of models/registry.toml"
        )
    return inputs[0].name, [by_width[4], by_width[2], by_width[10]]


def _not_a_model(error: Exception) -> ModelError:
    return ModelError(
        f"this file is not an ONNX model that onnxruntime can load ({_one_line(error)}); "
        "fetch it again"
    )


def _one_line(error: Exception) -> str:
    """What onnxruntime means, without its codes and the paths of its own sources."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    text = re.sub(r"\S*/onnxruntime_src/\S+\s?", "", text)
    return " ".join(text.split())[:200].rstrip(" .;:")
