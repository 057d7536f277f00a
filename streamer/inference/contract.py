"""What a RetinaFace takes and gives, and what runs one."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from streamer.errors import ModelError
from streamer.inference.graph import Ports
from streamer.types import Floats

Batch_contra = TypeVar("Batch_contra", contravariant=True)


class Network(Protocol[Batch_contra]):
    """What runs batches: onnxruntime as it is, or :class:`streamer.inference.cuda.BoundNetwork`.

    ``Network[Floats]`` takes the planes of a plain network, ``Network[Image]`` the pictures of a
    folded one (see :func:`streamer.inference.graph.fold`).
    """

    def batch_size(self, pictures: int) -> int:
        """How many pictures to run for so many."""

    def ready(self, shape: tuple[int, ...]) -> bool:
        """Whether the next run of this shape is as quick as any."""

    def run(self, batch: Batch_contra, options: Any) -> list[Floats]:
        """The outputs; ``options`` are fresh ``RunOptions``. Raises what onnxruntime raises."""

    def free(self) -> None:
        """Give back memory that is kept to be quick."""


def ports_of(session: Any) -> Ports:
    """Names of the input and of the outputs of an onnxruntime session.

    Outputs are told apart by their shapes. Raises :class:`ModelError` when it is no RetinaFace.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    by_width = {o.shape[2]: o.name for o in outputs if len(o.shape) == 3}
    if not (
        len(inputs) == 1
        and inputs[0].type == "tensor(float)"
        and len(inputs[0].shape) == 4
        and inputs[0].shape[1] == 3
        and len(outputs) == 3
        and all(o.type == "tensor(float)" for o in outputs)
        and set(by_width) == {4, 2, 10}
    ):
        takes = ", ".join(f"{i.name} {i.shape}" for i in inputs)
        gives = ", ".join(f"{o.name} {o.shape}" for o in outputs)
        raise ModelError(
            "this model is not a RetinaFace: it should take float (N, 3, H, W) and give (N, P, 4),"
            f" (N, P, 2) and (N, P, 10), but takes {takes} and gives {gives}; "
            "use a model of models/registry.toml"
        )
    return Ports(inputs[0].name, by_width[4], by_width[2], by_width[10])
