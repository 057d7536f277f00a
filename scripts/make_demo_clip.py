"""Build the demo clip and its exact ground truth from public-domain stills.

Usage: python scripts/make_demo_clip.py [--output FOLDER] [--small-faces]

Five portraits drift over a painted evening: they grow and shrink, one comes in, passes in front
of another, passes behind a third and leaves. Every path is periodic, so the clip loops without a
seam. The truth of a frame is computed from motion, not detected in the frame: the face box of each
*still* is a constant below (found once in the still by the default model, so the clip proves the
pipeline and not the model), and each frame shows that still under a known scale and shift.

Needs scikit-image (it ships the two stills) besides what streamer itself needs. The same versions
of OpenCV and x264 give the same bytes; others give the same boxes and pictures a hair apart.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

Floats: TypeAlias = NDArray[np.float32]
Image: TypeAlias = NDArray[np.uint8]
Truth: TypeAlias = dict[str, Any]

ROOT: Final = Path(__file__).resolve().parent.parent
WIDTH: Final = 1280
HEIGHT: Final = 720
FPS: Final = 25
FRAMES: Final = 250
CRF: Final = 24
LISTED_FROM: Final = 0.6
RULE: Final = {
    "listed_when_visible_at_least": LISTED_FROM,
    "why": "visible is the share of the whole face box that lies inside the picture and is not "
    "behind a nearer portrait. Below 0.6 a person would argue whether a face can be seen, so such "
    "faces are left out; motion is chosen so that this lasts a few frames only. Every listed face "
    "counts as truth. bbox is clipped to the picture and not to the portrait in front; keypoints "
    "are not clipped; left and right are as seen in the picture.",
}
POINTS: Final = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
DETAIL: Final = 2  # stills are enlarged this much before cutting, so that edges stay crisp


@dataclass(frozen=True, slots=True)
class Still:
    """One source picture: where its face is, and the ellipse that is cut out (still pixels).

    ``box`` and ``points`` are medians of RetinaFace on the still, plain and mirrored, at input
    sizes 320, 512, 640 and 960; found once, constants ever since.
    """

    box: tuple[float, float, float, float]
    points: tuple[tuple[float, float], ...]
    centre: tuple[float, float]
    radii: tuple[float, float]
    credit: dict[str, str]


ASTRONAUT: Final = Still(
    box=(178.3, 57.4, 272.5, 177.7),
    points=((203.8, 101.3), (246.3, 103.4), (223.4, 129.2), (201.4, 138.6), (244.5, 140.7)),
    centre=(226.0, 122.0),
    radii=(96.0, 117.0),
    credit={
        "file": "astronaut.png",
        "title": "Eileen Collins",
        "author": "NASA",
        "licence": "public domain",
    },
)
CAMERA: Final = Still(
    box=(195.9, 113.6, 257.9, 198.6),
    points=((238.0, 147.7), (250.8, 147.7), (253.4, 167.8), (229.9, 178.2), (239.4, 178.4)),
    centre=(226.0, 160.0),
    radii=(94.0, 106.0),
    credit={
        "file": "camera.png",
        "title": "Man with a camera",
        "author": "Lav Varshney",
        "licence": "CC0",
    },
)

Look: TypeAlias = Literal["natural", "dusk", "grey", "sepia"]
_GREY = np.array([[0.114, 0.587, 0.299]] * 3, np.float32)  # BT.601 luma, BGR order
LOOKS: Final[dict[Look, Floats]] = {
    "natural": np.eye(3, dtype=np.float32),
    "grey": _GREY,
    "dusk": (0.85 * (0.85 * np.eye(3) + 0.15 * _GREY)).astype(np.float32),
    "sepia": (_GREY * [[0.74], [0.95], [1.1]]).astype(np.float32),
}


@dataclass(frozen=True, slots=True)
class Person:
    """A still in one look, and its way: (frame, face centre x, y, face height), pixels.

    ``shrink`` is the face's scale in the small-face variant. Who leaves on the left and comes
    back on the right moves on by ``lap`` pixels to the left in each round of the clip.
    """

    name: str
    still: Still
    look: Look
    mirrored: bool
    ring: tuple[int, int, int]  # BGR
    shrink: float
    way: tuple[tuple[float, float, float, float], ...]
    lap: float = 0.0


# Farthest first: a later person is drawn over an earlier one.
PEOPLE: Final = (
    Person("astronaut-2", ASTRONAUT, "dusk", True, (235, 214, 178), 0.5,
           ((0, 640, 560, 112), (50, 700, 575, 90), (95, 800, 560, 86), (140, 900, 585, 100),
            (180, 840, 570, 122), (220, 700, 550, 118))),
    Person("camera-1", CAMERA, "grey", False, (240, 240, 240), 0.7,
           ((0, 720, 205, 122), (65, 690, 190, 128), (130, 770, 190, 140), (190, 745, 210, 134))),
    Person("camera-2", CAMERA, "sepia", True, (170, 215, 245), 0.7,
           ((0, 1065, 350, 152), (45, 1085, 270, 124), (110, 1075, 260, 126),
            (180, 1090, 370, 158), (220, 1070, 400, 164))),
    Person("astronaut-3", ASTRONAUT, "grey", False, (225, 225, 225), 0.6,
           ((0, 1510, 560, 150), (20, 1420, 560, 150), (58, 1060, 575, 148), (90, 760, 565, 140),
            (125, 560, 470, 118), (150, 130, 440, 112), (185, 90, 455, 112), (200, -140, 470, 120),
            (205, -190, 470, 120)), lap=1800),
    Person("astronaut-1", ASTRONAUT, "natural", False, (190, 205, 255), 0.3,
           ((0, 250, 330, 150), (60, 270, 350, 190), (125, 400, 345, 256), (160, 415, 335, 266),
            (205, 330, 330, 200))),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a person is in one frame: still x, y -> ``sx * x + tx``, ``sy * y + ty`` (pixels).

    ``sx`` is negative for a mirrored person. Coordinates are continuous: pixel i covers i..i+1.
    """

    person: Person
    sx: float
    sy: float
    tx: float
    ty: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The whole face, x1, y1, x2, y2; not clipped."""
        x1, y1, x2, y2 = self.person.still.box
        left, right = sorted((self.sx * x1 + self.tx, self.sx * x2 + self.tx))
        return left, self.sy * y1 + self.ty, right, self.sy * y2 + self.ty

    @property
    def points(self) -> dict[str, tuple[float, float]]:
        """The five points by name; a mirrored person's left and right are swapped."""
        order = (1, 0, 2, 4, 3) if self.sx < 0 else range(5)
        still = self.person.still.points
        moved = [(self.sx * still[i][0] + self.tx, self.sy * still[i][1] + self.ty) for i in order]
        return dict(zip(POINTS, moved, strict=True))

    def covers(self, x: Floats, y: Floats) -> NDArray[np.bool_]:
        """Which of the points x, y lie inside this person's ellipse.

        x and y broadcast against each other.
        """
        (cx, cy), (rx, ry) = self.person.still.centre, self.person.still.radii
        dx = (x - (self.sx * cx + self.tx)) / (self.sx * rx)
        dy = (y - (self.sy * cy + self.ty)) / (self.sy * ry)
        return np.asarray(dx * dx + dy * dy <= 1.0)


def along(person: Person, frame: float) -> Floats:
    """The face centre x, y and the face height of a person at a frame, shape (3,), pixels.

    A periodic cubic Hermite curve through the way's points, with slopes from both neighbours
    (Catmull-Rom): smooth everywhere, the seam of the loop included.
    """
    way, n, frame = person.way, len(person.way), frame % FRAMES
    lap = np.array([person.lap, 0.0, 0.0])
    at = [way[i % n][0] + FRAMES * (i // n) for i in range(-2, n + 3)]
    to = [np.array(way[i % n][1:]) - lap * (i // n) for i in range(-2, n + 3)]
    k = max(i for i, when in enumerate(at) if when <= frame)
    span = at[k + 1] - at[k]
    u = (frame - at[k]) / span
    start, end = ((to[i + 1] - to[i - 1]) / (at[i + 1] - at[i - 1]) * span for i in (k, k + 1))
    return np.asarray(
        (1 + 2 * u) * (1 - u) ** 2 * to[k]
        + u * (1 - u) ** 2 * start
        + u * u * (3 - 2 * u) * to[k + 1]
        + u * u * (u - 1) * end,
        np.float32,
    )


def place(person: Person, frame: int, small_faces: bool) -> Placed:
    """Where ``person`` is in ``frame``."""
    x, y, height = (float(v) for v in along(person, frame))
    if person.lap:
        x = (x + OUTSIDE) % person.lap - OUTSIDE
    x1, y1, x2, y2 = person.still.box
    scale = height * (person.shrink if small_faces else 1.0) / (y2 - y1)
    sx = -scale if person.mirrored else scale
    return Placed(person, sx, scale, x - sx * (x1 + x2) / 2, y - scale * (y1 + y2) / 2)


def visible(placed: Placed, nearer: list[Placed]) -> float:
    """Share of the face box inside the picture and behind nobody, 0..1, on a 64 x 64 grid."""
    x1, y1, x2, y2 = placed.box
    steps = (np.arange(64, dtype=np.float32) + 0.5) / 64
    x = (x1 + (x2 - x1) * steps[None, :]).astype(np.float32)
    y = (y1 + (y2 - y1) * steps[:, None]).astype(np.float32)
    seen: NDArray[np.bool_] = (x >= 0) & (x < WIDTH) & (y >= 0) & (y < HEIGHT)
    for other in nearer:
        seen &= ~other.covers(x, y)
    return float(seen.mean())


def truth(frame: int, small_faces: bool = False) -> list[Truth]:
    """The faces listed in ``frame``, as they stand in the JSON."""
    placed = [place(person, frame, small_faces) for person in PEOPLE]
    faces = []
    for i, one in enumerate(placed):
        share = visible(one, placed[i + 1 :])
        if share >= LISTED_FROM:
            x1, y1, x2, y2 = one.box
            box = (max(x1, 0.0), max(y1, 0.0), min(x2, WIDTH), min(y2, HEIGHT))
            faces.append(
                {
                    "person": one.person.name,
                    "bbox": [round(v, 2) for v in box],
                    "visible": round(share, 3),
                    "keypoints": {
                        name: [round(x, 2), round(y, 2)] for name, (x, y) in one.points.items()
                    },
                }
            )
    return faces


def falls(values: Floats, inside: float, outside: float) -> Floats:
    """1 up to ``inside``, 0 from ``outside`` on, smooth in between (smoothstep)."""
    u = np.clip((outside - values) / (outside - inside), 0.0, 1.0)
    return np.asarray(u * u * (3.0 - 2.0 * u), np.float32)


OUTSIDE: Final = 250.0  # a centre this far left of the picture shows nothing of its card
MARGIN: Final = 1.3  # the card reaches past the ellipse by this factor, to hold its shadow


@cache
def card(still_name: str, look: Look, ring: tuple[int, int, int]) -> list[Floats]:
    """The cut-out as premultiplied BGR and alpha, float32 (h, w, 4) in 0..255 and 0..1.

    The first is ``DETAIL`` times the still, each next one half of the one before, so that small
    faces are averaged down and not aliased.
    """
    still = next(p.still for p in PEOPLE if p.still.credit["file"] == still_name)
    bgr = cv2.imread(str(files("skimage.data") / still_name))
    if bgr is None:
        raise FileNotFoundError(f"{still_name} is not in scikit-image; install scikit-image 0.26")
    (cx, cy), (rx, ry) = still.centre, still.radii
    size = (round(2 * rx * MARGIN) * DETAIL, round(2 * ry * MARGIN) * DETAIL)
    size = (-(-size[0] // 64) * 64, -(-size[1] // 64) * 64)
    shift = np.array(
        [
            [DETAIL, 0, size[0] / 2 - DETAIL * cx + DETAIL / 2 - 0.5],
            [0, DETAIL, size[1] / 2 - DETAIL * cy + DETAIL / 2 - 0.5],
        ]
    )
    large = cv2.warpAffine(
        bgr.astype(np.float32), shift, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    large = np.clip(large @ LOOKS[look].T, 0, 255)
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float32)
    dx = (x + 0.5 - size[0] / 2) / (rx * DETAIL)
    dy = (y + 0.5 - size[1] / 2) / (ry * DETAIL)
    radius = np.sqrt(dx * dx + dy * dy)
    body = falls(radius, 0.975, 1.0)[:, :, None]
    rim = (0.85 * (1.0 - falls(radius, 0.94, 0.965)))[:, :, None]
    shadow = (0.4 * falls(np.sqrt(dx * dx + (dy - 0.06) ** 2), 0.9, 1.22))[:, :, None]
    colour = (large * (1 - rim) + np.array(ring, np.float32) * rim) * body
    levels = [np.concatenate([colour, body + shadow * (1 - body)], axis=2).astype(np.float32)]
    while len(levels) < 6:
        height, width = levels[-1].shape[:2]
        half = cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(half, np.float32))
    return levels


@cache
def backdrop() -> Floats:
    """The painted evening: a sky gradient and soft lights, BGR float32 (720, 1280, 3)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    stops = np.array([[46, 28, 18], [78, 50, 40], [98, 72, 78], [84, 88, 118]], np.float32)
    at = np.linspace(0, HEIGHT, len(stops))
    sky = np.stack([np.interp(y + 0.06 * x, at, stops[:, c]) for c in range(3)], axis=2)
    random = np.random.default_rng(7)
    for _ in range(34):
        cx, cy, radius = random.uniform((0, 60, 18), (WIDTH, HEIGHT, 84))
        colour = random.uniform((90, 150, 190), (210, 215, 250))
        light = falls(np.hypot(x - cx, y - cy) / radius, 0.8, 1.0) * random.uniform(0.07, 0.22)
        sky += (colour - sky) * light[:, :, None]
    # Half a grey level of noise keeps the gradient from showing steps.
    return np.asarray(sky + random.uniform(-0.5, 0.5, (HEIGHT, WIDTH, 1)), np.float32)


def draw(canvas: Floats, placed: Placed) -> None:
    """Lay one person's card over ``canvas`` in place."""
    still = placed.person.still
    levels = card(still.credit["file"], placed.person.look, placed.person.ring)
    wanted = placed.sy / DETAIL
    level = min(max(math.floor(-math.log2(wanted)), 0), len(levels) - 1)
    source = levels[level]
    height, width = source.shape[:2]
    zoom_x, zoom_y = (s / DETAIL * 2**level for s in (placed.sx, placed.sy))
    cx = placed.sx * still.centre[0] + placed.tx
    cy = placed.sy * still.centre[1] + placed.ty
    reach_x, reach_y = abs(zoom_x) * width / 2, zoom_y * height / 2
    left, right = max(math.floor(cx - reach_x), 0), min(math.ceil(cx + reach_x), WIDTH)
    top, bottom = max(math.floor(cy - reach_y), 0), min(math.ceil(cy + reach_y), HEIGHT)
    if left >= right or top >= bottom:
        return
    # OpenCV counts from pixel centres, we from pixel edges: hence the halves.
    shift = np.array(
        [
            [zoom_x, 0, cx - left - zoom_x * (width - 1) / 2 - 0.5],
            [0, zoom_y, cy - top - zoom_y * (height - 1) / 2 - 0.5],
        ]
    )
    layer = cv2.warpAffine(source, shift, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    area = canvas[top:bottom, left:right]
    area *= 1 - layer[:, :, 3:]
    area += layer[:, :, :3]


def picture(frame: int, small_faces: bool = False) -> Image:
    """Frame ``frame`` before encoding: uint8 BGR (720, 1280, 3)."""
    canvas = backdrop().copy()
    for person in PEOPLE:
        draw(canvas, place(person, frame, small_faces))
    return np.asarray(np.clip(np.rint(canvas), 0, 255), np.uint8)


def planes(pixels: Image) -> Image:
    """BGR (720, 1280, 3) as YUV 4:2:0 planes on top of each other, uint8 (1080, 1280).

    Y'CbCr of ITU-R BT.709 in limited range, colour averaged over 2 x 2 pixels. Done here and not
    by FFmpeg, whose fast conversion darkens by two grey levels.
    """
    bgr = pixels.astype(np.float32)
    blue, red = 0.0722, 0.2126
    luma = bgr @ np.array([blue, 1 - blue - red, red], np.float32)
    chroma = [
        ((bgr[:, :, channel] - luma) * (224 / 255) / (2 * (1 - weight)))
        .reshape(HEIGHT // 2, 2, WIDTH // 2, 2)
        .mean(axis=(1, 3))
        for channel, weight in ((0, blue), (2, red))
    ]
    parts = [16 + luma * (219 / 255), 128 + chroma[0], 128 + chroma[1]]
    stacked = np.concatenate([part.ravel() for part in parts]).reshape(HEIGHT * 3 // 2, WIDTH)
    return np.asarray(np.clip(np.rint(stacked), 0, 255), np.uint8)


def encode(path: Path, pictures: Iterator[Image]) -> None:
    """Write ``pictures`` as H.264 into ``path`` (MP4).

    No B-frames and one slice a picture, so that any decoder shows each picture as it comes; one
    thread, because x264's rate control gives other bytes with other thread counts.
    """
    with av.open(str(path), "w", options={"movflags": "+faststart", "fflags": "+bitexact"}) as out:
        stream = out.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        stream.thread_count = 1
        stream.options = {
            "preset": "slow",
            "crf": str(CRF),
            "bf": "0",
            "x264-params": f"slices=1:sliced-threads=0:keyint={FPS}:min-keyint={FPS}:scenecut=0:"
            "colorprim=bt709:transfer=bt709:colormatrix=bt709:fullrange=off",
        }
        for index, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(planes(pixels), format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def build(folder: Path, small_faces: bool = False, *, show_progress: bool = False) -> Path:
    """Write ``demo.mp4`` and ``demo.json`` into ``folder`` (made if missing); return the clip.

    The clip is 1280 x 720, 25 frames a second, 250 frames. With ``small_faces`` every face is
    0.3 to 0.7 times as large and moves the same way.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = track(
        range(FRAMES), "Building", console=Console(stderr=True), disable=not show_progress
    )
    encode(folder / "demo.mp4", (picture(i, small_faces) for i in numbers))
    head = {
        "clip": "demo.mp4",
        "width": WIDTH,
        "height": HEIGHT,
        "fps": FPS,
        "rule": RULE,
        "sources": [still.credit for still in (ASTRONAUT, CAMERA)],
    }
    frames = ",\n".join(
        json.dumps({"frame": i, "faces": truth(i, small_faces)}, separators=(",", ":"))
        for i in range(FRAMES)
    )
    text = json.dumps(head, indent=1)[:-2] + f',\n "frames": [\n{frames}\n]}}\n'
    (folder / "demo.json").write_text(text, encoding="utf-8")
    return folder / "demo.mp4"


def small_clip(folder: Path = ROOT / "build" / "small-faces") -> Path:
    """The small-face clip: built on first use, and again whenever this script has changed."""
    stamp = folder / "script.sha256"
    now = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    if not (stamp.exists() and stamp.read_text(encoding="utf-8") == now):
        stamp.unlink(missing_ok=True)
        build(folder, small_faces=True)
        stamp.write_text(now, encoding="utf-8")
    return folder / "demo.mp4"


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description="Build the demo clip and its ground truth.")
    parser.add_argument("--output", type=Path, help="folder to write demo.mp4 and demo.json into")
    parser.add_argument("--small-faces", action="store_true", help="the variant with small faces")
    args = parser.parse_args()
    default = ROOT / "build" / "small-faces" if args.small_faces else ROOT / "streamer" / "assets"
    clip = build(args.output or default, args.small_faces, show_progress=True)
    print(f"{clip} ({clip.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
