"""An onnxruntime whose GPU is the CPU: real numbers, real bindings, and failures to order."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime

from tests.inference.fake_ort import CPU, FakeBuild, part


def quiet_cpu(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=[CPU])


class DressedBuild(FakeBuild):
    """Has CUDA and TensorRT, on memory of the CPU.

    ``before`` is called with each batch before it is run, and may sleep or raise; ``after`` gets
    the batch and the outputs and may change them. ``models`` are those opened on the GPU.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.before: Callable[[Any], None] = lambda batch: None
        self.after: Callable[[Any, list[Any]], None] = lambda batch, outputs: None
        self.models: list[bytes] = []
        self.OrtValue = _Value

    def InferenceSession(  # noqa: N802
        self, model: bytes, options: Any, *, providers: Any, enable_fallback: int
    ) -> Any:
        fake = super().InferenceSession(
            model, options, providers=providers, enable_fallback=enable_fallback
        )
        if not self.opened[-1].gpu:
            return quiet_cpu(model)
        self.models.append(model)
        return _Session(self, quiet_cpu(model), fake.providers)


class _Session:
    def __init__(self, build: DressedBuild, real: Any, providers: list[str]) -> None:
        self._build, self._real, self._providers = build, real, providers
        self.get_inputs, self.get_outputs = real.get_inputs, real.get_outputs

    def get_providers(self) -> list[str]:
        return self._providers

    def get_provider_graph_assignment_info(self) -> list[Any]:
        return [part(self._providers[0], "Conv")]

    def io_binding(self) -> "_Binding":
        return _Binding(self._real.io_binding())

    def run_with_iobinding(self, io: "_Binding", options: Any) -> None:
        batch = io.image.numpy()
        self._build.before(batch)
        self._real.run_with_iobinding(io.real, options)
        io.found = [np.array(each) for each in io.real.copy_outputs_to_cpu()]
        self._build.after(batch, io.found)


class _Binding:
    def __init__(self, real: Any) -> None:
        self.real, self.found = real, []
        self.get_outputs, self.bind_ortvalue_output = real.get_outputs, real.bind_ortvalue_output

    def bind_ortvalue_input(self, name: str, value: Any) -> None:
        self.image = value
        self.real.bind_ortvalue_input(name, value)

    def bind_output(self, name: str, device: str, number: int) -> None:
        assert device == "cuda"
        self.real.bind_output(name, "cpu", 0)

    def copy_outputs_to_cpu(self) -> list[Any]:
        return self.found


class _Value:
    @staticmethod
    def ortvalue_from_numpy(array: Any, device: str, number: int) -> Any:
        assert device == "cuda"
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
