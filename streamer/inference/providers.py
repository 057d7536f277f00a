"""Opens a network on a device, and makes sure that it is really there.

``get_available_providers()`` says what onnxruntime was built with and not what works. It would
fall back to the CPU in three places (the build lacks the provider, the provider does not load,
it fails while running) and say so in a log line at most. Here each is an error: no CPU in the
list of providers, ``session.disable_cpu_ep_fallback``, ``enable_fallback=0``, the providers
compared, and the place of every node read.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

from streamer.cores import whole
from streamer.errors import DeviceError
from streamer.inference.cuda import GpuOptions, cuda_options, tensorrt_options
from streamer.inference.diagnosis import TENSORRT, read_driver, why_not
from streamer.inference.failures import error_classes, is_not_a_model, not_a_model, one_line

Kind: TypeAlias = Literal["auto", "cpu", "cuda", "tensorrt", "openvino"]

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"

_PROVIDERS: Final[Mapping[str, str]] = {
    "cpu": CPU,
    "cuda": CUDA,
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
_SPOKEN: Final = {"cuda": "CUDA", "tensorrt": "TensorRT", "openvino": "OpenVINO"}

_SHAPE_ARITHMETIC: Final = frozenset(
    {"Cast", "Concat", "Gather", "Identity", "Reshape", "Shape", "Slice", "Squeeze", "Unsqueeze"}
)
"""Nodes that compute sizes, on a handful of integers. onnxruntime itself prefers the CPU for
them when pictures may have any size; every other kind must be on the device."""

_SPIN_US: Final = "1000"


class Device(NamedTuple):
    """What ``device:`` says: the kind, and which GPU where there may be several."""

    kind: Kind
    number: int = 0


class Opened(NamedTuple):
    """An onnxruntime session and what it really runs on, as ``device:`` would say it.

    ``nodes`` counts the network's nodes by provider, empty where onnxruntime does not tell.
    ``core`` is the one that is left for the thread that runs it, the session's own being bound
    to the others; None when they are not bound.
    """

    session: Any
    kind: Kind
    nodes: Mapping[str, int]
    core: int | None = None


def parse_device(text: str) -> Device:
    """Read auto, cpu, cuda, cuda:N, tensorrt, tensorrt:N or openvino; else DeviceError."""
    match = re.fullmatch(r"(auto|cpu|openvino)|(cuda|tensorrt)(?::(\d{1,3}))?", text)
    if match is None:
        raise DeviceError(
            f"device {text!r} is unknown; use auto, cpu, cuda, cuda:N, tensorrt, tensorrt:N or "
            "openvino"
        )
    return Device(cast("Kind", match[1] or match[2]), int(match[3] or 0))


def built_with(ort: ModuleType, kind: Kind) -> bool:
    """Whether this onnxruntime was built for ``kind``; that says nothing of the machine."""
    return _PROVIDERS[kind] in ort.get_available_providers()


def _options(ort: ModuleType, *, threads: int) -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what it prints as errors it also raises, and we say it
    return options


def open_cpu(ort: ModuleType, model: bytes, *, threads: int, spin: bool) -> Opened:
    """Open on the CPU; ``threads`` share a run. Raises ModelError when it is no ONNX model.

    With ``spin``, and as many threads as cores, each has a core of its own (ADR 17).
    """
    options = _options(ort, threads=threads)
    cores = whole(threads) if spin and threads > 1 else ()
    if cores:  # onnxruntime counts them from 1, and the caller's thread is not its own
        others = ";".join(str(core + 1) for core in cores[1:])
        options.add_session_config_entry("session.intra_op_thread_affinities", others)
    if spin and threads > 1:
        options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_US)
    else:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(model, options, providers=[CPU], enable_fallback=0)
    except error_classes(ort) as error:
        raise not_a_model(error) from None
    return Opened(session, "cpu", {}, cores[0] if cores else None)


def open_device(
    ort: ModuleType, model: bytes, device: Device, *, threads: int, gpu: GpuOptions
) -> Opened:
    """Open on a GPU (or by OpenVINO), or say in one sentence what is missing and what to do.

    Raises DeviceError, and ModelError when the bytes are no ONNX model. One call at a time:
    what onnxruntime prints is read meanwhile, and two sessions opened at once have crashed
    (onnxruntime issues 26610 and 20089).
    """
    _require_build(ort, device.kind)
    said = io.StringIO()
    ort.set_default_logger_severity(4)  # its complaints become part of our own sentence
    try:
        with contextlib.redirect_stdout(said):  # it prints what it cannot load
            _load_libraries(ort, device.kind)
        providers = _providers(ort, model, device, gpu)
        session = _open(ort, model, providers, threads)
        return Opened(session, device.kind, _nodes(session))
    except _NotThere:
        raise sorrow(ort, device, said.getvalue(), "") from None
    except error_classes(ort) as error:
        if is_not_a_model(error):
            raise not_a_model(error) from None
        raise sorrow(ort, device, said.getvalue(), one_line(error)) from None
    finally:
        ort.set_default_logger_severity(3)


class _NotThere(Exception):
    """onnxruntime opened the network on something else."""


def sorrow(ort: ModuleType, device: Device, said: str, error: str) -> DeviceError:
    """The sentence for a device that did not open, or that failed its first run by ``error``."""
    what = _SPOKEN[device.kind]
    if device.kind == "openvino":
        return DeviceError(
            f"{what} cannot be used ({error or 'onnxruntime did not load it'}); "
            "reinstall onnxruntime-openvino, or set the device to cpu"
        )
    built_for = str(getattr(ort, "cuda_version", "") or "")
    return DeviceError(why_not(what, device.number, built_for=built_for, said=said, error=error))


def _require_build(ort: ModuleType, kind: Kind) -> None:
    if built_with(ort, kind):
        return
    what = _SPOKEN[kind]
    remedy = "onnxruntime-openvino" if kind == "openvino" else "'streamer[gpu]'"
    raise DeviceError(
        f"the onnxruntime that is installed was built without {what}; "
        f"uninstall it and pip install {remedy}, or set the device to cpu"
    )


def _load_libraries(ort: ModuleType, kind: Kind) -> None:
    """Load what pip put where the loader does not look: CUDA, cuDNN and TensorRT."""
    if kind in ("cuda", "tensorrt") and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    if kind == "tensorrt" and (found := importlib.util.find_spec("tensorrt_libs")) is not None:
        for folder in found.submodule_search_locations or ():
            for library in (TENSORRT, "libnvinfer_plugin.so.10", "libnvonnxparser.so.10"):
                with contextlib.suppress(OSError):  # the session says what it misses
                    ctypes.CDLL(str(Path(folder) / library), mode=ctypes.RTLD_GLOBAL)


def _providers(
    ort: ModuleType, model: bytes, device: Device, gpu: GpuOptions
) -> list[tuple[str, dict[str, str]]]:
    """Providers with their options. The CPU is never in the list."""
    if device.kind == "openvino":
        return [(_PROVIDERS["openvino"], {"device_type": "CPU"})]
    cuda = (CUDA, cuda_options(device.number, gpu))
    if device.kind == "cuda":
        return [cuda]
    image = open_cpu(ort, model, threads=1, spin=False).session.get_inputs()[0].name
    options = tensorrt_options(
        device.number, gpu, image=image, key=_engine_key(ort, model, device.number)
    )
    if (folder := options.get("trt_engine_cache_path")) is not None:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DeviceError(
                f"the folder of TensorRT's engines cannot be made ({error.strerror}: {folder}); "
                "make it writable, or give another"
            ) from None
    return [(_PROVIDERS["tensorrt"], options), cuda]  # what TensorRT cannot do, CUDA does


def _engine_key(ort: ModuleType, model: bytes, number: int) -> str:
    """Names all that an engine depends on: the model, onnxruntime, TensorRT and the GPU."""
    try:
        tensorrt = metadata.version("tensorrt-cu13-libs")
    except metadata.PackageNotFoundError:
        tensorrt = "system"
    driver = read_driver()
    gpu = driver.gpus[number] if driver is not None and number < len(driver.gpus) else "unknown"
    parts = (hashlib.sha256(model).hexdigest()[:16], str(ort.__version__), tensorrt, gpu)
    return re.sub(r"[^\w.-]+", "_", "-".join(parts))


def _open(
    ort: ModuleType, model: bytes, providers: list[tuple[str, dict[str, str]]], threads: int
) -> Any:
    def session(*, strict: bool) -> Any:
        options = _options(ort, threads=threads if providers[0][0] == _PROVIDERS["openvino"] else 1)
        if strict:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        # enable_fallback=0 forbids the CPU after a failed run, too.
        return ort.InferenceSession(model, options, providers=providers, enable_fallback=0)

    try:
        opened, strict = session(strict=True), True
    except error_classes(ort) as error:
        # Strictness also refuses a GPU that works, when sizes are computed on the CPU. Look
        # closer: open it without and prove from the nodes that all real work is on the GPU.
        if "assigned to the default CPU EP" not in str(error):
            raise
        opened, strict = session(strict=False), False
    if opened.get_providers()[0] != providers[0][0]:
        raise _NotThere
    if hasattr(opened, "get_provider_graph_assignment_info"):
        _require_work_on(opened, [name for name, _ in providers])
    elif not strict:
        raise DeviceError(
            "this onnxruntime does not tell what it runs on the CPU; "
            "pip install onnxruntime-gpu>=1.24, or set the device to cpu"
        )
    return opened


def _require_work_on(session: Any, providers: list[str]) -> None:
    """Raise :class:`DeviceError` when a node that does real work is on none of ``providers``."""
    parts = list(session.get_provider_graph_assignment_info())
    strangers = _work_elsewhere(parts, providers)
    if strangers:
        raise DeviceError(
            f"{', '.join(strangers)} of this model cannot run on the device that was asked for; "
            "use a model of models/registry.toml, or set the device to cpu"
        )
    if parts and not any(part.ep_name == providers[0] for part in parts):
        raise DeviceError(
            f"no part of this model runs on {providers[0]}; "
            "use a model of models/registry.toml, or set the device to cuda"
        )


def _work_elsewhere(parts: Iterable[Any], providers: list[str]) -> list[str]:
    """Kinds of nodes that are on none of ``providers`` and do more than compute sizes."""
    return sorted(
        {node.op_type for part in parts if part.ep_name not in providers
         for node in part.get_nodes()} - _SHAPE_ARITHMETIC
    )  # fmt: skip


def _nodes(session: Any) -> dict[str, int]:
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return {}
    counted: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        counted[str(part.ep_name)] += len(part.get_nodes())
    return dict(counted)
