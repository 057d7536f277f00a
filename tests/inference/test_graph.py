"""A folded network finds what the plain one and its head find."""

from functools import cache

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.errors import ModelError
from streamer.inference.graph import (
    FLOAT,
    Ports,
    encode,
    fields,
    fold,
    graph_of,
    name_of,
    node,
    port,
    tensor,
)
from streamer.types import Faces
from streamer.vision.anchors import priors
from streamer.vision.folded import COLUMNS, from_folded, to_pixels
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


def run_folded(model: bytes, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    candidates, extremes = opened(model).run(["candidates", "extremes"], {"pixels": pixels})
    return candidates, extremes


def assert_same(found: Faces, expected: Faces) -> None:
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.boxes, expected.boxes, rtol=0, atol=1e-3)
    np.testing.assert_allclose(found.landmarks, expected.landmarks, rtol=0, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-6)


# Real faces


@cache
def pictures() -> dict[str, np.ndarray]:
    return dict(reference_pictures(ROOT / "streamer" / "assets" / "demo.mp4"))


@cache
def plain() -> onnxruntime.InferenceSession:
    return opened(model_bytes())


def both(images: list[np.ndarray], input_size: int, confidence: float) -> list[tuple[Faces, Faces]]:
    """Faces of each picture by the folded and by the plain network."""
    boxes = [Letterbox.fit(p.shape[1], p.shape[0], input_size) for p in images]
    asked = [ArrayPicture(p.copy()) for p in images]
    batch = to_input(asked, boxes)
    rules = {"confidence": confidence, "nms": 0.4, "max_faces": 1000}
    expected = from_output(*plain().run(PORTS[1:], {PORTS.image: batch}), boxes, **rules)
    height, width = batch.shape[2:]
    folded = fold(model_bytes(), PORTS, height=height, width=width)
    candidates, extremes = run_folded(folded, to_pixels(asked, boxes))
    assert candidates.dtype == extremes.dtype == np.float32
    assert extremes[0, 0] == 0
    assert 0 <= extremes[0, 1] < extremes[0, 2] <= 1
    found = from_folded(candidates, extremes, boxes, **rules)
    return list(zip(found, expected, strict=True))


@pytest.mark.parametrize("name", pictures())
@pytest.mark.parametrize("input_size", [320, 640])
def test_real_faces_are_the_same(name: str, input_size: int) -> None:
    for confidence in (0.6, 0.02):
        [(found, expected)] = both([pictures()[name]], input_size, confidence)
        assert_same(found, expected)


def test_the_pictures_do_show_faces() -> None:
    counts = [len(both([p], 320, 0.6)[0][1]) for p in pictures().values()]
    assert sum(count > 0 for count in counts) >= 8
    assert max(counts) >= 10


def test_pictures_of_one_batch_do_not_mix() -> None:
    demo = [pictures()[f"demo-{n}-1280x736"] for n in (0, 60, 200)]
    pairs = both(demo, 640, 0.3)
    for found, expected in pairs:
        assert len(expected)
        assert_same(found, expected)
    first, second = pairs[0][1], pairs[1][1]
    assert len(first) != len(second) or np.abs(first.boxes - second.boxes).max() > 1


def test_all_priors_are_given_where_there_are_fewer_than_asked() -> None:
    face = pictures()["astronaut-quarter-128x128"]
    folded = fold(model_bytes(), PORTS, height=64, width=64, top_k=10_000)
    candidates, _ = run_folded(folded, face[None, 32:96, 32:96])
    assert candidates.shape == (1, len(priors(64, 64)), COLUMNS)
    assert (np.diff(candidates[0, :, 4]) <= 0).all()


def test_the_same_arguments_give_the_same_bytes() -> None:
    size = {"height": 64, "width": 96}
    assert fold(model_bytes(), PORTS, **size) == fold(model_bytes(), PORTS, **size)
    assert fold(model_bytes(), PORTS, **size) != fold(model_bytes(), PORTS, **size, top_k=5)


def test_the_signature_says_what_goes_in_and_out() -> None:
    session = opened(fold(model_bytes(), PORTS, height=64, width=96, top_k=9))
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
        ("pixels", "tensor(uint8)", ["batch", 64, 96, 3])
    ]
    assert [(o.name, o.shape) for o in session.get_outputs()] == [
        ("candidates", ["batch", 9, COLUMNS]),
        ("extremes", [1, 3]),
    ]


# Any numbers


def says(loc: np.ndarray, conf: np.ndarray, landmarks: np.ndarray, *, opset: int = 11) -> bytes:
    """A network that answers these whatever it is shown."""
    arrays = dict(zip(PORTS[1:], (loc, conf, landmarks), strict=True))
    graph = [(2, "answers"), port(11, PORTS.image, FLOAT, ("n", 3, "h", "w"))]
    graph += [tensor("nought", np.zeros((), np.float32))]
    graph += [node("Mul", [PORTS.image, "nought"], "noughts")]
    graph += [node("ReduceMin", ["noughts"], "zero", keepdims=0)]
    for name, array in arrays.items():
        graph += [tensor(f"{name}s", array), node("Add", [f"{name}s", "zero"], name)]
        graph += [port(12, name, FLOAT, array.shape)]
    return encode((1, 6), (8, encode((1, ""), (2, opset))), (7, encode(*graph)))


def numbers(seed: int, batch: int, height: int, width: int) -> tuple[np.ndarray, ...]:
    """Outputs of every kind: few sure priors, many alike, boxes far outside and turned over."""
    random = np.random.default_rng(seed)
    count = len(priors(height, width))
    loc = random.normal(0, 3, (batch, count, 4)).astype(np.float32)
    face = random.choice([0, 0.1, 0.5, 0.75, 0.99, 1], (batch, count)).astype(np.float32)
    face *= random.random((batch, count)) < random.choice([0.02, 0.3, 1])
    conf = np.stack([1 - face, face], axis=2)
    return loc, conf, random.normal(0, 9, (batch, count, 10)).astype(np.float32)


SIZES = st.sampled_from([(32, 32), (32, 64), (96, 64), (160, 128)])


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    batch=st.integers(1, 3),
    size=SIZES,
    top_k=st.sampled_from([1, 20, 10_000]),
    confidence=st.sampled_from([0.05, 0.5, 0.9, 1]),
    nms=st.sampled_from([0, 0.4, 1]),
    opset=st.sampled_from([11, 13, 18, 20]),
)
def test_any_answer_is_read_alike(seed, batch, size, top_k, confidence, nms, opset) -> None:
    height, width = size
    loc, conf, landmarks = numbers(seed, batch, height, width)
    box = Letterbox(2 * width, 3 * height, width, height, width, height)
    folded = fold(
        says(loc, conf, landmarks, opset=opset), PORTS, height=height, width=width, top_k=top_k
    )
    pixels = np.zeros((batch, height, width, 3), np.uint8)
    candidates, extremes = run_folded(folded, pixels)
    assert extremes.tolist() == [[0, conf.min(), conf.max()]]
    # The plain head sees the K best of each picture, the first of equals first.
    left = np.zeros_like(conf)
    for n, order in enumerate(np.argsort(-conf[..., 1], axis=1, kind="stable")):
        left[n, order[:top_k]] = conf[n, order[:top_k]]
    boxes, rules = [box] * batch, {"confidence": confidence, "nms": nms, "max_faces": 9999}
    expected = from_output(loc, left, landmarks, boxes, **rules)
    for ours, theirs in zip(
        from_folded(candidates, extremes, boxes, **rules), expected, strict=True
    ):
        assert_same(ours, theirs)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("output", [0, 1, 2])
def test_what_is_not_finite_shows_wherever_it_is(output: int, value: float) -> None:
    answers = numbers(0, 2, 32, 32)
    answers[output][1, -1, -1] = value
    folded = fold(says(*answers), PORTS, height=32, width=32, top_k=1)
    _, extremes = run_folded(folded, np.zeros((2, 32, 32, 3), np.uint8))
    assert np.isnan(extremes[0, 0])


@pytest.mark.parametrize(("value", "place"), [(-3, 1), (7, 2)])
def test_what_is_no_probability_shows(value: float, place: int) -> None:
    answers = numbers(0, 2, 32, 32)
    answers[1][0, 3, 0] = value
    folded = fold(says(*answers), PORTS, height=32, width=32, top_k=1)
    _, extremes = run_folded(folded, np.zeros((2, 32, 32, 3), np.uint8))
    assert extremes[0, 0] == 0
    assert extremes[0, place] == value


# What is no such model


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>404</html>",
        model_bytes()[:1000],
        model_bytes()[:-1000],
        b"\0" * 64,
        b"\xff" * 64,
    ],
    ids=["empty", "html", "start only", "end missing", "zeros", "ones"],
)
def test_bytes_that_are_no_model_are_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match="not an ONNX model"):
        fold(content, PORTS, height=32, width=32)


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    try:
        list(fields(content))
        graph_of(content)
    except ModelError:
        pass


def test_an_old_operator_set_is_refused() -> None:
    with pytest.raises(ModelError, match=r"operator set 9.*export it again"):
        fold(says(*numbers(0, 1, 32, 32), opset=9), PORTS, height=32, width=32)


def test_other_names_are_refused() -> None:
    with pytest.raises(ModelError, match=r"gives \['conf', 'landmarks', 'loc'\].*registry.toml"):
        fold(model_bytes(), Ports("input", "a", "b", "c"), height=32, width=32)


@pytest.mark.parametrize(
    "wrong",
    [{"height": 0}, {"height": 33}, {"width": 8}, {"top_k": 0}],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="not "):
        fold(model_bytes(), PORTS, **{"height": 32, "width": 32, **wrong})


# The bytes


@given(st.lists(st.tuples(st.integers(1, 2**20), st.integers(0, 2**64 - 1) | st.binary())))
def test_fields_come_back_as_they_were_written(content) -> None:
    assert list(fields(encode(*content))) == content


def test_every_field_of_the_real_model_is_read() -> None:
    content = list(fields(model_bytes()))
    assert encode(*content) == model_bytes()
    _, graph, opset = graph_of(model_bytes())
    assert opset == 11
    assert [name_of(value, 1) for number, value in graph if number == 12] == list(PORTS[1:])
