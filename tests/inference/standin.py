"""Networks of RetinaFace's contract, made on the fly: for models whose weights are not here.

They are written field by field (onnx.proto of ONNX IR 8, opset 13), since no library here makes
models. Input: float32 (N, 3, H, W), H and W multiples of 32; outputs ``loc`` (N, P, 4), ``conf``
(N, P, 2) as probabilities and ``landmarks`` (N, P, 10), in the order of ``vision.anchors.priors``.
A cell of a grid that is bright on average holds a face with the box of its priors; black ones
hold none. ``channels`` and ``layers`` make a network larger and slower, and change nothing else.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamer.inference.entries import Download, ModelEntry

_FLOAT, _INT64 = 1, 7
_ATTRIBUTE_INT, _ATTRIBUTE_INTS = 2, 7
_GAIN, _BRIGHT = 0.2, 60.0  # score 0.5 at a mean of 60 over the training mean, sigmoid(8) at 100
_OUTPUTS = {"loc": 4, "conf": 2, "landmarks": 10}


def standin(*, channels: int = 4, layers: int = 0, seed: int = 0) -> bytes:
    """The bytes of the ONNX file: ``layers`` convolutions of 3x3 on ``channels`` channels.

    ``channels`` is at least 1; the first of them carries the brightness.
    """
    noise = np.random.default_rng(seed)
    nodes: list[bytes] = []
    weights: list[bytes] = []
    parts: dict[str, list[str]] = {name: [] for name in _OUTPUTS}
    for stride in (8, 16, 32):
        body = f"body{stride}"
        kernel = noise.normal(0, 0.01, (channels, 3, stride, stride)).astype(np.float32)
        kernel[0] = 1 / (3 * stride * stride)  # the mean over a cell and its colours
        _conv(nodes, weights, "input", body, kernel, stride=stride)
        for layer in range(layers):
            kernel = noise.normal(0, 0.01, (channels, channels, 3, 3)).astype(np.float32)
            kernel[0] = 0
            kernel[0, 0, 1, 1] = 1  # brightness goes through unchanged
            _conv(nodes, weights, body, f"{body}_{layer}", kernel, pad=1)
            body = f"{body}_{layer}"
        for name, size in _OUTPUTS.items():
            kernel = np.zeros((2 * size, channels, 1, 1), np.float32)
            bias = np.zeros(2 * size, np.float32)
            if name == "conf":
                kernel[1::2, 0], bias[1::2] = _GAIN, -_GAIN * _BRIGHT
            head = f"{name}{stride}"
            _conv(nodes, weights, body, head, kernel, bias=bias)
            nodes.append(_node("Transpose", [head], [f"{head}t"], _ints("perm", [0, 2, 3, 1])))
            nodes.append(_node("Reshape", [f"{head}t", f"{name}_shape"], [f"{head}r"]))
            parts[name].append(f"{head}r")
    for name, size in _OUTPUTS.items():
        weights.append(_tensor(f"{name}_shape", _INT64, [3], struct.pack("<3q", 0, -1, size)))
        joined = "logits" if name == "conf" else name
        nodes.append(_node("Concat", parts[name], [joined], _int("axis", 1)))
    nodes.append(_node("Softmax", ["logits"], ["conf"], _int("axis", 2)))
    graph = (
        b"".join(_bytes(1, node) for node in nodes)
        + _bytes(2, "standin")
        + b"".join(_bytes(5, weight) for weight in weights)
        + _bytes(11, _value("input", ["n", 3, "h", "w"]))
        + b"".join(_bytes(12, _value(name, ["n", "p", size])) for name, size in _OUTPUTS.items())
    )
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, _number(2, 13))


def standin_registry(folder: Path, models: dict[str, bytes]) -> dict[str, ModelEntry]:
    """Write the stand-ins into ``folder`` as a cache, and the registry that vouches for them."""
    registry = {}
    for name, content in models.items():
        (folder / f"{name}.onnx").write_bytes(content)
        registry[name] = ModelEntry(
            name=name,
            backbone="stand-in",
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
            licence="MIT",
            wider_face={},
            sources=(Download("https://example.invalid/model.onnx"),),
        )
    return registry


def _conv(
    nodes: list[bytes],
    weights: list[bytes],
    given: str,
    result: str,
    kernel: NDArray[np.float32],
    *,
    bias: NDArray[np.float32] | None = None,
    stride: int = 1,
    pad: int = 0,
) -> None:
    inputs = [given, f"{result}_w"]
    weights.append(_tensor(f"{result}_w", _FLOAT, list(kernel.shape), kernel.tobytes()))
    if bias is not None:
        inputs.append(f"{result}_b")
        weights.append(_tensor(f"{result}_b", _FLOAT, list(bias.shape), bias.tobytes()))
    attributes = (_ints("strides", [stride] * 2), _ints("pads", [pad] * 4))
    nodes.append(_node("Conv", inputs, [result], *attributes))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _int(name: str, value: int) -> bytes:
    return _bytes(1, name) + _number(3, value) + _number(20, _ATTRIBUTE_INT)


def _ints(name: str, values: list[int]) -> bytes:
    each = b"".join(_number(8, value) for value in values)
    return _bytes(1, name) + each + _number(20, _ATTRIBUTE_INTS)


def _node(kind: str, inputs: list[str], outputs: list[str], *attributes: bytes) -> bytes:
    return (
        b"".join([_bytes(1, i) for i in inputs] + [_bytes(2, o) for o in outputs])
        + _bytes(3, outputs[0])
        + _bytes(4, kind)
        + b"".join(_bytes(5, each) for each in attributes)
    )


def _tensor(name: str, kind: int, shape: list[int], raw: bytes) -> bytes:
    sides = b"".join(_number(1, side) for side in shape)
    return sides + _number(2, kind) + _bytes(8, name) + _bytes(9, raw)


def _value(name: str, shape: list[int | str]) -> bytes:
    sides = b"".join(
        _bytes(1, _bytes(2, side) if isinstance(side, str) else _number(1, side)) for side in shape
    )
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, _FLOAT) + _bytes(2, sides)))
