"""Frames in memory that a decoder process and the program share.

A :class:`Ring` is an anonymous file (``memfd_create``) that both have mapped: a page of numbers
and a few slots, each with room for one picture as the decoder made it. It has no name, so nothing
is left behind whoever dies, and the kernel frees it with the last mapping. Nobody holds a lock:

* The child alone fills slots. It marks a slot as taken, writes it and tells the program by a
  message (:class:`Stored`) over a socket; the socket orders the two.
* The program alone frees slots, by writing one byte. That may happen in any thread and in the
  middle of a garbage collection, so it must not wait for anything.

What the child says is checked before it is used: it decodes what strangers send.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import weakref
from dataclasses import dataclass
from typing import Final

import numpy as np

from streamer.capture.liveness import SAMPLED_ROWS
from streamer.capture.planes import (
    FORMATS,
    LOCATIONS,
    LUMINOUS,
    MOST_BYTES,
    PIXELS,
    RANGES,
    Bytes,
    Developer,
    Layout,
    write_picture,
)
from streamer.errors import SourceLost
from streamer.types import Frame, Image, Picture

MAX_SLOTS: Final = 64
_PAGE: Final = 4096
_SLACK: Final = 64  # read by swscale's widest instructions, and never used
_FORMS: Final = tuple(FORMATS)
_MESSAGE: Final = struct.Struct("<BBIIBBBIIIQddd?I")


@dataclass(frozen=True, slots=True)
class Stored:
    """Which slot holds a frame, how its picture lies there, and the frame's numbers."""

    slot: int
    layout: Layout
    epoch: int
    index: int
    captured_at: float
    wall_at: float
    pts: float | None
    left_out: int = 0


def pack(stored: Stored) -> bytes:
    """``stored`` as a message of fixed length."""
    form, *rest = stored.layout
    return _MESSAGE.pack(
        stored.slot, _FORMS.index(form), *rest, stored.epoch, stored.index, stored.captured_at,
        stored.wall_at, stored.pts or 0.0, stored.pts is not None, stored.left_out,
    )  # fmt: skip


def unpack(message: bytes) -> Stored:
    """The message of :func:`pack`. Raises ``ValueError`` on bytes that are none."""
    try:
        slot, form, width, height, turned, fields, *rest = _MESSAGE.unpack(message)
        *colours, epoch, index, captured_at, wall_at, pts, timed, left_out = rest
        layout = Layout(_FORMS[form], width, height, turned, bool(fields), *colours)
    except (struct.error, IndexError):
        raise ValueError("these bytes describe no picture") from None
    turns = 1 if layout.form == PIXELS else 4  # those are upright already
    if layout.turns >= turns or layout.location >= LOCATIONS or layout.color_range >= RANGES:
        raise ValueError("a picture cannot be turned, sampled or coloured like that")
    pts = pts if timed else None
    return Stored(slot, layout, epoch, index, captured_at, wall_at, pts, left_out)


class Ring:
    """The shared memory: ``slots`` places for pictures of at most ``max_pixels`` pixels.

    Four numbers are the child's to set and anybody's to read, each in a machine word of its own
    so that no reading is torn.
    """

    def __init__(self, fd: int, *, slots: int, max_pixels: int) -> None:
        """Map the memory of ``fd``, which may be closed afterwards; see :meth:`create`."""
        self._max_pixels = max_pixels
        memory = mmap.mmap(fd, _PAGE + slots * _slot_bytes(max_pixels))
        self._numbers = np.frombuffer(memory, np.uint64, 4)
        self._taken = np.frombuffer(memory, np.uint8, slots, offset=64)
        self._slots = np.frombuffer(memory, np.uint8, offset=_PAGE).reshape(slots, -1)

    @staticmethod
    def create(*, slots: int, max_pixels: int) -> int:
        """The file descriptor of a new ring, closed in children unless it is passed on.

        Memory is taken page by page as pictures are written: large slots cost nothing until a
        large picture comes. The size is sealed, so that a child cannot take memory away under
        the program (which would be SIGBUS). Raises ``ValueError`` when a number is out of range.
        """
        if not 2 <= slots <= MAX_SLOTS:
            raise ValueError(f"a ring has from 2 to {MAX_SLOTS} slots, not {slots}")
        if max_pixels < 1:
            raise ValueError(f"max_pixels must be above 0, not {max_pixels}")
        fd = os.memfd_create("streamer-ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, _PAGE + slots * _slot_bytes(max_pixels))
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        except BaseException:
            os.close(fd)
            raise
        return fd

    @property
    def beat(self) -> int:
        """How many signs of life the child gave."""
        return int(self._numbers[0])

    @beat.setter
    def beat(self, value: int) -> None:
        self._numbers[0] = value

    @property
    def dropped(self) -> int:
        """Frames that the child had no slot for."""
        return int(self._numbers[1])

    @dropped.setter
    def dropped(self, value: int) -> None:
        self._numbers[1] = value

    @property
    def decode_errors(self) -> int:
        """Packets that gave no picture, as the source in the child counts them."""
        return int(self._numbers[2])

    @decode_errors.setter
    def decode_errors(self, value: int) -> None:
        self._numbers[2] = value

    @property
    def left_out(self) -> int:
        """Pictures left out in the child at the end of its life, which no frame tells of."""
        return int(self._numbers[3])

    @left_out.setter
    def left_out(self, value: int) -> None:
        self._numbers[3] = value

    def free_slot(self) -> int | None:
        """The first slot that holds nothing, for the child; None when all are taken.

        Always the first: slots that are not needed are never touched and cost no memory.
        """
        return next((n for n, taken in enumerate(self._taken.tolist()) if not taken), None)

    def is_short(self) -> bool:
        """Whether less than two slots are free."""
        return int(np.count_nonzero(self._taken)) > len(self._taken) - 2

    def free(self, slot: int) -> None:
        """Let the child use ``slot`` again. Waits for nothing; safe in a finaliser."""
        self._taken[slot] = 0

    def store(self, slot: int, frame: Frame, location: int = 0) -> Stored:
        """Put ``frame`` into ``slot``, for the child; the slot is taken then.

        ``location`` is what :class:`streamer.capture.planes.Locator` says of its picture. Raises
        SourceLost ``too_large`` when the picture has more pixels than the ring is for.
        """
        picture = frame.picture
        if picture.width * picture.height > self._max_pixels:
            raise SourceLost(
                "too_large",
                f"{frame.camera} sends {picture.width}x{picture.height} pictures and "
                f"{self._max_pixels} pixels are allowed; choose a smaller stream",
            )
        layout = write_picture(picture, self._slots[slot], location)
        self._taken[slot] = 1
        return Stored(
            slot, layout, frame.epoch, frame.index, frame.captured_at, frame.wall_at, frame.pts,
            frame.left_out,
        )  # fmt: skip

    def take(self, stored: Stored, camera: str, developer: Developer) -> tuple[Frame, RingPicture]:
        """The frame that ``stored`` speaks of, and its picture, which gives the slot back.

        Raises ``ValueError`` when it speaks of what cannot be.
        """
        layout = stored.layout
        if stored.slot >= len(self._slots):
            raise ValueError(f"there is no slot {stored.slot}")
        if not 0 < layout.width * layout.height <= self._max_pixels:
            raise ValueError(f"a picture cannot be {layout.width}x{layout.height} here")
        picture = RingPicture(self, stored.slot, layout, developer)
        frame = Frame(
            camera, stored.epoch, stored.index, stored.captured_at, stored.wall_at, stored.pts,
            picture, stored.left_out,
        )  # fmt: skip
        return frame, picture

    def rows_of(self, slot: int, layout: Layout, step: int = SAMPLED_ROWS) -> Bytes:
        """:func:`sampled` of the picture in ``slot``."""
        return sampled(self._slots[slot], layout, step)

    def copy_of(self, slot: int, layout: Layout) -> Bytes:
        """The bytes of a picture and 64 of any value, shape (n + 64,) uint8."""
        size = layout.size()
        data = np.empty(size + _SLACK, np.uint8)
        data[:size] = self._slots[slot, :size]
        return data


def sampled(data: Bytes, layout: Layout, step: int = SAMPLED_ROWS) -> Bytes:
    """What :meth:`streamer.capture.liveness.Sampled.sample` gives, of a picture's bytes."""
    count, row = layout.planes()[0]
    shown = row if layout.form == PIXELS else layout.width
    return data[: count * row].reshape(count, row)[::step, :shown].copy()


def _slot_bytes(max_pixels: int) -> int:
    return -(-MOST_BYTES * max_pixels // _PAGE) * _PAGE


class RingPicture:
    """A :class:`streamer.types.Picture` that lies in a slot until somebody asks for its colours.

    Then it is copied out, once, and the slot is free again, so that pictures that are kept cost
    memory of their own and never stop the camera. A picture that nobody asks frees its slot when
    it is let go. It stays readable when the child is gone.
    """

    __slots__ = (
        "__weakref__", "_data", "_developer", "_free", "_layout", "_picture", "_ring", "_slot",
        "height", "width",
    )  # fmt: skip

    width: int
    height: int

    def __init__(self, ring: Ring, slot: int, layout: Layout, developer: Developer) -> None:
        """Hold ``slot``; nothing is copied yet."""
        self._ring: Ring | None = ring
        self._slot = slot
        self._layout = layout
        self._developer = developer
        self._data: Bytes | None = None
        self._picture: Picture | None = None
        size = (layout.width, layout.height)
        self.width, self.height = size[::-1] if layout.turns % 2 else size
        # It knows the ring and a number, not the picture: no cycle. It acts once at most.
        self._free = weakref.finalize(self, ring.free, slot)
        self._free.atexit = False

    def keep(self) -> None:
        """Copy it out of its slot and free that, once. Safe from any thread."""
        with self._developer.converter.lock:
            self._keep()

    def _keep(self) -> None:
        if self._ring is not None:
            self._data = self._ring.copy_of(self._slot, self._layout)
            self._ring = None
            self._free()

    @property
    def turns(self) -> int:
        """Quarter turns to the left that show the decoded rows upright, 0 to 3."""
        return self._layout.turns

    def luma(self, step: int) -> Bytes | None:
        """A copy of every ``step``-th row of brightness, (rows, columns) uint8, not turned.

        Green stands for it where the pictures are BGR. None where the first plane is not
        brightness of 8 bits. Safe from any thread.
        """
        if self._layout.form not in LUMINOUS and self._layout.form != PIXELS:
            return None
        rows = self._rows(step)
        return rows[:, 1::3] if self._layout.form == PIXELS else rows

    def sample(self) -> Bytes:
        """A copy of every eighth row of the first plane, uint8, as it was decoded."""
        return self._rows(SAMPLED_ROWS)

    def _rows(self, step: int) -> Bytes:
        with self._developer.converter.lock:
            if self._ring is not None:
                return self._ring.rows_of(self._slot, self._layout, step)
            assert self._data is not None  # noqa: S101 - for the type checker
            return sampled(self._data, self._layout, step)

    def bgr(self, width: int | None = None, height: int | None = None) -> Image:
        """The picture as uint8 BGR (height, width, 3): the bytes the source's own would have.

        ``None`` means the picture's own width or height. Safe from any thread. Raises
        ``ValueError`` when a size is below 1.
        """
        picture = self._picture
        if picture is None:
            with self._developer.converter.lock:
                picture = self._picture
                if picture is None:
                    self._keep()
                    assert self._data is not None  # noqa: S101 - for the type checker
                    picture = self._picture = self._developer.picture(self._layout, self._data)
        return picture.bgr(width, height)
