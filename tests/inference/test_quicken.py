"""A quickened network gives what the plain one gives."""

from functools import cache

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.errors import ModelError
from streamer.inference import quicken as module
from streamer.inference.graph import (
    FLOAT,
    Ports,
    encode,
    fields,
    fold,
    graph_of,
    node,
    port,
    tensor,
)
from streamer.inference.network import Net
from streamer.inference.quicken import quicken
from streamer.vision.anchors import priors
from streamer.vision.letterbox import Letterbox
from streamer.vision.picture import ArrayPicture
from streamer.vision.retinaface import from_output, to_input
from tests.inference.pictures import ROOT, model_bytes, reference_pictures

PORTS = Ports("input", "loc", "conf", "landmarks")


def opened(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def answer(model: bytes, batch: np.ndarray) -> list[np.ndarray]:
    return opened(model).run(list(PORTS[1:]), {PORTS.image: batch})


def kinds(model: bytes) -> list[str]:
    return [n.kind for n in Net(graph_of(model)[1]).nodes]


@cache
def pictures() -> dict[str, np.ndarray]:
    return dict(reference_pictures(ROOT / "streamer" / "assets" / "demo.mp4"))


@pytest.mark.parametrize("name", pictures())
@pytest.mark.parametrize("block", [8, 16])
def test_real_faces_are_the_same(name: str, block: int) -> None:
    pixels = pictures()[name]
    height, width = pixels.shape[:2]
    box = Letterbox(width, height, width, height, width, height)
    batch = to_input([ArrayPicture(pixels.copy())], [box])
    quick = quicken(model_bytes(), PORTS, height=height, width=width, block=block)
    expected, found = answer(model_bytes(), batch), answer(quick, batch)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
    rules = {"confidence": 0.5, "nms": 0.4, "max_faces": 1000}
    [ours], [theirs] = (from_output(*outputs, [box], **rules) for outputs in (found, expected))
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(ours.boxes, theirs.boxes, rtol=0, atol=1e-2)
    np.testing.assert_allclose(ours.landmarks, theirs.landmarks, rtol=0, atol=1e-2)
    np.testing.assert_allclose(ours.scores, theirs.scores, rtol=0, atol=1e-5)


@settings(max_examples=12)
@given(
    count=st.integers(1, 3),
    rows=st.integers(1, 8),
    columns=st.integers(1, 8),
    block=st.sampled_from([1, 8, 16, 32]),
    seed=st.integers(0, 2**32),
)
def test_every_input_size_gives_the_same(count, rows, columns, block, seed) -> None:
    height, width = 32 * rows, 32 * columns
    batch = np.random.default_rng(seed).uniform(-124, 152, (count, 3, height, width))
    batch = batch.astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WORTH", 1)  # the smallest convolutions too
        quick = quicken(model_bytes(), PORTS, height=height, width=width, block=block)
    for ours, theirs in zip(answer(quick, batch), answer(model_bytes(), batch), strict=True):
        assert ours.shape == theirs.shape == (count, len(priors(height, width)), ours.shape[2])
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-4)


def test_each_step_finds_its_pattern_in_the_real_model() -> None:
    quick = kinds(quicken(model_bytes(), PORTS, height=384, width=640))
    assert not {"Softmax", "Shape", "Gather", "Identity"} & set(quick)
    assert quick.count("Sigmoid") == quick.count("Split") == 1
    assert quick.count("Transpose") == 3  # one head a level
    graph = Net(graph_of(quicken(model_bytes(), PORTS, height=384, width=640))[1])
    shapes = [graph.weights[n.inputs[1]].shape for n in graph.nodes if n.kind == "Conv"]
    assert sum(shape[2:] == (1, 3) for shape in shapes) == 3 * 6  # three in minimal form
    assert min(shape[0] for shape in shapes) == 16  # eight channels became sixteen
    assert all(n.inputs[2] == "quick/twice" for n in graph.nodes if n.kind == "Resize")
    concats = {n.outputs[0] for n in graph.nodes if n.kind == "Concat"}
    assert not [n for n in graph.nodes if n.kind == "Relu" and n.inputs[0] in concats]


def test_the_same_arguments_give_the_same_bytes_and_a_size_of_its_own() -> None:
    one = quicken(model_bytes(), PORTS, height=64, width=96)
    assert one == quicken(model_bytes(), PORTS, height=64, width=96)
    assert opened(one).get_inputs()[0].shape == ["batch", 3, 64, 96]


# Graphs of other shapes


def network(*nodes: tuple, opset: int = 11, **weights: np.ndarray) -> bytes:
    """A model of these nodes, with one output "y", given back as if it were all three."""
    graph = [(2, "g"), port(11, "input", FLOAT, ("n", 3, "h", "w")), *nodes]
    graph += [tensor(name, array.astype(np.float32)) for name, array in weights.items()]
    return encode((1, 6), (8, encode((1, ""), (2, opset))), (7, encode(*graph)))


def conv(source: str, weight: str, out: str, bias: str = "", **attributes) -> tuple:
    names = [source, weight, *([bias] if bias else [])]
    return node("Conv", names, out, **attributes)


def heads(source: str, columns: int, anchors: int, random) -> tuple[list, dict]:
    """Three heads on one map, as exporters write them."""
    made, weights = [], {}
    for name, width in zip(("loc", "conf", "landmarks"), (4, 2, 10), strict=True):
        weights[f"{name}/w"] = random.normal(0, 0.1, (anchors * width, columns, 1, 1))
        weights[f"{name}/b"] = random.normal(0, 1, anchors * width)
        made += [
            conv(source, f"{name}/w", f"{name}/c", f"{name}/b", kernel_shape=[1, 1]),
            node("Transpose", [f"{name}/c"], f"{name}/t", perm=[0, 2, 3, 1]),
            tensor(f"{name}/s", np.array([0, -1, width])),
            node("Reshape", [f"{name}/t", f"{name}/s"], f"{name}/r"),
        ]
        last = "logits" if name == "conf" else name
        made.append(node("Concat", [f"{name}/r"], last, axis=1))
    made.append(node("Softmax", ["logits"], "conf", axis=2))
    gives = zip(PORTS[1:], (4, 2, 10), strict=True)
    made += [port(12, name, FLOAT, ("n", "p", width)) for name, width in gives]
    return made, weights


def body(random, *, channels: int, opset: int, **attributes) -> bytes:
    """Stride 8 of 3x3 convolutions; the last one with ``attributes``; then heads."""
    layers, weights = [], {}
    sizes = [(3, channels, 2), (channels, channels, 2), (channels, channels, 2)]
    source = "input"
    for k, (inside, outside, stride) in enumerate(sizes):
        weights[f"w{k}"] = random.normal(0, 0.2, (outside, inside, 3, 3))
        name = f"c{k}"
        layers.append(conv(source, f"w{k}", name, strides=[stride] * 2, pads=[1] * 4))
        layers.append(node("Relu", [name], f"{name}/a"))
        source = f"{name}/a"
    weights["w"] = random.normal(0, 0.2, (channels, channels // attributes.get("group", 1), 3, 3))
    weights["b"] = random.normal(0, 1, channels)
    layers.append(conv(source, "w", "last", "b", **attributes))
    ends, more = heads("last", channels, 42, random)
    return network(*layers, *ends, opset=opset, **weights, **more)


@settings(max_examples=25)
@given(
    channels=st.sampled_from([1, 8, 24, 32]),
    rows=st.integers(1, 4),
    opset=st.sampled_from([11, 12, 13, 17, 18, 21]),
    attributes=st.sampled_from(
        [
            {"pads": [1, 1, 1, 1]},
            {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3], "group": 1, "strides": [1, 1]},
            {"pads": [2, 2, 2, 2], "dilations": [2, 2]},
            {"pads": [1, 1, 1, 1], "group": 8},
            {"pads": [2, 1, 0, 1]},
        ]
    ),
    seed=st.integers(0, 2**32),
)
def test_only_what_can_be_rewritten_is(channels, rows, opset, attributes, seed) -> None:
    if attributes.get("group", 1) > channels:
        return
    random = np.random.default_rng(seed)
    model = body(random, channels=channels, opset=opset, **attributes)
    batch = random.uniform(-1, 1, (2, 3, 32 * rows, 64)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WORTH", 1)
        # One map has 84 priors for each cell here, whatever the table of the real ones says.
        patch.setattr(module, "priors", lambda height, width: range(42 * height * width // 64))
        quick = quicken(model, PORTS, height=32 * rows, width=64)
    minimal = attributes["pads"] == [1] * 4 and attributes.get("group", 1) == 1
    assert ("quick/last/m0" in str(quick)) == minimal
    assert "Softmax" not in kinds(quick)
    for ours, theirs in zip(answer(quick, batch), answer(model, batch), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)


def test_heads_of_another_kind_are_left_alone() -> None:
    random = np.random.default_rng(0)
    model = body(random, channels=8, opset=11, pads=[1] * 4)
    # A softmax over the priors is none over the two classes.
    other = model.replace(
        encode((1, "axis"), (3, 2), (20, 2)), encode((1, "axis"), (3, 1), (20, 2))
    )
    assert other != model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "priors", lambda height, width: range(42 * height * width // 64))
        assert "Softmax" in kinds(quicken(other, PORTS, height=32, width=32))
        assert "Softmax" not in kinds(quicken(model, PORTS, height=32, width=32))


@pytest.mark.parametrize(
    "extra",
    [
        (1, encode((1, "x"), (2, "y"), (4, "Strange"), (7, "com.example"))),
        (1, encode((1, "x"), (2, "y"), (4, "If"), (5, encode((1, "then_branch"), (6, b""))))),
    ],
    ids=["another domain", "a branch"],
)
def test_a_graph_that_cannot_be_seen_through_is_refused(extra) -> None:
    rest, graph, _ = graph_of(model_bytes())
    model = encode(*rest, (7, encode(*graph, extra)))
    with pytest.raises(ModelError, match="use it as it is"):
        quicken(model, PORTS, height=64, width=64)


@pytest.mark.parametrize("content", [b"", b"<html>", model_bytes()[:-1000]])
def test_bytes_that_are_no_model_are_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match="not an ONNX model"):
        quicken(content, PORTS, height=64, width=64)


@pytest.mark.parametrize("wrong", [{"height": 0}, {"width": 40}, {"block": 0}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        quicken(model_bytes(), PORTS, **{"height": 32, "width": 32, **wrong})


def test_a_quickened_network_can_be_folded_too() -> None:
    pixels = pictures()["astronaut-half-256x256"][None]
    quick = quicken(model_bytes(), PORTS, height=256, width=256)
    found, expected = (
        opened(fold(model, PORTS, height=256, width=256, top_k=10)).run(None, {"pixels": pixels})
        for model in (quick, model_bytes())
    )
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=1e-2)


def test_nothing_that_is_unused_stays_in_the_file() -> None:
    quick = quicken(model_bytes(), PORTS, height=384, width=640)
    net = Net(graph_of(quick)[1])
    assert set(net.constants) <= {name for n in net.nodes for name in n.inputs}
    assert sum(1 for number, _ in fields(quick) if number == 7) == 1
