"""An ONNX model with RetinaFace's shape that runs for ever on a picture that is not black.

It is written field by field (onnx.proto of ONNX IR 8, opset 13), since no library here makes
models. Its Loop counts up to 10^14 for each unit of brightness: nothing but
``RunOptions.terminate`` ends it. Black pictures, as the warm-up uses, pass at once.
"""

from __future__ import annotations

import struct

_FLOAT, _INT64, _BOOL = 1, 7, 9
_ATTRIBUTE_INT, _ATTRIBUTE_GRAPH = 2, 5
PLACES = 2520
"""Anchors of a 320x192 input: 2 for each cell of 40x24, 20x12 and 10x6."""


def looping_model() -> bytes:
    """The bytes of the model file."""
    body = _graph(
        "body",
        [_node("Add", ["sum", "one"], ["sum_out"]), _node("Identity", ["go"], ["go_out"])],
        inputs=[_value("n", _INT64, []), _value("go", _BOOL, []), _value("sum", _FLOAT, [])],
        outputs=[_value("go_out", _BOOL, []), _value("sum_out", _FLOAT, [])],
    )
    nodes = [
        _node("ReduceMax", ["input"], ["brightest"], _attribute("keepdims", 0)),
        _node("Relu", ["brightest"], ["light"]),
        _node("Mul", ["light", "often"], ["times"]),
        _node("Cast", ["times"], ["count"], _attribute("to", _INT64)),
        _node("Loop", ["count", "yes", "zero"], ["total"], _attribute_graph("body", body)),
        _node("Mul", ["total", "zero"], ["nothing"]),
    ]
    sizes = {"loc": 4, "conf": 2, "landmarks": 10}
    constants = [
        _tensor("often", _FLOAT, [], struct.pack("<f", 1e14)),
        _tensor("one", _FLOAT, [], struct.pack("<f", 1.0)),
        _tensor("zero", _FLOAT, [], struct.pack("<f", 0.0)),
        _tensor("yes", _BOOL, [], b"\x01"),
    ]
    for name, size in sizes.items():
        empty = bytes(4 * PLACES * size)
        constants.append(_tensor(f"{name}_0", _FLOAT, [1, PLACES, size], empty))
        nodes.append(_node("Add", [f"{name}_0", "nothing"], [name]))
    graph = _graph(
        "looping",
        nodes,
        constants,
        inputs=[_value("input", _FLOAT, [1, 3, 192, 320])],
        outputs=[_value(name, _FLOAT, [1, PLACES, size]) for name, size in sizes.items()],
    )
    opset = _number(2, 13)
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, opset)


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


def _attribute(name: str, value: int) -> bytes:
    return _bytes(1, name) + _number(3, value) + _number(20, _ATTRIBUTE_INT)


def _attribute_graph(name: str, graph: bytes) -> bytes:
    return _bytes(1, name) + _bytes(6, graph) + _number(20, _ATTRIBUTE_GRAPH)


def _node(kind: str, inputs: list[str], outputs: list[str], *attributes: bytes) -> bytes:
    ends = b"".join([_bytes(1, i) for i in inputs] + [_bytes(2, o) for o in outputs])
    return (
        ends
        + _bytes(3, outputs[0])
        + _bytes(4, kind)
        + b"".join(_bytes(5, each) for each in attributes)
    )


def _tensor(name: str, kind: int, shape: list[int], raw: bytes) -> bytes:
    sides = b"".join(_number(1, side) for side in shape)
    return sides + _number(2, kind) + _bytes(8, name) + _bytes(9, raw)


def _value(name: str, kind: int, shape: list[int]) -> bytes:
    sides = b"".join(_bytes(1, _number(1, side)) for side in shape)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, sides)))


def _graph(
    name: str,
    nodes: list[bytes],
    constants: list[bytes] | None = None,
    *,
    inputs: list[bytes],
    outputs: list[bytes],
) -> bytes:
    return (
        b"".join(_bytes(1, node) for node in nodes)
        + _bytes(2, name)
        + b"".join(_bytes(5, constant) for constant in constants or [])
        + b"".join(_bytes(11, value) for value in inputs)
        + b"".join(_bytes(12, value) for value in outputs)
    )
