"""The graph of an ONNX model as nodes and weights that can be looked at and replaced."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.errors import ModelError
from streamer.inference.graph import FLOAT, Field, encode, fields, name_of, node, tensor, varint
from streamer.types import Floats

ACTIVATIONS: Final = ("LeakyRelu", "Relu")
"""Kinds of nodes that change every number by itself."""


@dataclass(slots=True, eq=False)
class Node:
    """One operator: ``kind`` such as Conv, names of values, attributes as they are encoded."""

    kind: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, bytes]

    @staticmethod
    def read(message: bytes) -> Node:
        """The node in these bytes.

        Raises :class:`ModelError` for a node that holds a graph, whose inputs cannot be seen
        here, or that is of another domain than ONNX's own.
        """
        texts: dict[int, list[str]] = {1: [], 2: [], 4: []}
        attributes = {}
        for number, value in fields(message):
            if isinstance(value, bytes) and number in texts:
                texts[number].append(value.decode(errors="replace"))
            elif isinstance(value, bytes) and number == 5:
                attributes[name_of(value, 1)] = value
                if any(part == 6 for part, _ in fields(value)):
                    raise ModelError("this model has branches or loops; use it as it is")
            elif number == 7 and value:
                raise ModelError("this model has operators of its own; use it as it is")
        return Node("".join(texts[4]), texts[1], texts[2], attributes)

    def write(self) -> Field:
        """The node as a field of a graph, named after its first output."""
        content: list[tuple[int, str | bytes]] = [(1, name) for name in self.inputs]
        content += [(2, name) for name in self.outputs]
        content += [(3, self.outputs[0]), (4, self.kind)]
        return 1, encode(*content, *((5, value) for value in self.attributes.values()))

    def ints(self, name: str, *default: int) -> tuple[int, ...]:
        """The attribute of this name, a whole number or a list of them, packed or not."""
        found: list[int] = []
        for number, value in fields(self.attributes.get(name, b"")):
            if number in (3, 8) and isinstance(value, int):
                found.append(value)
            elif number == 8 and isinstance(value, bytes):
                at = 0
                while at < len(value):
                    one, at = varint(value, at)
                    found.append(one)
        signed = tuple(n - (1 << 64) if n >> 63 else n for n in found)
        return signed if name in self.attributes else default

    def text(self, name: str) -> str:
        """The attribute of this name as text; empty where there is none."""
        return name_of(self.attributes.get(name, b""), 4)

    def with_inputs(self, *inputs: str, **attributes: int) -> Node:
        """The same node with other inputs, and with these attributes changed."""
        fresh = new(self.kind, inputs, self.outputs[0], **attributes)
        return replace(fresh, attributes={**self.attributes, **fresh.attributes})


def new(kind: str, inputs: Iterable[str], outputs: str, **attributes: int | Sequence[int]) -> Node:
    """A node as :func:`streamer.inference.graph.node` describes it."""
    _, message = node(kind, inputs, outputs, **attributes)
    return Node.read(message if isinstance(message, bytes) else b"")


def _floats(message: bytes) -> Floats | None:
    """The array of an initializer; None unless it is float32 and in the file itself."""
    dims: list[int] = []
    kind, data, raw = 0, b"", b""
    for number, value in fields(message):
        if number == 1 and isinstance(value, int):
            dims.append(value)
        elif number == 2 and isinstance(value, int):
            kind = value
        elif number == 4 and isinstance(value, bytes):
            data += value
        elif number == 9 and isinstance(value, bytes):
            raw = value
    content = raw or data
    if kind != FLOAT or len(content) != 4 * math.prod(dims):
        return None
    return np.frombuffer(content, "<f4").astype(np.float32).reshape(dims)


class Net:
    """A graph while it is rewritten.

    ``nodes`` are in an order in which they can run; ``weights`` are the initializers of float32,
    ``constants`` all of them as fields of a graph.
    """

    def __init__(self, graph: Iterable[Field]) -> None:
        self.nodes: list[Node] = []
        self.weights: dict[str, Floats] = {}
        self.constants: dict[str, Field] = {}
        for number, value in graph:
            if number == 1 and isinstance(value, bytes):
                self.nodes.append(Node.read(value))
            elif number == 5 and isinstance(value, bytes):
                self.constants[name_of(value, 8)] = number, value
                if (array := _floats(value)) is not None:
                    self.weights[name_of(value, 8)] = array

    def constant(self, name: str, array: NDArray[np.generic]) -> str:
        """Keep a float32 or int64 array as an initializer; returns its name."""
        self.constants[name] = tensor(name, array)
        if array.dtype == np.float32:
            self.weights[name] = np.asarray(array, np.float32)
        return name

    def maker(self, name: str, *kinds: str) -> Node | None:
        """The node that gives ``name``, when it is of one of ``kinds``."""
        return next((n for n in self.nodes if name in n.outputs and n.kind in kinds), None)

    def user(self, name: str, *kinds: str) -> Node | None:
        """The node that takes ``name``, when there is one alone and it is of one of ``kinds``."""
        found = [n for n in self.nodes if name in n.inputs]
        return found[0] if len(found) == 1 and found[0].kind in kinds else None

    def put(self, at: Node, *new: Node) -> None:
        """Put ``new`` in the place of ``at``."""
        place = self.nodes.index(at)
        self.nodes[place : place + 1] = new

    def is_conv(self, n: Node, kernel: int, group: int = 1, stride: int = 1) -> bool:
        """Whether ``n`` keeps the size (or halves it) by a square kernel with known weights."""
        weights = self.weights.get(n.inputs[1]) if n.kind == "Conv" else None
        return (
            weights is not None
            and weights.shape[2:] == (kernel, kernel)
            and n.ints("group", 1) == (group,)
            and n.ints("strides", 1, 1) == (stride, stride)
            and n.ints("dilations", 1, 1) == (1, 1)
            and n.ints("pads", 0, 0, 0, 0) == (kernel // 2,) * 4
            and "auto_pad" not in n.attributes
            and all(name in self.weights for name in n.inputs[2:])
        )

    def sizes(self, image: str, height: int, width: int) -> dict[str, tuple[int, int]]:
        """Rows and columns of every value where they follow from the size of the input."""
        known = {image: (height, width)}
        for n in self.nodes:
            found = [known[name] for name in n.inputs if name in known]
            if not found:
                continue
            joins = n.kind == "Concat" and n.ints("axis") == (1,)
            if joins or n.kind in (*ACTIVATIONS, "Add", "BatchNormalization", "PRelu"):
                known[n.outputs[0]] = found[0]
            elif n.kind in ("Conv", "MaxPool"):
                size = self._after(n, found[0])
                if size is not None:
                    known[n.outputs[0]] = size
        return known

    def _after(self, n: Node, size: tuple[int, int]) -> tuple[int, int] | None:
        """What a convolution or pooling makes of a size; None where its window is not known."""
        weights = self.weights.get(n.inputs[1]) if n.kind == "Conv" else None
        kernel = n.ints("kernel_shape") if weights is None else weights.shape[2:]
        if len(kernel) != 2 or "auto_pad" in n.attributes or n.ints("ceil_mode", 0) != (0,):
            return None
        strides, dilations = n.ints("strides", 1, 1), n.ints("dilations", 1, 1)
        pads = n.ints("pads", 0, 0, 0, 0)
        rows, columns = (
            (size[k] + pads[k] + pads[k + 2] - dilations[k] * (kernel[k] - 1) - 1) // strides[k] + 1
            for k in (0, 1)
        )
        return rows, columns
