"""Stand-ins for onnxruntime and for the NVIDIA driver, to inject what no machine here has."""

import ctypes
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

CUDA, TENSORRT, CPU = (f"{name}ExecutionProvider" for name in ("CUDA", "Tensorrt", "CPU"))
STATE = onnxruntime.capi.onnxruntime_pybind11_state


def node(name: str, shape: list[object], kind: str = "tensor(float)") -> SimpleNamespace:
    return SimpleNamespace(name=name, shape=shape, type=kind)


IMAGE = node("image", ["n", 3, "h", "w"])
OUTPUTS = [node("loc", ["n", "p", 4]), node("conf", ["n", "p", 2]), node("marks", ["n", "p", 10])]


def part(provider: str, *kinds: str) -> SimpleNamespace:
    nodes = [SimpleNamespace(op_type=kind) for kind in kinds]
    return SimpleNamespace(ep_name=provider, get_nodes=lambda: nodes)


class FakeSession:
    """Has the inputs and outputs of a RetinaFace; ``fails`` raises what a run should raise."""

    def __init__(
        self, inputs: Any = None, outputs: Any = None, *,
        fails: Callable[[Any], None] = lambda batch: None,
    ) -> None:  # fmt: skip
        self.inputs, self.outputs = inputs or [IMAGE], outputs or OUTPUTS
        self.fails = fails
        self.providers = [CPU]
        self.parts: list[SimpleNamespace] = []
        self.graphs: list[str | None] = []
        self.shapes: list[tuple[int, ...]] = []
        self.released: list[int] = []

    def get_inputs(self) -> Any:
        return self.inputs

    def get_outputs(self) -> Any:
        return self.outputs

    def get_providers(self) -> list[str]:
        return self.providers

    def get_provider_graph_assignment_info(self) -> list[SimpleNamespace]:
        return self.parts

    def run(self, names: list[str], feed: dict[str, Any], options: Any) -> list[Any]:
        [batch] = feed.values()
        self.shapes.append(batch.shape)
        self.fails(batch)
        return [np.full(len(batch), ord(name[0]), np.float32) for name in names]

    def io_binding(self) -> "FakeBinding":
        return FakeBinding()

    def run_with_iobinding(self, io: "FakeBinding", options: Any) -> None:
        try:
            self.graphs.append(options.get_run_config_entry("gpu_graph_id"))
        except RuntimeError:
            self.graphs.append(None)
        io.ran = self.run(io.outputs, {"image": io.image.array}, options)

    def release_captured_graph(self, number: int) -> None:
        self.released.append(number)


class FakeBinding:
    def __init__(self) -> None:
        self.outputs: list[str] = []
        self.kept: list[str] = []
        self.ran: list[Any] = []
        self.image: Any = None

    def bind_ortvalue_input(self, name: str, value: Any) -> None:
        self.image = value

    def bind_output(self, name: str, device: str, number: int) -> None:
        assert (device, number) != ("cpu", 0)
        self.outputs.append(name)

    def bind_ortvalue_output(self, name: str, value: Any) -> None:
        self.kept.append(name)

    def get_outputs(self) -> list[Any]:
        return self.ran

    def copy_outputs_to_cpu(self) -> list[Any]:
        assert self.kept == self.outputs
        return self.ran


class FakeValue:
    def __init__(self, array: Any) -> None:
        self.array = array.copy()

    def update_inplace(self, array: Any) -> None:
        assert array.shape == self.array.shape
        self.array[...] = array

    @staticmethod
    def ortvalue_from_numpy(array: Any, device: str, number: int) -> "FakeValue":
        return FakeValue(array)


class FakeBuild(ModuleType):
    """An onnxruntime with CUDA and TensorRT, whose real errors and options are used.

    ``loads`` says whether the GPU can be used, ``cpu_nodes`` which nodes land on the CPU, and
    ``error`` what opening raises; ``first_run`` what the first run raises; ``prints`` what
    loading its libraries prints.
    """

    OrtValue = FakeValue

    def __init__(
        self,
        *,
        loads: bool = True,
        cpu_nodes: tuple[str, ...] = (),
        gpu_nodes: tuple[str, ...] = ("Conv", "Softmax"),
        error: Exception | None = None,
        first_run: Exception | None = None,
        prints: str = "",
        providers: tuple[str, ...] = (TENSORRT, CUDA, CPU),
        inner: Callable[[str, str], str] = lambda asked, kind: asked,
    ) -> None:
        super().__init__("onnxruntime")
        for name in (
            "capi", "GraphOptimizationLevel", "ExecutionMode", "SessionOptions", "RunOptions",
        ):  # fmt: skip
            setattr(self, name, getattr(onnxruntime, name))
        self.__version__ = "1.31.1"
        self.cuda_version = "13.0"
        self.loads, self.cpu_nodes, self.gpu_nodes = loads, cpu_nodes, gpu_nodes
        self.error, self.first_run, self.prints = error, first_run, prints
        self.providers, self.inner = providers, inner
        self.opened: list[SimpleNamespace] = []
        self.severities: list[int] = []
        self.preloaded = 0
        self.set_default_logger_severity = self.severities.append

    def get_available_providers(self) -> list[str]:
        return list(self.providers)

    def preload_dlls(self) -> None:
        self.preloaded += 1
        if self.prints:
            print(self.prints)

    def InferenceSession(  # noqa: N802
        self, model: bytes, options: Any, *, providers: Any, enable_fallback: int
    ) -> FakeSession:
        assert enable_fallback == 0
        names = [each if isinstance(each, str) else each[0] for each in providers]
        gpu = names != [CPU]
        assert not gpu or CPU not in names
        try:
            strict = options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
        except RuntimeError:
            strict = False
        self.opened.append(SimpleNamespace(gpu=gpu, strict=strict, providers=providers))
        session = FakeSession()
        if not gpu:
            return session
        if self.error is not None:
            raise self.error
        if strict and (not self.loads or self.cpu_nodes):
            raise STATE.Fail(
                "[ONNXRuntimeError] : 1 : FAIL : This session contains graph nodes that are "
                "assigned to the default CPU EP, but fallback to CPU EP has been explicitly "
                "disabled by the user."
            )
        session.providers = [*names, CPU] if self.loads else [CPU]
        session.parts = [
            *(part(self.inner(names[0], kind), kind) for kind in self.gpu_nodes),
            *(part(CPU, kind) for kind in self.cpu_nodes),
        ]

        def fails(batch: Any) -> None:
            if self.first_run is not None:
                raise self.first_run

        session.fails = fails
        return session


class FakeDriver:
    """A libcuda.so.1 that knows ``cuda`` (13020 is 13.2), answers ``init`` and has ``gpus``."""

    def __init__(self, cuda: int = 13020, init: int = 0, gpus: tuple[str, ...] = ("L4",)) -> None:
        self.cuda, self.init, self.gpus = cuda, init, gpus

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = self.cuda
        return 0

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.init

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = len(self.gpus)
        return 0

    def cuDeviceGet(self, device: Any, number: int) -> int:  # noqa: N802
        device._obj.value = number
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: ctypes.c_int) -> int:  # noqa: N802
        name.value = self.gpus[device.value].encode()
        return 0


def loader(driver: FakeDriver | None, *libraries: str) -> Callable[[str], Any]:
    """Loads ``driver`` as libcuda.so.1 and these libraries, and nothing else."""

    def load(name: str) -> Any:
        if name == "libcuda.so.1" and driver is not None:
            return driver
        if name in libraries:
            return object()
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    return load
