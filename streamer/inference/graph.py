"""Folds what surrounds the network into its graph: bytes of an ONNX file in, bytes out.

A plain RetinaFace takes float planes and gives numbers for every prior. A folded one takes the
picture as it lies in memory and gives its best candidates in pixels, so that a GPU receives a
quarter of the bytes and sends back a tenth or less. Suppression of overlaps stays outside: its
result has no fixed size.

The few kinds of protobuf message that this takes are read and written here. The ``onnx`` package
would do the same for 20 MB more to install; field numbers are those of its ``onnx.proto``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamer.errors import ModelError
from streamer.types import Floats
from streamer.vision.anchors import priors
from streamer.vision.boxes import VARIANCES
from streamer.vision.folded import COLUMNS
from streamer.vision.letterbox import MULTIPLE
from streamer.vision.retinaface import MEAN_BGR

TOP_K: Final = 1024
"""Candidates kept for each picture. Before suppression a small face has about 10 of them and a
large one up to 40 (counted on the reference pictures above a score of 0.6), so this is room for
a hundred small faces or 25 that fill the picture."""

_OPSETS: Final = range(11, 64)  # GatherElements came with 11; the forms used here still stand

Field: TypeAlias = tuple[int, int | bytes]
"""Number and value of one protobuf field; the value is a number or the bytes of anything else."""

FLOAT, _UINT8, _INT64 = 1, 2, 7  # onnx.TensorProto.DataType
_KINDS: Final = {"float32": FLOAT, "uint8": _UINT8, "int64": _INT64}


class Ports(NamedTuple):
    """Names that a plain RetinaFace gives its input and its outputs."""

    image: str
    loc: str
    conf: str
    landmarks: str


class FoldedPorts(NamedTuple):
    """Names that a folded RetinaFace gives its input and its outputs."""

    image: str
    candidates: str
    extremes: str


FOLDED: Final = FoldedPorts("pixels", "candidates", "extremes")


def fields(message: bytes) -> Iterator[Field]:
    """Every field of a protobuf message, in order.

    Raises :class:`ModelError` where the bytes are no such message.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = varint(message, at)
            yield number, value
            continue
        if kind == 2:
            size, at = varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise _not_onnx()
        if at + size > end:
            raise _not_onnx()
        yield number, message[at : at + size]
        at += size


def varint(message: bytes, at: int) -> tuple[int, int]:
    """The number that begins at byte ``at``, 0 or more, and where the next byte is.

    Raises :class:`ModelError` where it does not end.
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise _not_onnx()


def _not_onnx() -> ModelError:
    return ModelError("this file is not an ONNX model that can be read; fetch it again")


def encode(*content: tuple[int, int | str | bytes]) -> bytes:
    """A protobuf message of these fields: whole numbers as varints, text and bytes by length."""
    out = []
    for number, value in content:
        if isinstance(value, int):
            out += [_packed(number << 3), _packed(value & (1 << 64) - 1)]
        else:
            data = value.encode() if isinstance(value, str) else value
            out += [_packed(number << 3 | 2), _packed(len(data)), data]
    return b"".join(out)  # each weight is copied once


def _packed(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def tensor(name: str, array: NDArray[np.generic]) -> Field:
    """An initializer of a graph: float32, uint8 or int64."""
    dims = ((1, size) for size in array.shape)
    data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
    return 5, encode(*dims, (2, _KINDS[array.dtype.name]), (8, name), (9, data))


def node(
    kind: str, inputs: Iterable[str], outputs: str, **attributes: int | Sequence[int]
) -> Field:
    """A node of a graph; ``outputs`` are names with spaces between, the first names the node."""
    names = outputs.split()
    content: list[tuple[int, int | str | bytes]] = [(1, name) for name in inputs]
    content += [(2, name) for name in names] + [(3, names[0]), (4, kind)]
    for key, value in attributes.items():
        if isinstance(value, int):
            content.append((5, encode((1, key), (3, value), (20, 2))))
        else:
            content.append((5, encode((1, key), *((8, item) for item in value), (20, 7))))
    return 1, encode(*content)


def port(number: int, name: str, kind: int, shape: Sequence[int | str]) -> Field:
    """An input (``number`` 11) or output (12) of a graph; a side may be a name for any size."""
    sides = (encode((1, side) if isinstance(side, int) else (2, side)) for side in shape)
    dims = encode(*((1, side) for side in sides))
    return number, encode((1, name), (2, encode((1, encode((1, kind), (2, dims))))))


def graph_of(model: bytes) -> tuple[list[Field], list[Field], int]:
    """The fields of a model but for its graph, the fields of its graph, and its operator set.

    Raises :class:`ModelError` unless it is an ONNX model for an operator set that is known.
    """
    rest, graphs, opset = [], [], 0
    for number, value in fields(model):
        if number == 7 and isinstance(value, bytes):
            graphs.append(list(fields(value)))
            continue
        rest.append((number, value))
        if number == 8 and isinstance(value, bytes):
            entry = dict(fields(value))
            if entry.get(1, b"") in (b"", b"ai.onnx") and isinstance(entry.get(2), int):
                opset = int(entry[2])
    if len(graphs) != 1:
        raise _not_onnx()
    if opset not in _OPSETS:
        raise ModelError(
            f"this model is of ONNX operator set {opset}, and folding needs 11 or later; "
            "export it again, or use a model of models/registry.toml"
        )
    return rest, graphs[0], opset


def name_of(value: int | bytes, number: int) -> str:
    """The text in field ``number`` of a message; empty where there is none."""
    found = dict(fields(value)).get(number, b"") if isinstance(value, bytes) else b""
    return found.decode(errors="replace") if isinstance(found, bytes) else ""


def fold(model: bytes, ports: Ports, *, height: int, width: int, top_k: int = TOP_K) -> bytes:
    """Fold a plain RetinaFace for inputs of ``height`` x ``width`` pixels, multiples of 32.

    ``model`` takes float32 (N, 3, H, W), blue, green, red, the mean subtracted, and gives
    float32 ``loc`` (N, P, 4), ``conf`` (N, P, 2) as probabilities and ``landmarks`` (N, P, 10);
    ``ports`` has its names for these. The folded one takes ``pixels``, uint8 (N, H, W, 3) in BGR
    (see ``vision/folded.py``), and gives two float32 outputs: ``candidates`` (N, K, 15), the
    best ``top_k`` of the priors or all of them, best first, each x1, y1, x2, y2, score and five
    landmarks in input pixels; and ``extremes`` (1, 3) of the whole batch: 0, or NaN where a number
    of the plain outputs is not finite, then the lowest and the highest probability. N stays open.
    The same arguments always give the same bytes.

    Decoding is that of :mod:`streamer.vision.boxes`, with the size of the input multiplied into
    the table of priors. Raises :class:`ModelError` when the model is no such ONNX file, and
    ``ValueError`` when a number is out of range.
    """
    if min(height, width) < MULTIPLE or height % MULTIPLE or width % MULTIPLE:
        raise ValueError(f"an input has sides in multiples of 32, not {width}x{height}")
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, not {top_k}")
    rest, graph, _ = graph_of(model)
    weights = {name_of(value, 8) for number, value in graph if number == 5}
    images = {name_of(value, 1) for number, value in graph if number == 11} - weights
    results = {name_of(value, 1) for number, value in graph if number == 12}
    if images != {ports.image} or results != set(ports[1:]):
        raise ModelError(
            f"this model takes {sorted(images)} and gives {sorted(results)}, where a RetinaFace "
            f"takes {ports.image} and gives {', '.join(ports[1:])}; "
            "use a model of models/registry.toml"
        )
    table = _pixel_priors(height, width)
    best = min(top_k, len(table))
    # Inputs, outputs and the sizes noted for values between them (13) are of the plain shapes.
    kept = [
        (number, value)
        for number, value in graph
        if number not in (11, 12, 13) or (number == 11 and name_of(value, 1) in weights)
    ]
    folded = [
        *_front(ports.image),
        *kept,
        *_back(ports, table, best),
        port(11, FOLDED.image, _UINT8, ("batch", height, width, 3)),
        port(12, FOLDED.candidates, FLOAT, ("batch", best, COLUMNS)),
        port(12, FOLDED.extremes, FLOAT, (1, 3)),
    ]
    return encode(*rest, (7, encode(*folded)))


def _front(image: str) -> list[Field]:
    """Bytes to planes. They are moved while they are bytes: a quarter of the traffic."""
    mean = np.array(MEAN_BGR, np.float32).reshape(1, 3, 1, 1)
    return [
        tensor("fold/mean", mean),
        node("Transpose", [FOLDED.image], "fold/planes", perm=[0, 3, 1, 2]),
        node("Cast", ["fold/planes"], "fold/floats", to=FLOAT),
        node("Sub", ["fold/floats", "fold/mean"], image),
    ]


def _pixel_priors(height: int, width: int) -> Floats:
    """What decoding needs of each prior, (P, 26) float32 in input pixels.

    The centre six times over, for five landmarks and the box; what one unit of the network moves
    each of them by; half the prior's width and height.
    """
    size = np.array([width, height] * 2, np.float64)
    pixels = priors(height, width) * size
    centre, side = pixels[:, :2], pixels[:, 2:]
    table = [np.tile(centre, 6), np.tile(side * VARIANCES[0], 6), side / 2]
    return np.concatenate(table, axis=1).astype(np.float32)


def _back(ports: Ports, table: Floats, best: int) -> list[Field]:
    """Choose first and decode what was chosen: a thousand rows in place of ten thousand."""
    made: list[Field] = []

    def constant(name: str, *values: float, dtype: type = np.int64) -> str:
        made.append(tensor(f"fold/{name}", np.array(values, dtype)))
        return f"fold/{name}"

    def add(kind: str, inputs: Iterable[str], outputs: str, **attributes: int) -> str:
        made.append(node(kind, inputs, outputs, **attributes))
        return outputs.split()[0]

    def columns(source: str, first: int, last: int, name: str) -> str:
        ends = [constant(f"{name}/{n}", v) for n, v in (("from", first), ("to", last), ("axis", 2))]
        return add("Slice", [source, *ends], f"fold/{name}")

    # Ten numbers of landmarks, four of the box, two scores.
    everything = add("Concat", [ports.landmarks, ports.loc, ports.conf], "fold/all", axis=2)
    # 0 times a number that is not finite is NaN, and so is a sum with it, on every device.
    zeros = add("Mul", [everything, constant("zero", 0, dtype=np.float32)], "fold/zeros")
    parts = [("ReduceSum", zeros), ("ReduceMin", ports.conf), ("ReduceMax", ports.conf)]
    one = constant("one", 1, 1)
    extremes = [
        add("Reshape", [add(kind, [source], f"fold/{kind}", keepdims=0), one], f"fold/{kind}/1")
        for kind, source in parts
    ]
    add("Concat", extremes, FOLDED.extremes, axis=1)

    face = add("Gather", [ports.conf, "fold/one/0"], "fold/face", axis=2)
    made.append(tensor("fold/one/0", np.array(1, np.int64)))
    add("TopK", [face, constant("best", best)], "fold/scores fold/which", axis=1)
    shape = constant("shape", 0, best, 1)
    scores = add("Reshape", ["fold/scores", shape], "fold/score")
    rows = add("Reshape", ["fold/which", shape], "fold/row")
    rows = add("Expand", [rows, constant("wide", 1, 1, 16)], "fold/rows")
    chosen = add("GatherElements", [everything, rows], "fold/chosen", axis=1)
    made.append(tensor("fold/priors", table))
    anchors = add("Gather", ["fold/priors", "fold/which"], "fold/anchors", axis=0)

    steps = columns(anchors, 12, 24, "steps")
    moves = add("Mul", [columns(chosen, 0, 12, "numbers"), steps], "fold/moves")
    points = add("Add", [columns(anchors, 0, 12, "centres"), moves], "fold/points")
    variance = constant("variance", VARIANCES[1], dtype=np.float32)
    growth = add("Mul", [columns(chosen, 12, 14, "sides"), variance], "fold/growth")
    growth = add("Exp", [growth], "fold/factors")
    half = add("Mul", [columns(anchors, 24, 26, "halves"), growth], "fold/half")
    middle = columns(points, 10, 12, "middle")
    low, high = (add(k, [middle, half], f"fold/{k}") for k in ("Sub", "Add"))
    landmarks = columns(points, 0, 10, "landmarks")
    add("Concat", [low, high, scores, landmarks], FOLDED.candidates, axis=2)
    return made
