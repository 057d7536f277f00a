"""Writes pictures and videos with the faces drawn in. A door to av, for encoding files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

from streamer.errors import StreamerError
from streamer.types import Frame, Image, Outcome, Result
from streamer.vision.annotate import draw
from streamer.vision.picture import encode_still
from streamer.vision.privacy import mode_of

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_TIME_BASE = Fraction(1, 90_000)


def drawn_name(name: str) -> str:
    """The name of the file that ``name`` is drawn into: pictures keep theirs, videos are .mp4."""
    path = Path(name)
    return name if path.suffix.lower() in PICTURE_SUFFIXES else f"{path.stem}.mp4"


class AnnotatedSink:
    """Writes each outcome's picture with boxes: one picture file, or an H.264 video.

    ``target`` is a file for one input, or a folder for several: then each input (told apart by
    the frame's camera, which is its file's name) gets a file of the same name there.
    """

    def __init__(self, target: Path, *, folder: bool) -> None:
        """Write to ``target``, or into it when ``folder``; the folder is made."""
        self._target = target
        self._folder = folder
        self._video: _Video | None = None
        self._of = ""
        if folder:
            target.mkdir(parents=True, exist_ok=True)

    def write(self, outcome: Outcome) -> None:
        """Draw and write. Raises StreamerError when the file cannot be written."""
        frame = outcome.frame
        image = frame.picture.bgr().copy()
        if isinstance(outcome, Result):
            draw(image, outcome.tracks, covered=mode_of(frame.picture) != "none")
        if frame.camera != self._of:
            self._end_video()
            self._of = frame.camera
        path = self._target / drawn_name(frame.camera) if self._folder else self._target
        if frame.index and path.suffix.lower() in PICTURE_SUFFIXES:
            raise StreamerError(f"{path}: holds one picture, not a video; choose a .mp4")
        try:
            if path.suffix.lower() in PICTURE_SUFFIXES:
                path.write_bytes(encode_still(image, path.suffix.lower()))
                return
            if self._video is None:
                self._video = _Video(path, image)
            self._video.write(image, frame)
        except (OSError, ValueError) as error:  # PyAV's errors are one or the other
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise StreamerError(
                f"{path}: cannot be written ({reason}); choose another --annotated, "
                "a .mp4 for videos or a .png or .jpg for pictures"
            ) from None

    def close(self) -> None:
        """Finish the video, if there is one."""
        self._end_video()

    def _end_video(self) -> None:
        if self._video is not None:
            self._video.close()
            self._video = None


class _Video:
    """One H.264 file that keeps the times of its frames."""

    def __init__(self, path: Path, first: Image) -> None:
        height, width = first.shape[:2]
        # yuv420p needs even sides, and x264 some pixels: the edge is repeated.
        self._size = (max(16, width + width % 2), max(16, height + height % 2))
        self._container: OutputContainer = av.open(str(path), "w")
        stream = self._container.add_stream("libx264", rate=25, options={"crf": "20"})
        assert isinstance(stream, VideoStream)  # noqa: S101 - for the type checker
        stream.width, stream.height = self._size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = _TIME_BASE
        self._stream = stream
        self._last_pts = -1

    def write(self, image: Image, frame: Frame) -> None:
        width, height = self._size
        image = image[:height, :width]  # a video whose size changes keeps its first
        missing = ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0))
        whole = np.ascontiguousarray(np.pad(image, missing, mode="edge"))
        picture = av.VideoFrame.from_ndarray(whole, "bgr24")
        seconds = frame.index / 25 if frame.pts is None else frame.pts
        self._last_pts = max(self._last_pts + 1, round(seconds / _TIME_BASE))
        picture.pts, picture.time_base = self._last_pts, _TIME_BASE
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        try:
            self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()
