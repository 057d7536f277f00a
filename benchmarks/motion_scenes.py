"""Still scenes for ``benchmarks/motion.py``: what a camera on a wall sees, as it sends it.

720p, 15 frames a second, H.264 by x264 with a key picture every two seconds. The scene is the
demo clip's evening with walls of brick and gravel (texture is what key pictures pulse on), the
faces are those of the demo clip. Noise is a sensor's: new in every picture, before encoding.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import Final, Literal

import av
import cv2
import numpy as np

from scripts import make_demo_clip as maker

FPS: Final = 15
KEY_EVERY: Final = 30  # pictures
GAP_S: Final = 3.0  # from one face's end to the next one's beginning, and before the first
STAY_S: Final = 2.0  # how long a face that has come stands still

Way = Literal["walk", "walk_slowly", "fade", "fade_slowly", "appear"]


@dataclass(frozen=True, slots=True)
class Visit:
    """One face: how it comes, how high it is (pixels), and where it stands then (x, y)."""

    way: Way
    height: float
    x: float
    y: float
    person: int = 4

    @property
    def comes_s(self) -> float:
        """Seconds from the first pixel of it until it stands."""
        return {"walk": 2.0, "walk_slowly": 5.0, "fade": 1.0, "fade_slowly": 3.0, "appear": 0.0}[
            self.way
        ]


@dataclass(frozen=True, slots=True)
class Scene:
    """``noise`` is the sensor's standard deviation; ``light`` (seconds) -> gain of brightness.

    With ``lamp`` the light falls from a corner, so that it changes three times as much there.
    ``bitrate`` is bits a second, None for constant quality (``crf``). ``sway`` is the side of a
    bush that sways, pixels; its visits come one after the other.
    """

    name: str
    seconds: float
    noise: float = 0.0
    light: Callable[[float], float] = lambda _: 1.0
    lamp: bool = False
    bitrate: int | None = None
    crf: int = 26
    sway: int = 0
    visits: tuple[Visit, ...] = ()


def in_order(visits: tuple[Visit, ...]) -> list[float]:
    """When each visit begins, seconds, and at the end when all is over."""
    at, starts = GAP_S, []
    for visit in visits:
        starts.append(at)
        at += visit.comes_s + STAY_S + 0.5 + GAP_S
    return [*starts, at]


@cache
def _room() -> maker.Floats:
    """The scene without anybody, BGR float32 (720, 1280, 3)."""
    room = maker.backdrop().copy()
    for name, (x, y, width, height), scale in (
        ("brick.png", (40, 380, 420, 300), 0.55),
        ("gravel.png", (0, 640, 1280, 80), 0.5),
        ("grass.png", (820, 60, 380, 240), 0.6),
    ):
        still = cv2.imread(str(files("skimage.data") / name))
        if still is None:
            raise FileNotFoundError(f"{name} is not in scikit-image; install scikit-image 0.26")
        tiled = np.tile(still, (1, 3, 1))[:height, :width].astype(np.float32)
        room[y : y + height, x : x + width] = 20 + tiled * scale
    return room


@cache
def _noise() -> maker.Floats:
    """Three pictures of white noise of standard deviation 1, taller than a frame."""
    return np.random.default_rng(5).standard_normal((3, 900, 1400), np.float32)


@cache
def _lamp() -> maker.Floats:
    """How much of a lamp's light falls where, 0.5 to 1.5 (720, 1280)."""
    y, x = np.mgrid[: maker.HEIGHT, : maker.WIDTH].astype(np.float32)
    away = np.hypot(x - 1000, y - 100) / np.float32(1160)
    return np.asarray(np.float32(1.5) - np.minimum(away, 1), np.float32)


def _with(visit: Visit, since_s: float) -> maker.Floats | None:
    """The room with ``visit`` in it, ``since_s`` after it began; None when it has gone."""
    person = maker.PEOPLE[visit.person]
    over_s = since_s - visit.comes_s - STAY_S
    if since_s < 0 or over_s >= 0.5:
        return None
    there = min(1.0, since_s / visit.comes_s) if visit.comes_s else 1.0
    walks = visit.way.startswith("walk")
    x1, y1, x2, y2 = person.still.box
    scale = visit.height / (y2 - y1)
    sx = -scale if person.mirrored else scale
    beside = -visit.height * 1.3
    x = beside + (visit.x - beside) * there if walks else visit.x
    placed = maker.Placed(
        person, sx, scale, x - sx * (x1 + x2) / 2, visit.y - scale * (y1 + y2) / 2
    )
    canvas = _room().copy()
    maker.draw(canvas, placed)
    shown = (1.0 if walks else there) * (1 - max(0.0, over_s) / 0.5)
    return canvas if shown >= 1 else _room() + (canvas - _room()) * np.float32(shown)


def pictures(scene: Scene) -> Iterator[maker.Image]:
    """The planes of every picture of ``scene``, as ``make_demo_clip.planes`` gives them."""
    random = np.random.default_rng(11)
    empty = maker.planes(np.clip(np.rint(_room()), 0, 255).astype(np.uint8))
    starts = in_order(scene.visits)
    for index in range(round(scene.seconds * FPS)):
        at = index / FPS
        planes = empty
        for start, visit in zip(starts, scene.visits, strict=False):
            room = _with(visit, at - start)
            if room is not None:
                planes = maker.planes(np.clip(np.rint(room), 0, 255).astype(np.uint8))
        luma = planes[: maker.HEIGHT].astype(np.float32)
        if scene.sway:
            side, shift = scene.sway, round(6 * np.sin(at * 2.6) + 3 * np.sin(at * 7.1))
            luma[100 : 100 + side, 500 : 500 + side] = luma[
                100 : 100 + side, 900 + shift : 900 + shift + side
            ]
        gain = scene.light(at)
        if gain != 1.0:
            share = _lamp() if scene.lamp else np.float32(1)
            luma = 16 + (luma - 16) * (1 + share * np.float32(gain - 1))
        if scene.noise:
            which, y, x = random.integers(0, (3, 180, 120))
            field = _noise()[which, y : y + maker.HEIGHT, x : x + maker.WIDTH]
            luma += field * np.float32(scene.noise)
        yield np.concatenate(
            [np.clip(np.rint(luma), 16, 235).astype(np.uint8), planes[maker.HEIGHT :]]
        )


def encode(scene: Scene) -> bytes:
    """``scene`` as a camera sends it: H.264 without B-frames, in Matroska."""
    out = io.BytesIO()
    with av.open(out, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = maker.WIDTH, maker.HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        stream.thread_count = 1
        rate = {"crf": str(scene.crf)}
        if scene.bitrate is not None:
            stream.bit_rate = scene.bitrate
            rate = {"maxrate": str(scene.bitrate), "bufsize": str(scene.bitrate)}
        stream.options = {
            "preset": "superfast",
            "tune": "zerolatency",
            "x264-params": f"keyint={KEY_EVERY}:scenecut=0:sliced-threads=0:slices=1",
            **rate,
        }
        for index, planes in enumerate(pictures(scene)):
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def _ramp(begin: float, end: float, to: float) -> Callable[[float], float]:
    return lambda at: 1 + (to - 1) * min(1.0, max(0.0, (at - begin) / (end - begin)))


def _switch(at: float) -> float:
    return 1.0 if at < 6 or 13 <= at < 20 else 1.6


# Far faces stand where the detector finds them: the gate is measured here, not the detector.
_FAR: Final = (
    Visit("walk", 60, 260, 330), Visit("walk", 72, 380, 180), Visit("walk", 60, 240, 560),
)  # fmt: skip
_NEAR: Final = (Visit("walk", 250, 500, 360), Visit("walk", 180, 620, 330, 1))
_SLOW: Final = (Visit("walk_slowly", 60, 200, 330), Visit("walk_slowly", 90, 260, 520, 0))
_FADE: Final = (
    Visit("fade", 60, 260, 330), Visit("fade", 72, 380, 180), Visit("fade", 150, 900, 500, 2),
)  # fmt: skip
_FADE_SLOWLY: Final = (
    Visit("fade_slowly", 60, 240, 560), Visit("fade_slowly", 120, 300, 500, 1),
)  # fmt: skip
_APPEAR: Final = (
    Visit("appear", 60, 260, 330), Visit("appear", 72, 380, 180), Visit("appear", 200, 800, 360, 2),
)  # fmt: skip

STILL: Final = (
    Scene("still", 20),
    Scene("noise 3", 20, noise=3),
    Scene("noise 8", 20, noise=8),
    Scene("noise 16", 20, noise=16),
    Scene("noise 8, 300 kbit/s", 20, noise=8, bitrate=300_000),
    Scene("noise 3, 150 kbit/s", 20, noise=3, bitrate=150_000),
    Scene("light: slow, to 60 %", 20, noise=3, light=_ramp(3, 18, 0.6)),
    Scene("light: a cloud, 1.5 s", 20, noise=3, light=_ramp(5, 6.5, 0.7)),
    Scene("light: switched 3 times", 24, noise=3, light=_switch),
    Scene("light: switched, noise 8", 24, noise=8, light=_switch),
    Scene("light: a lamp, switched 3 times", 24, noise=3, light=_switch, lamp=True),
    Scene("light: a lamp, dimmed in 10 s", 20, noise=3, light=_ramp(5, 15, 1.6), lamp=True),
    Scene("light: 10 % flicker", 20, noise=3, light=lambda at: 1 + 0.05 * np.sin(at * 17)),
    Scene("bush of 28 pixels sways", 20, noise=3, sway=28),
    Scene("bush of 120 pixels sways", 60, noise=3, sway=120),
)
COMING: Final = tuple(
    Scene(f"{name}, noise {noise:g}", in_order(visits)[-1], noise=noise, visits=visits)
    for name, visits in (
        ("walks in, 60 px", _FAR), ("walks in, 180-250 px", _NEAR), ("walks in slowly", _SLOW),
        ("fades in, 1 s", _FADE), ("fades in, 3 s", _FADE_SLOWLY), ("is there at once", _APPEAR),
    )
    for noise in (3.0, 8.0)
)  # fmt: skip
