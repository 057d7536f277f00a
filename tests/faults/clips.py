"""Encoded pictures for the scripted cameras, made once and kept in memory."""

from __future__ import annotations

import base64
import re
import struct
from dataclasses import dataclass
from functools import cache
from typing import Literal

import av
import numpy as np

from streamer.resources import resource

Codec = Literal["H264", "H265"]
CLOCK = 90_000
"""Ticks a second of RTP's clock for video (RFC 6184, section 8.2.1)."""
_LONGEST = 1300  # bytes of one RTP payload
_SETS: dict[Codec, tuple[int, ...]] = {"H264": (7, 8), "H265": (32, 33, 34)}
_SLICES: dict[Codec, tuple[int, ...]] = {"H264": (1, 5), "H265": tuple(range(22))}
_OPTIONS = {
    "libx264": {"tune": "zerolatency", "preset": "ultrafast",
                "x264-params": "slices=1:sliced-threads=0:bframes=0:keyint=10:min-keyint=10:"
                               "scenecut=0:threads=1:repeat-headers=1"},
    "libx265": {"tune": "zerolatency", "preset": "ultrafast",
                "x265-params": "bframes=0:keyint=10:min-keyint=10:scenecut=0:pools=1:"
                               "frame-threads=1:repeat-headers=1:log-level=none"},
}  # fmt: skip


@dataclass(frozen=True)
class Clip:
    """Access units (each a tuple of NAL units without start codes), the first a key picture."""

    codec: Codec
    width: int
    height: int
    fps: float
    units: tuple[tuple[bytes, ...], ...]

    def kind(self, nal: bytes) -> int:
        """The type of a NAL unit, by the codec's own numbering."""
        return nal[0] & 31 if self.codec == "H264" else nal[0] >> 1 & 63

    def sets(self) -> list[bytes]:
        """The parameter sets that a decoder needs first."""
        return [nal for nal in self.units[0] if self.kind(nal) in _SETS[self.codec]]

    def payloads(self, count: int, *, sets: bool = True) -> list[bytes]:
        """RTP payloads of the ``count``-th picture (it goes round); ``sets`` False leaves them out.

        Long units are fragmented: FU-A (RFC 6184, 5.8) or FU (RFC 7798, 4.4.3).
        """
        wanted = _SLICES[self.codec] + (_SETS[self.codec] if sets else ())
        nals = [n for n in self.units[count % len(self.units)] if self.kind(n) in wanted]
        return [part for nal in nals for part in self._fragments(nal)]

    def _fragments(self, nal: bytes) -> list[bytes]:
        if len(nal) <= _LONGEST:
            return [nal]
        head = 1 if self.codec == "H264" else 2
        body = nal[head:]
        parts = [body[at : at + _LONGEST] for at in range(0, len(body), _LONGEST)]
        out = []
        for n, part in enumerate(parts):
            ends = (0x80 if n == 0 else 0) | (0x40 if n == len(parts) - 1 else 0)
            if self.codec == "H264":
                prefix = bytes([nal[0] & 0xE0 | 28, ends | nal[0] & 31])
            else:
                prefix = bytes([nal[0] & 0x81 | 49 << 1, nal[1], ends | self.kind(nal)])
            out.append(prefix + part)
        return out

    def sdp(self, *, sets: bool = True) -> str:
        """The media lines of this clip; ``sets`` False keeps the parameter sets out of them."""
        text = f"m=video 0 RTP/AVP 96\r\na=rtpmap:96 {self.codec}/{CLOCK}\r\na=control:track1\r\n"
        if not sets:
            return text
        encoded = [base64.b64encode(nal).decode() for nal in self.sets()]
        if self.codec == "H264":
            return (
                f"{text}a=fmtp:96 packetization-mode=1;sprop-parameter-sets={','.join(encoded)}\r\n"
            )
        names = ("sprop-vps", "sprop-sps", "sprop-pps")
        pairs = ";".join(f"{name}={value}" for name, value in zip(names, encoded, strict=True))
        return f"{text}a=fmtp:96 {pairs}\r\n"


def rtp(payloads: list[bytes], sequence: int, timestamp: int) -> list[bytes]:
    """RTP packets of one picture on interleaved channel 0; the last one bears the marker."""
    out = []
    for n, payload in enumerate(payloads):
        marker = 0x80 if n == len(payloads) - 1 else 0
        header = struct.pack(
            ">BBHII", 0x80, marker | 96, (sequence + n) & 0xFFFF, timestamp & 0xFFFFFFFF, 7
        )
        out.append(struct.pack(">cBH", b"$", 0, len(header) + len(payload)) + header + payload)
    return out


def sender_report() -> bytes:
    """An RTCP sender report on channel 1: alive, and says nothing (RFC 3550, 6.4.1)."""
    report = struct.pack(">BBHIIIIII", 0x80, 200, 6, 7, 0, 0, 0, 0, 0)
    return struct.pack(">cBH", b"$", 1, len(report)) + report


def encode(
    pictures: list[np.ndarray], *, fps: float = 10.0, codec: Codec = "H264"
) -> Clip:  # fmt: skip
    """A clip of ``pictures`` (uint8 BGR, all of one even size), every tenth a key picture."""
    name = {"H264": "libx264", "H265": "libx265"}[codec]
    height, width = pictures[0].shape[:2]
    encoder = av.CodecContext.create(name, "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate = 25
    encoder.options = _OPTIONS[name]
    packets: list[bytes] = []
    for index, image in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(image, "bgr24")
        frame.pts = index
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    packets += [bytes(packet) for packet in encoder.encode(None)]
    units = tuple(tuple(_nal_units(packet)) for packet in packets)
    return Clip(codec, width, height, fps, units)


def _nal_units(packet: bytes) -> list[bytes]:
    parts = re.split(b"\x00\x00\x01", packet)
    return [part.rstrip(b"\x00") for part in parts if part.strip(b"\x00")]


def _ramp(index: int, width: int, height: int) -> np.ndarray:
    columns = (np.arange(width, dtype=np.int64) * 2 + index * 9) % 256
    image = np.broadcast_to(columns[None, :, None].astype(np.uint8), (height, width, 3)).copy()
    image[height // 4 : height // 2] = 255 - image[height // 4 : height // 2]
    return image


@cache
def moving(width: int = 320, height: int = 192, fps: float = 10.0, codec: Codec = "H264") -> Clip:
    """Twenty pictures of a moving ramp: what most cameras send. No two are alike."""
    return encode([_ramp(n, width, height) for n in range(20)], fps=fps, codec=codec)


@cache
def frozen() -> Clip:
    """One picture again and again: a camera whose sensor hangs while its network lives."""
    return encode([_ramp(0, 320, 192)] * 10)


@cache
def giant() -> Clip:
    """One grey picture of 8192x8192 pixels: 200 MB once decoded."""
    return encode([np.full((8192, 8192, 3), 90, np.uint8)], fps=5.0)


@cache
def people(width: int, height: int) -> Clip:
    """The first second and a half of the demo clip at another size: it has faces."""
    pictures = []
    with av.open(str(resource("demo.mp4"))) as container:
        for frame in container.decode(video=0):
            pictures.append(frame.reformat(width, height, "bgr24").to_ndarray())
            if len(pictures) == 40:
                break
    return encode(pictures[20:], fps=10.0)
