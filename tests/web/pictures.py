"""Pictures to send, and a detector that finds one face at once."""

from __future__ import annotations

import struct
import threading
import zlib
from concurrent.futures import Future

import cv2
import numpy as np

from streamer.types import Faces, Failure, Frame, Outcome, Picture, Result, Stamps, Tracks
from streamer.web.detect import Detecting


def jpeg(width: int = 320, height: int = 240, suffix: str = ".jpg") -> bytes:
    return bytes(cv2.imencode(suffix, np.full((height, width, 3), 90, np.uint8))[1])


def png_head(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and is a few dozen bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def form(data: bytes, name: str = "image") -> tuple[bytes, str]:
    """A multipart body and its Content-Type."""
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="f.jpg"\r\n\r\n'
    return head.encode() + data + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"


class Looking:
    """What the workers do: one face in each picture, at once or when it is let go."""

    def __init__(self) -> None:
        self.pictures: list[Picture] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.waiting: list[tuple[Future[Outcome], Outcome]] = []
        self.fails = False

    def look(self, picture: Picture) -> Future[Outcome]:
        self.pictures.append(picture)
        stamps = Stamps(10.0, 10.25, 10.5)
        frame = Frame("asked/", 0, 0, 10.0, 0.0, None, picture)
        boxes = np.array([[-3.0, 20.123456, 40.0, 9999.0]], np.float32)
        points = np.arange(10, dtype=np.float32).reshape(1, 5, 2)
        faces = Faces(boxes, np.array([0.987654], np.float32), points)
        outcome: Outcome = (
            Failure(frame, stamps, "no")
            if self.fails
            else Result(frame, Tracks(np.array([1], np.int64), faces), stamps)
        )
        future: Future[Outcome] = Future()
        if self.go_on.is_set():
            future.set_result(outcome)
        else:
            self.waiting.append((future, outcome))
        return future

    def answer_all(self) -> None:
        self.go_on.set()
        for future, outcome in self.waiting:
            future.set_result(outcome)
        self.waiting.clear()

    def detecting(self, waiting: int = 4) -> Detecting:
        return Detecting(self.look, model="net", longest=160, waiting=waiting)
