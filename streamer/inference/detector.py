"""RetinaFace whole: the head (pictures to numbers and back) and a session that runs the network."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamer.inference.ladder import Ladder
from streamer.inference.session import Session
from streamer.protocols import Detector
from streamer.types import Faces, Picture
from streamer.vision.folded import from_folded, overfull, to_pixels
from streamer.vision.letterbox import Letterbox
from streamer.vision.picture import ArrayPicture
from streamer.vision.retinaface import from_output, to_input

_BUFFERS: Final = 4
"""Inputs for which a thread keeps its buffer; one of 640x384 takes 3 MB a picture at most."""


class _Buffers(threading.local):
    """Input buffers of one thread, by the shape of a picture, the one used last at the end."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, int, int], NDArray[Any]] = OrderedDict()

    def get(self, count: int, shape: tuple[int, int, int], dtype: type) -> NDArray[Any]:
        """A C-contiguous (count, *shape) array, with whatever in it; a shape has one dtype."""
        buffer = self._kept.pop(shape, None)
        if buffer is None or len(buffer) < count:
            buffer = np.empty((count, *shape), dtype)
        self._kept[shape] = buffer
        if len(self._kept) > _BUFFERS:
            self._kept.popitem(last=False)
        return buffer[:count]


class RetinaFace:
    """A :class:`streamer.protocols.Detector`. Any number of threads may use one.

    ``session`` runs the network (see :func:`streamer.inference.session.open_session`);
    ``input_size`` is what the longer side of every picture is scaled to, a multiple of 32;
    ``confidence`` (0..1) the score a face must pass; ``nms`` (0..1) the overlap over which the
    worse of two faces is dropped; ``max_faces`` the most faces given for one picture; ``shrinks``
    whether the input may get smaller where memory is short.
    Raises ``ValueError`` when a number is outside these.
    """

    def __init__(
        self,
        session: Session,
        *,
        input_size: int = 640,
        confidence: float = 0.6,
        nms: float = 0.4,
        max_faces: int = 200,
        shrinks: bool = True,
    ) -> None:
        """Keep the session and the settings; nothing runs yet."""
        if not (0 <= confidence <= 1 and 0 <= nms <= 1):
            raise ValueError(f"confidence and nms must be in 0..1, not {confidence} and {nms}")
        if max_faces < 1:
            raise ValueError(f"max_faces must be at least 1, not {max_faces}")
        Letterbox.fit(1, 1, input_size)  # says what is wrong with an input_size
        self._session = session
        self._ladder = Ladder(input_size, session.memory, shrinks=shrinks)
        self._confidence = confidence
        self._nms = nms
        self._max_faces = max_faces
        self._buffers = _Buffers()

    def detect(self, pictures: Sequence[Picture]) -> list[Faces]:
        """The faces of each picture, in its own pixels, best first, in the order given.

        Pictures whose network inputs have one size run as one batch, whatever their own sizes.
        Where memory is short, batches are halved, and then the input size is lowered for a while
        if it ``shrinks``: ``session.memory`` counts it. Raises
        :class:`streamer.errors.DetectionFailed` when the network could not be run or gave
        nonsense, for all the pictures together, and :class:`streamer.errors.DeviceError` when the
        GPU is lost.
        """
        return self._ladder.run(pictures, partial(self._look, self._session))

    def _look(
        self,
        session: Session,
        pictures: Sequence[Picture],
        input_size: int,
        *,
        warming: bool = False,
    ) -> list[Faces]:
        boxes = [Letterbox.fit(p.width, p.height, input_size) for p in pictures]
        groups: dict[tuple[int, int], list[int]] = {}
        for position, box in enumerate(boxes):
            groups.setdefault((box.input_height, box.input_width), []).append(position)
        found: dict[int, Faces] = {}
        for size, positions in groups.items():
            look = self._by_folded if session.folds(*size, trial=warming) else self._by_plain
            some, theirs = [pictures[p] for p in positions], [boxes[p] for p in positions]
            found.update(zip(positions, look(session, some, theirs, warming), strict=True))
        return [found[position] for position in range(len(pictures))]

    def _by_plain(
        self,
        session: Session,
        pictures: Sequence[Picture],
        boxes: Sequence[Letterbox],
        warming: bool,
    ) -> list[Faces]:
        """The faces of pictures of one input size, by the plain network."""
        count, shape = len(pictures), (3, boxes[0].input_height, boxes[0].input_width)
        # A GPU runs batches of a few sizes; in the rest of the buffer may be whatever is.
        batch = self._buffers.get(session.batch_size(count), shape, np.float32)
        to_input(pictures, boxes, out=batch[:count])
        outputs = session.warm_up(batch) if warming else session.run(batch)
        loc, conf, landmarks = (output[:count] for output in outputs)
        return from_output(
            loc, conf, landmarks, boxes,
            confidence=self._confidence, nms=self._nms, max_faces=self._max_faces,
        )  # fmt: skip

    def _by_folded(
        self,
        session: Session,
        pictures: Sequence[Picture],
        boxes: Sequence[Letterbox],
        warming: bool,
    ) -> list[Faces]:
        """The same by the folded network."""
        count, shape = len(pictures), (boxes[0].input_height, boxes[0].input_width, 3)
        pixels = self._buffers.get(session.batch_size(count), shape, np.uint8)
        to_pixels(pictures, boxes, out=pixels[:count])
        outputs = session.warm_up_folded(pixels) if warming else session.run_folded(pixels)
        candidates, extremes = outputs[0][:count], outputs[1]
        found = from_folded(
            candidates, extremes, boxes,
            confidence=self._confidence, nms=self._nms, max_faces=self._max_faces,
        )  # fmt: skip
        # A crowd of more candidates than the graph gives: only the plain network tells them all.
        crowds = np.flatnonzero(overfull(candidates, boxes, self._confidence)).tolist()
        if crowds:
            some, theirs = [pictures[n] for n in crowds], [boxes[n] for n in crowds]
            for n, faces in zip(crowds, self._by_plain(session, some, theirs, False), strict=True):
                found[n] = faces
        return found

    @property
    def input_size(self) -> int:
        """The input size in use now, pixels: smaller than asked while the GPU's memory is short."""
        return self._ladder.input_size

    def warm_up(self, width: int, height: int, batch: int = 1, at_once: int = 1) -> None:
        """Run on ``batch`` black pictures of ``width`` x ``height`` pixels, ``at_once`` as well.

        The first run of an input size chooses algorithms and takes memory; after this the first
        frame of a camera is as quick as the next. The second is timed: ``session.warmed`` has it,
        and it sets how long a run may take. Raises what :meth:`detect` raises, so it also proves
        that the model works on this device.
        """
        self._warm(self._session, width, height, batch, at_once)

    def use(self, session: Session, width: int, height: int, at_once: int = 1) -> None:
        """Go over to another session of the same model, once it is warm as by :meth:`warm_up`.

        Any thread may call it while others detect; those that have begun end on the old one.
        Raises what :meth:`detect` raises, and then stays where it was.
        """
        self._warm(session, width, height, 1, at_once)
        self._session = session

    def _warm(self, session: Session, width: int, height: int, batch: int, at_once: int) -> None:
        """Run twice alone, for the time of it, and then as often as workers will do together.

        onnxruntime keeps the memory of all runs that were ever under way at one time, 4 MB for one
        more. Taken when two workers first happen to meet, minutes later, it looks like a leak.
        """
        pictures = [ArrayPicture(np.zeros((height, width, 3), np.uint8))] * batch
        self._ladder.run(pictures, partial(self._look, session, warming=True))
        if at_once > 1:
            with ThreadPoolExecutor(at_once, thread_name_prefix="warm-up") as pool:
                runs = [pool.submit(self._ladder.run, pictures, partial(self._look, session))
                        for _ in range(2 * at_once)]  # fmt: skip
                for run in runs:
                    run.result()


class ConfidentOnly:
    """A :class:`streamer.protocols.Detector` that keeps the faces of another that are sure enough.

    For whom weak faces are of no use: those who look at one picture, and follow nobody.
    """

    def __init__(self, detector: Detector, confidence: float) -> None:
        """Keep faces with a score over ``confidence`` (0..1)."""
        self._detector = detector
        self._confidence = confidence

    def detect(self, pictures: Sequence[Picture]) -> list[Faces]:
        """As the other, less its weak faces. Raises what it raises."""
        kept = []
        for faces in self._detector.detect(pictures):
            count = int(np.count_nonzero(faces.scores > self._confidence))  # they are best first
            kept.append(
                Faces(faces.boxes[:count], faces.scores[:count], faces.landmarks[:count])
            )  # fmt: skip
        return kept
