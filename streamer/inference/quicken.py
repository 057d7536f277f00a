"""Writes the same network so that a CPU runs it faster: bytes of an ONNX file in, bytes out.

What comes in and out stays as it was, to about 1e-5. Five steps, each left out where the graph
does not have its pattern: 3x3 convolutions in Winograd's minimal form along the columns, one
convolution for the three heads of a level, activations before a concatenation and not after,
upsampling by a constant two, and narrow layers widened to one block of channels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np

from streamer.inference.graph import FLOAT, Ports, encode, graph_of, port
from streamer.inference.network import ACTIVATIONS, Net, Node, new
from streamer.vision.anchors import priors
from streamer.vision.letterbox import MULTIPLE

_TILE: Final = 4
"""Rows that one tile of F(4, 3) gives."""

_WORTH: Final = 20_000_000
"""Multiplications to be saved on one input before some thirty small nodes pay for themselves.
Measured with MobileNet 0.25 at 640x384: 71 million saved 0.8 ms, 18 million next to nothing."""

# F(4, 3) of Lavin and Gray, arXiv 1509.09308: what six rows become, and what three weights do.
_ROWS: Final = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_WEIGHTS: Final = np.array(
    [(6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24)], np.float64
) / (24, 24, 24)


def quicken(model: bytes, ports: Ports, *, height: int, width: int, block: int = 16) -> bytes:
    """Rewrite a plain RetinaFace for inputs of ``height`` x ``width`` pixels, multiples of 32.

    ``model`` and ``ports`` are as for :func:`streamer.inference.graph.fold`. The result takes
    and gives the same, but for this one size only; the batch stays open. ``block`` is how many
    channels the runtime handles at a time: 16 with AVX-512, 8 with AVX2. It only matters for
    speed. Measured at 640x384 on one thread with AVX-512: 0.84 of the time of the plain one.
    The same arguments always give the same bytes.

    Raises :class:`ModelError` when it is not an ONNX model of known operators, and
    ``ValueError`` when a size is no multiple of 32 or ``block`` below 1.
    """
    if min(height, width) < MULTIPLE or height % MULTIPLE or width % MULTIPLE or block < 1:
        raise ValueError(f"sides must be multiples of 32, not {width}x{height}; block {block}")
    rest, graph, opset = graph_of(model)
    net = Net(graph)
    _merge_twins(net, ports)
    _activate_parts(net)
    _widen(net, block)
    sizes = net.sizes(ports.image, height, width)
    _double(net, sizes)
    _merge_heads(net, ports, opset)
    _minimise(net, sizes)
    needed, alive = set(ports[1:]), []
    for n in reversed(net.nodes):
        if needed & set(n.outputs):
            alive.append(n.write())
            needed |= set(n.inputs)
    count = len(priors(height, width))
    gives = zip(ports[1:], (4, 2, 10), strict=True)
    content = [
        *((number, value) for number, value in graph if number not in (1, 5, 11, 12, 13)),
        *reversed(alive),
        *(field for name, field in net.constants.items() if name in needed),
        port(11, ports.image, FLOAT, ("batch", 3, height, width)),
        *(port(12, name, FLOAT, ("batch", count, columns)) for name, columns in gives),
    ]
    return encode(*rest, (7, encode(*content)))


def _merge_twins(net: Net, ports: Ports) -> None:
    """Do once what the exporter wrote twice, with copies of the same weights."""
    same: dict[str, str] = {}
    seen: dict[object, str] = {}
    kept = []
    for n in net.nodes:
        n.inputs = [same.get(name, name) for name in n.inputs]
        if n.outputs[0] not in ports:
            if n.kind == "Identity":
                same[n.outputs[0]] = n.inputs[0]
                continue
            if n.kind in ("Conv", *ACTIVATIONS):
                key = n.kind, tuple(n.inputs), tuple(sorted(n.attributes.values()))
                if (twin := seen.setdefault(key, n.outputs[0])) != n.outputs[0]:
                    same[n.outputs[0]] = twin
                    continue
        kept.append(n)
    net.nodes = kept


def _activate_parts(net: Net) -> None:
    """An activation of a concatenation costs a pass; one of its parts is done as it is made."""
    for n in [n for n in net.nodes if n.kind in ACTIVATIONS]:
        joined = net.maker(n.inputs[0], "Concat")
        if joined is None or net.user(n.inputs[0], n.kind) is None or joined.ints("axis") != (1,):
            continue
        parts = [
            Node(n.kind, [name], [f"quick/{n.outputs[0]}/part{k}"], n.attributes)
            for k, name in enumerate(joined.inputs)
        ]
        net.put(joined, *parts)
        net.put(n, new("Concat", [part.outputs[0] for part in parts], n.outputs[0], axis=1))


def _widen(net: Net, block: int) -> None:
    """Fill a layer of fewer channels than one block with channels of zeros.

    The runtime computes whole blocks anyway, and keeps its own layout only for those. It does so
    for a convolution, a depthwise one and one of 1x1 that follow each other.
    """
    for name in [n.outputs[0] for n in net.nodes if n.kind == "Conv"]:
        chain = [n for n in net.nodes if name in n.outputs]  # as it is by now
        while len(chain) < 3:
            activation = net.user(chain[-1].outputs[0], *ACTIVATIONS)
            last = chain[-1] if activation is None else activation
            follower = net.user(last.outputs[0], "Conv")
            if follower is None:
                break
            chain.append(follower)
        if len(chain) < 3 or any(n.inputs[1] not in net.weights for n in chain):
            continue
        first, deep, point = chain
        channels = len(net.weights[first.inputs[1]])
        if not (
            channels < block
            and first.ints("group", 1) == point.ints("group", 1) == (1,)
            and deep.ints("group", 1) == (channels,)
            and len(net.weights[deep.inputs[1]]) == channels
            and all(name in net.weights for n in (first, deep) for name in n.inputs[2:])
        ):
            continue
        for n in (first, deep):
            names = [_padded(net, name, 0, block) for name in n.inputs[1:]]
            group = {"group": block} if n is deep else {}
            net.put(n, n.with_inputs(n.inputs[0], *names, **group))
        net.put(
            point,
            point.with_inputs(
                point.inputs[0], _padded(net, point.inputs[1], 1, block), *point.inputs[2:]
            ),
        )


def _padded(net: Net, name: str, axis: int, size: int) -> str:
    array = net.weights[name]
    room = [(0, size - side if k == axis else 0) for k, side in enumerate(array.shape)]
    return net.constant(f"quick/{name}/wide", np.pad(array, room))


def _double(net: Net, sizes: dict[str, tuple[int, int]]) -> None:
    """Where a map is enlarged to fit one of just twice its size, say two."""
    for n in [n for n in net.nodes if n.kind == "Resize"]:
        how = n.text("mode"), n.text("coordinate_transformation_mode"), n.text("nearest_mode")
        total = net.user(n.outputs[0], "Add")
        if how != ("nearest", "asymmetric", "floor") or total is None:
            continue
        small = sizes.get(n.inputs[0])
        fits = [sizes.get(name) for name in total.inputs if name != n.outputs[0]]
        if small is not None and fits == [(2 * small[0], 2 * small[1])]:
            none = net.constant("quick/none", np.zeros(0, np.float32))
            twice = net.constant("quick/twice", np.array([1, 1, 2, 2], np.float32))
            net.put(n, n.with_inputs(n.inputs[0], none, twice))


def _merge_heads(net: Net, ports: Ports, opset: int) -> None:
    """One convolution for boxes, scores and landmarks of a level, and no softmax.

    Of two classes, softmax is the logistic function of the difference, which the weights take.
    """
    softmax = net.maker(ports.conf, "Softmax")
    if softmax is None or softmax.ints("axis") not in ((2,), (-1,)):
        return
    heads = [_levels(net, name) for name in (ports.loc, softmax.inputs[0], ports.landmarks)]
    if not heads[0] or len({len(head) for head in heads}) > 1:
        return
    rows, made = [], []
    for k, level in enumerate(zip(*heads, strict=True)):
        anchors = len(net.weights[level[0].inputs[1]]) // 4
        parts = []
        for n, columns in zip(level, (4, 2, 10), strict=True):
            weights = net.weights[n.inputs[1]]
            if len({n.inputs[0] for n in level}) > 1 or len(weights) != anchors * columns:
                return
            bias = net.weights[n.inputs[2]] if n.inputs[2:] else np.zeros(len(weights))
            both = np.concatenate([weights.reshape(len(weights), -1), bias[:, None]], axis=1)
            part = both.reshape(anchors, columns, -1)
            parts.append(part - part[:, ::-1] if columns == 2 else part)
        together = np.concatenate(parts, axis=1).reshape(anchors * 16, -1).astype(np.float32)
        base = f"quick/head{k}"
        weight = net.constant(f"{base}/weight", together[:, :-1, None, None])
        bias_name = net.constant(f"{base}/bias", together[:, -1])
        shape = net.constant("quick/rows", np.array([0, -1, 16], np.int64))
        made += [
            new(
                "Conv", [level[0].inputs[0], weight, bias_name], f"{base}/conv", kernel_shape=[1, 1]
            ),
            new("Transpose", [f"{base}/conv"], f"{base}/cells", perm=[0, 2, 3, 1]),
            new("Reshape", [f"{base}/cells", shape], f"{base}/priors"),
        ]
        rows.append(f"{base}/priors")
    made.append(new("Concat", rows, "quick/priors", axis=1))
    widths = {"split": (4, 2, 10)} if opset < 13 else {}
    sides = [net.constant("quick/columns", np.array([4, 2, 10], np.int64))] if not widths else []
    outputs = f"{ports.loc} quick/logits {ports.landmarks}"
    made.append(new("Split", ["quick/priors", *sides], outputs, axis=2, **widths))
    made.append(new("Sigmoid", ["quick/logits"], ports.conf))
    net.nodes = [n for n in net.nodes if not set(ports) & set(n.outputs)] + made


def _levels(net: Net, name: str) -> list[Node]:
    """The 1x1 convolutions behind one value, one for each level; none if it is made otherwise."""
    joined = net.maker(name, "Concat")
    if joined is None or joined.ints("axis") != (1,):
        return []
    found = []
    for part in joined.inputs:
        flat = net.maker(part, "Reshape")
        moved = net.maker(flat.inputs[0], "Transpose") if flat else None
        conv = net.maker(moved.inputs[0], "Conv") if moved else None
        if conv is None or moved is None or moved.ints("perm") != (0, 2, 3, 1):
            return []
        if not net.is_conv(conv, 1):
            return []
        found.append(conv)
    return found


def _minimise(net: Net, sizes: dict[str, tuple[int, int]]) -> None:
    """Half the multiplications of 3x3 convolutions, where that is many."""
    by_input: dict[str, list[Node]] = defaultdict(list)
    for n in net.nodes:
        rows, _ = sizes.get(n.inputs[0], (1, 1)) if n.inputs else (1, 1)
        if rows % _TILE == 0 and net.is_conv(n, 3):
            by_input[n.inputs[0]].append(n)
    for name, convs in by_input.items():
        rows, columns = sizes[name]
        shapes = [net.weights[n.inputs[1]].shape for n in convs]
        if sum(s[0] * s[1] * 9 for s in shapes) * rows * columns // 2 < _WORTH:
            continue
        taken = _take_rows(net, name, shapes[0][1])
        for n in convs:
            net.put(n, *(taken if n is convs[0] else []), *_minimal(net, n, rows, columns))


def _take_rows(net: Net, name: str, channels: int) -> list[Node]:
    """Six sums of the rows of each tile, every one for all channels by a depthwise convolution."""
    made = []
    for k, taps in enumerate(_ROWS):
        # The first and the last take every other row, from above the tile or to below it.
        span, step, pads = (slice(1, 5), 1, (0, 0, 0, 0))
        if k in (0, 5):
            span, step = slice(k // 5, None, 2), 2
            pads = (1, 0, 0, 0) if k == 0 else (0, 0, 1, 0)
        column = np.array(taps[span], np.float32).reshape(1, 1, -1, 1)
        weight = net.constant(f"quick/{name}/rows{k}/taps", np.tile(column, (channels, 1, 1, 1)))
        made.append(
            new(
                "Conv", [name, weight], f"quick/{name}/rows{k}", group=channels, pads=pads,
                kernel_shape=[column.size, 1], strides=[_TILE, 1], dilations=[step, 1],
            )
        )  # fmt: skip
    return made


def _minimal(net: Net, conv: Node, rows: int, columns: int) -> list[Node]:
    """What replaces ``conv``: six convolutions of 1x3, their sums and the rows put in order.

    With products m0 to m5, s = m1 + m2, d = m1 - m2, S = m3 + m4 and D = m3 - m4, the four rows
    are m0 + s + S, d + 2 D, s + 4 S and d + 8 D + m5. Each scaling is a depthwise convolution,
    because the runtime adds into those as it goes; it has no such subtraction.
    """
    base, weights = f"quick/{conv.outputs[0]}", net.weights[conv.inputs[1]].astype(np.float64)
    out, bias = len(weights), conv.inputs[2:]
    made: list[Node] = []

    def add(first: str, second: str, name: str) -> str:
        made.append(new("Add", [first, second], f"{base}/{name}"))
        return f"{base}/{name}"

    def scaled(value: str, factor: float, name: str, biases: Sequence[str] = ()) -> str:
        same = np.full((out, 1, 1, 1), factor, np.float32)
        weight = net.constant(f"{base}/{name}/factor", same)
        inputs = [value, weight, *biases]
        made.append(new("Conv", inputs, f"{base}/{name}", group=out, kernel_shape=[1, 1]))
        return f"{base}/{name}"

    product = []
    for k, factors in enumerate(_WEIGHTS):
        small = np.einsum("t,octj->ocj", factors, weights)[:, :, None].astype(np.float32)
        inputs = [f"quick/{conv.inputs[0]}/rows{k}", net.constant(f"{base}/weight{k}", small)]
        inputs += bias if k in (0, 5) else []
        made.append(new("Conv", inputs, f"{base}/m{k}", kernel_shape=[1, 3], pads=[0, 1, 0, 1]))
        product.append(f"{base}/m{k}")
    near, far = add(product[1], product[2], "near"), add(product[3], product[4], "far")
    near_gap = add(scaled(product[2], -2, "near2"), near, "near-gap")
    far_gap = add(scaled(product[4], -2, "far2"), far, "far-gap")
    lines = [
        add(product[0], add(near, far, "all"), "row0"),
        add(scaled(far_gap, 2, "two", bias), near_gap, "row1"),
        add(scaled(far, 4, "four", bias), near, "row2"),
        add(product[5], add(scaled(far_gap, 8, "eight"), near_gap, "gaps"), "row3"),
    ]
    shape = net.constant(f"{base}/shape", np.array([0, out, rows, columns], np.int64))
    made.append(new("Concat", lines, f"{base}/side-by-side", axis=3))
    made.append(new("Reshape", [f"{base}/side-by-side", shape], conv.outputs[0]))
    return made
