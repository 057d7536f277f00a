import onnxruntime
import pytest

from streamer.errors import ModelError
from streamer.inference.contract import ports_of
from streamer.inference.graph import Ports
from tests.inference.fake_ort import IMAGE, OUTPUTS, FakeSession, node
from tests.inference.pictures import model_bytes


def test_the_names_of_the_real_model() -> None:
    session = onnxruntime.InferenceSession(model_bytes(), providers=["CPUExecutionProvider"])
    assert ports_of(session) == Ports("input", "loc", "conf", "landmarks")


def test_outputs_are_told_apart_by_shape_whatever_their_order() -> None:
    session = FakeSession([IMAGE], [OUTPUTS[2], OUTPUTS[0], OUTPUTS[1]])
    assert ports_of(session) == Ports("image", "loc", "conf", "marks")


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([IMAGE, IMAGE], OUTPUTS),
        ([node("image", ["n", 1, "h", "w"])], OUTPUTS),
        ([node("image", ["n", 3, "h", "w"], "tensor(uint8)")], OUTPUTS),
        ([node("ids", ["n", "length"])], OUTPUTS),
        ([IMAGE], OUTPUTS[:2]),
        ([IMAGE], [*OUTPUTS, OUTPUTS[0]]),
        ([IMAGE], [OUTPUTS[0], OUTPUTS[0], OUTPUTS[2]]),
        ([IMAGE], [node("logits", ["n", 1000])]),
    ],
)
def test_another_model_is_refused_with_what_it_takes_and_gives(inputs, outputs) -> None:
    with pytest.raises(ModelError, match=r"not a RetinaFace.*takes.*gives.*registry.toml"):
        ports_of(FakeSession(inputs, outputs))
