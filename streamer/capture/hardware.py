"""Which decoder a camera uses: a GPU's own (NVDEC) where it was asked for and works, else software.

A camera never stands still for want of a GPU. What FFmpeg does there was read in the sources of
PyAV 18.1 and FFmpeg 8.1; on a GPU it has not been run yet.

* Without a driver even ``allow_software_fallback`` is an error: it is for streams that the GPU
  does not take. So the GPU is asked before the first packet, and software decodes when it refuses.
* Each picture is copied to ordinary memory whole, as NV12, also those that nobody looks at. That
  is why ``auto`` is software until it was measured: in torchcodec's pull request 242 decoding on a
  GPU and scaling on the CPU took 9 times as long as decoding on the CPU and scaling on the GPU.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Literal

FAILURES: Final = 50
"""Packets in a row without a picture, all with errors, until the GPU is given up: two seconds.
A stream that is joined between two key frames may have some, and does with software too."""


class GpuRefused(Exception):
    """The GPU does not decode this stream; the text says why, and holds no secret."""


def gpu_of(decoder: str) -> str | None:
    """The number of the GPU that ``decoder`` names; None for software.

    ``decoder`` is "auto" (software), "software", "cuda" or "cuda:N". Raises ``ValueError``.
    """
    match = re.fullmatch(r"auto|software|cuda(?::(\d{1,2}))?", decoder)
    if match is None:
        raise ValueError(f"decoder {decoder!r} is unknown; use auto, software, cuda or cuda:N")
    return (match[1] or "0") if decoder.startswith("cuda") else None


class Decoding:
    """The decoder of one camera, through all its lives. One thread uses it.

    ``name`` is what decodes now. ``instead`` is the codec context (PyAV's) that is used in place
    of the stream's own, None where that is used.
    """

    def __init__(self, camera: str, decoder: str, open_gpu: Callable[[Any, str], Any]) -> None:
        """``open_gpu`` makes a context on the GPU of a number for what a stream's own decodes.

        It raises :class:`GpuRefused`. Raises ``ValueError`` when ``decoder`` is unknown.
        """
        self.name: Literal["software", "cuda"] = "software"
        self.instead: Any = None
        self._camera = camera
        self._gpu = gpu_of(decoder)
        self._open_gpu = open_gpu
        self._proved = False
        self._failures = 0
        self._told = ""

    def begin(self, own: Any) -> None:
        """A new life, of the stream with the codec context ``own``."""
        self.instead, self.name, self._proved, self._failures = None, "software", False, 0
        if self._gpu is None:
            return
        try:
            self.instead, self.name = self._open_gpu(own, self._gpu), "cuda"
        except GpuRefused as refusal:
            self._tell(str(refusal))

    def worked(self) -> None:
        """A packet gave pictures."""
        self._failures = 0
        if self.instead is not None and not self._proved:
            self._proved = True
            # FFmpeg decides at the first picture, and goes on in software by itself.
            if self.instead.pix_fmt != "cuda":
                self.name = "software"
                self._tell("the GPU does not decode this kind of stream")

    def failed(self) -> None:
        """A packet gave an error. After many the GPU is given up, for later lives too."""
        self._failures += 1
        if self.instead is not None and self._failures >= FAILURES:
            self._gpu = self.instead = None
            self.name = "software"
            self._tell(f"the GPU failed to decode {FAILURES} packets in a row")

    def _tell(self, reason: str) -> None:
        """In the log, when it is news."""
        if reason != self._told:
            self._told = reason
            # Here, since the process of an isolated camera loads this module and writes no log.
            from streamer.log import get_logger

            get_logger("capture").warning(
                "hardware_decoding_unavailable", camera=self._camera, reason=reason
            )
