"""Network cameras and video files by PyAV (FFmpeg). The only door to ``av`` for capture.

What was measured decides much here (docs/guides and the tests say how):

* Closing a container that another thread reads crashes the process. So nothing interrupts a read;
  every read is bounded instead, and whoever closes waits for the reader.
* ``av.open`` may use its timeout twice, and returns for a camera that never sends a picture.
  Only decoded pictures count as life, and one deadline runs through name, dial and first picture.
* A clean end of a live stream raises nothing; it is a loss all the same.
* The text of every PyAV exception holds the URL with its password: it is never read.
* FFmpeg follows an RTSP redirect to any host, password and all; ``open_timeout_s`` bounds it, and
  for cameras with a ``reach`` a relay prevents it.
"""

from __future__ import annotations

import errno
import math
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final, Literal, cast

import av
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamer.capture import ffmpeg, reasons
from streamer.capture.arrivals import LATE_S, Arrival, Arrivals, Silent
from streamer.capture.av_picture import AvPicture, ColourConverter
from streamer.capture.challenge import login_words
from streamer.capture.ffmpeg import VERIFIED, Patience, Tls
from streamer.capture.hardware import Decoding, GpuRefused
from streamer.capture.reach import Reach
from streamer.capture.resolve import Resolver
from streamer.capture.urls import canonical_url, endpoint_of, file_path, scheme_of
from streamer.errors import LossReason, SourceLost
from streamer.types import Frame, SourceUrl

GIANT_S: Final = 1.0
"""Seconds without a picture until the size is the reason: a damaged packet can claim any size."""


def gpu_context(software: VideoCodecContext, gpu: str) -> VideoCodecContext:
    """A context on the GPU of number ``gpu`` for the stream that ``software`` would decode.

    Pictures it decodes are copied to ordinary memory. Raises :class:`GpuRefused`.
    """
    # By its common name: of AV1 the usual decoder is another than the one that knows GPUs.
    codec = software.codec.canonical_name
    if "cuda" not in hwdevices_available():  # PyAV would take any other device then
        raise GpuRefused("this build of FFmpeg knows no CUDA")
    accelerated = HWAccel(
        "cuda",
        gpu,
        allow_software_fallback=True,
        options={"primary_ctx": "1"},  # that of onnxruntime: one of its own is some 100 MB
    )
    try:
        context = cast("VideoCodecContext", av.CodecContext.create(codec, "r", accelerated))
    except FFmpegError as error:
        raise GpuRefused(
            f"GPU {gpu} or its driver is not there or does not answer ({type(error).__name__})"
        ) from None
    if not context.is_hwaccel:
        raise GpuRefused(f"no GPU decodes {codec}")
    context.extradata = software.extradata
    return context


class PyAvSource:
    """A :class:`streamer.protocols.Source`: an RTSP or HTTP camera, or a video file.

    ``decode_errors`` counts, over all lives, packets that gave no picture and pictures dropped
    because they were damaged; ``left_out`` those that were left out for being late at the end of
    the last life, so that no picture tells of them.

    The longest waits: 3 s for the name, twice ``open_timeout_s`` to open, ``read_timeout_s`` to
    read, and ``first_frame_s`` for all until the first picture; ``stop`` is seen between them.
    """

    def __init__(
        self,
        url: SourceUrl,
        *,
        camera: str,
        live: bool,
        transport: Literal["tcp", "udp"] = "tcp",
        open_timeout_s: float = 4.0,
        read_timeout_s: float = 5.0,
        first_frame_s: float = 10.0,
        max_pixels: int = 4096 * 2160,
        tls: Tls = VERIFIED,
        reach: Reach | None = None,
        decoder: str = "auto",
        late_s: float = LATE_S,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """``live`` is True for rtsp, rtsps, http and https, False for a file.

        A camera that gives no picture for ``read_timeout_s``, or none within ``first_frame_s`` of
        dialling, is lost; pictures of more than ``max_pixels`` are refused before they are
        decoded. ``reach``: the addresses that it may have, looked at with each dial; the one that
        was looked at is dialled, but for HTTPS, where the certificate names the camera, and it may
        not send us on to another. ``late_s``: see arrivals.py. ``decoder`` is "auto", "software",
        "cuda" or "cuda:N" (see hardware.py); files are decoded by software, where nothing can get
        lost on the way to it. Raises ``ValueError`` when it is unknown, ``url`` and ``live`` do not
        go together or the URL is bad.
        """
        scheme = scheme_of(url.reveal())
        if live != (scheme in ffmpeg.PROTOCOLS) or (not live and scheme != "file"):
            raise ValueError("live sources are rtsp, rtsps, http or https; others are files")
        self.live = live
        self.decode_errors = self.left_out = 0
        self._late_s = late_s
        self.camera = camera
        self._scheme = scheme
        self._open_timeout_s = open_timeout_s
        self._read_timeout_s = read_timeout_s
        self._first_frame_s = first_frame_s if live else math.inf
        self._max_pixels = max_pixels
        self._clock = clock
        self._wall_clock = wall_clock
        self._converter = ColourConverter()
        self._decoding = Decoding(camera, decoder if live else "software", gpu_context)
        if live:
            udp = transport == "udp"
            self._bounded = None
            if reach is not None:
                from streamer.capture.bounded import BoundedWay  # loads ssl, which most do without

                self._bounded = BoundedWay(url, reach, tls, udp=udp)
            self._target = canonical_url(url.reveal())
            endpoint = endpoint_of(url.reveal())
            self._name = str(endpoint)
            self._resolver = Resolver(endpoint.host, endpoint.port)
            self._options = ffmpeg.live_options(
                scheme,
                transport=transport,
                socket_timeout_s=max(open_timeout_s, read_timeout_s, first_frame_s),
                max_pixels=max_pixels,
                tls=tls,
                wander=reach is None,
            )
        else:
            path = file_path(url.reveal(), Path())
            self._target = f"file:{path}"  # the prefix keeps FFmpeg from reading it as a URL
            self._path = path
            self._name = path.name
            self._options = ffmpeg.file_options(max_pixels)

    @property
    def decoder(self) -> Literal["software", "cuda"]:
        """What decodes the pictures now, or did last."""
        return self._decoding.name

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """One life: open, yield every picture (epoch 0, index from 0), close.

        A file ends by returning. Raises :class:`streamer.errors.SourceLost` when a live stream
        ends for any reason but ``stop``, and when a file cannot be opened or read on.
        """
        self.left_out = 0
        until_at = self._clock() + self._first_frame_s
        opening = Patience(self._clock, most_s=self._open_timeout_s, until_at=until_at)
        arrivals: Arrivals[Packet[Any]] = Arrivals(
            self._clock, until_at=until_at, late_s=self._late_s
        )
        if self.live:
            self._resolver.require(self._name, stop)
        elif not self._path.is_file():  # a FIFO or a device would wait for ever
            raise self._lost("not_found", "is not there or is not a file; check the path")
        if stop.is_set():
            return
        with ExitStack() as way:
            target = self._target
            if self.live and self._bounded is not None:
                self._target, target = way.enter_context(
                    self._bounded.dialled(self._resolver.addresses, float(opening))
                )
            with closing(self._open(target, opening, arrivals.patience)) as container:
                yield from self._read(container, stop, arrivals)

    def _open(self, target: str, opening: Patience, reading: Patience) -> InputContainer:
        asked_at, limit_s = self._clock(), float(opening)
        try:
            return av.open(
                target,
                format="rtsp" if self._scheme in ("rtsp", "rtsps") else None,
                # PyAV asks for their value at each wait, which its stubs do not know.
                timeout=cast("Any", (opening, reading)) if self.live else None,
                options=self._options,
            )
        except FFmpegError as error:
            reason, words = reasons.why(error, live=self.live)
            if reason == "unreachable" and self._scheme in ("rtsps", "https"):
                reason, words = reasons.why_untrusted()
            if self.live and self._clock() - asked_at >= limit_s - 0.05:
                reason, words = reasons.why_silent(limit_s)
        if self.live and reason == "auth":
            words = login_words(self._target)
        raise self._lost(reason, words)  # outside the except: no link to the error and its URL

    def _stream(self, container: InputContainer) -> VideoStream:
        """The first video stream, set to decode here and now. Raises SourceLost."""
        if not container.streams.video:
            raise self._lost("no_video", "has no video; check the path of the stream")
        stream = container.streams.video[0]
        context = stream.codec_context
        codec = context.codec.canonical_name if context is not None else "unknown"
        if context is None or (self.live and codec not in ffmpeg.LIVE_CODECS):
            raise reasons.unsupported(self._name, codec, ffmpeg.LIVE_CODECS)
        self._check_size(context)
        self._decoding.begin(context)
        for each in (context, self._decoding.instead or context):
            each.thread_type = "NONE"  # frame threads would hold pictures back
            each.thread_count = 1
            each.options = {"max_pixels": str(self._max_pixels)}  # those of av.open do not reach it
        return stream

    def _read(
        self, container: InputContainer, stop: threading.Event, arrivals: Arrivals[Packet[Any]]
    ) -> Iterator[Frame]:
        stream = self._stream(container)
        context = stream.codec_context
        patience = arrivals.patience
        index = 0
        good_at = self._clock()
        reason: LossReason = "eof"
        words = "ended the stream; the camera may be restarting"
        skipped = 0
        try:
            with ExitStack() as reading:
                packets = reading.enter_context(closing(self._packets(container, stream, arrivals)))
                coming = (
                    arrivals.follow(packets, stream.index, stop)
                    if self.live
                    else (Arrival(packet, self._clock()) for packet in packets)
                )
                reading.enter_context(closing(coming))
                for packet, came_at, left_out in coming:
                    if stop.is_set():
                        return
                    if came_at >= patience.until_at:  # packets may come, but no pictures
                        reason = "stall"
                        break
                    if left_out:  # what it kept for later is of before
                        (self._decoding.instead or context).flush_buffers()
                        skipped += left_out
                    for picture in (pictures := self._decode(packet, stream)):
                        self._check_size(picture)
                        index, left_out, skipped = index + skipped, skipped, 0
                        yield self._frame(picture, index, came_at, left_out)
                        index += 1
                        if self.live:  # from here: the reader's time is not the camera's
                            patience.renew(self._read_timeout_s)
                    if pictures:
                        good_at = self._clock()
                    elif self._clock() - good_at >= GIANT_S:
                        self._check_size(self._decoding.instead or context)
        except Silent:
            reason = "stall"
        except FFmpegError as error:
            reason, words = reasons.why(error, live=self.live)
            if patience.is_over():  # the clock alone knows a timeout: it shows as many errors
                reason = "stall"
            elif error.errno == errno.EIO:  # at opening this is a host out of reach
                reason, words = "reset", "broke the connection; the camera may be restarting"
        finally:
            self.left_out = skipped + arrivals.left_out
        if not self.live and reason == "eof":
            return
        if reason == "stall":
            limit_s = self._read_timeout_s if index else self._first_frame_s
            quiet_s = limit_s + self._clock() - patience.until_at
            reason, words = reasons.why_quiet(index, quiet_s, arrivals.leaves_out)
        if not stop.is_set():
            raise self._lost(reason, words)

    def _packets(
        self, container: InputContainer, stream: VideoStream, arrivals: Arrivals[Packet[Any]]
    ) -> Generator[Packet[Any]]:
        """Every packet, each waited for no longer than the patience of ``arrivals`` says by then.

        Raises :class:`Silent` when none came in that time.
        """
        patience, silent = arrivals.patience, False
        while not silent:
            armed_s = float(patience)
            asked_at = self._clock()
            # A live stream is read whole, so that packets of sound cannot hide a frozen picture.
            demuxed = container.demux() if self.live else container.demux(stream)
            with closing(cast("Generator[Packet[Any]]", demuxed)) as packets:
                while True:
                    try:
                        packet = next(packets, None)
                    except FFmpegError:
                        if not (silent := self._is_silent(asked_at, armed_s)):
                            raise
                        break
                    if packet is None:
                        return  # the end, after empty packets
                    if silent := self._is_silent(asked_at, armed_s):
                        break  # it is what the parser had left
                    yield packet
                    asked_at = self._clock()
                    # PyAV reads the patience once for each demux(); pictures that come keep it.
                    if packet.size and not patience.is_near(armed_s):
                        arrivals.settle()  # a picture that just came moves the deadline
                        break
        raise Silent  # here, where no exception holds the URL

    def _is_silent(self, asked_at: float, armed_s: float) -> bool:
        """Whether a read took as long as it might."""
        return self.live and self._clock() - asked_at >= armed_s - min(0.05, armed_s / 2)

    def _decode(self, packet: Packet[Any], stream: VideoStream) -> list[VideoFrame]:
        """The good pictures of one packet; damage is counted, never raised."""
        try:
            frames: list[VideoFrame] = (self._decoding.instead or stream).decode(packet)
        except FFmpegError:
            self.decode_errors += 1
            self._decoding.failed()
            return []
        if frames:
            self._decoding.worked()
        good = [frame for frame in frames if not frame.is_corrupt]
        self.decode_errors += len(frames) - len(good)
        return good

    def _check_size(self, sized: VideoFrame | VideoCodecContext) -> None:
        if sized.width * sized.height > self._max_pixels:
            raise reasons.too_large(self._name, sized.width, sized.height, self._max_pixels)

    def _frame(self, frame: VideoFrame, index: int, came_at: float, left_out: int) -> Frame:
        pts = None if frame.pts is None else float(frame.time)
        picture = AvPicture(frame, self._converter)
        wall_at = self._wall_clock() - (self._clock() - came_at)
        return Frame(self.camera, 0, index, came_at, wall_at, pts, picture, left_out)

    def _lost(self, reason: LossReason, words: str) -> SourceLost:
        return SourceLost(reason, f"{self._name} {words}")
