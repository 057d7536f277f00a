"""Runs one program with so many recorded cameras, and hears its results in this process.

A program is a runner of ``benchmarks/peers``; what it says is written in ``recorded.py`` there. The
age of a result is counted here, from the instant the frame was due at its camera until the result
was heard, for all programs alike: whatever a program thinks itself, what it decoded late is old.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, Final

import av

from benchmarks.cameras_score import Heard, Score, hopeless, score
from benchmarks.peers import ROOT, RUNNERS, PeerFailed, Side, last_error
from streamer.client import NothingHeard, subscribe
from streamer.cores import busy_s

FPS: Final = 15
"""Frames a second of each camera."""

WARM_S: Final = 3.0
"""Seconds after the last camera began that do not count."""

START_S: Final = 120.0
END_S: Final = 30.0
KILL_S: Final = 10.0
"""So long a program has to load (some need half a minute), to say its last words, and to go."""

GIVE_UP_S: Final = 4.0
"""From then on a run that is far off is ended, so that there is time for others."""

LOOK_S: Final = 0.25
_ROUNDS: Final = 12
_CLIP_FPS: Final = 25
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Run:
    """A score and what it was measured on.

    ``used`` and ``others``: cores that the program, and everything but it and this process, kept
    busy on average; None where the machine does not tell. ``ended``: what the program said at its
    end. ``cut_short``: it was far off, and not measured to the end.
    """

    score: Score
    about: str
    used: float
    others: float | None
    cut_short: bool
    ended: Mapping[str, Any]

    @property
    def faults(self) -> tuple[str, ...]:
        """Why the cameras were not held; empty when they were."""
        found = list(self.score.faults)
        if self.ended.get("input_scale", 1.0) < 1.0:
            found.append("the input was made smaller")
        if self.ended.get("paused"):
            found.append(f"{self.ended['paused']} cameras were paused")
        if self.ended.get("lost"):
            found.append("a camera was lost")
        if self.cut_short and not found:
            found.append("it began far off")
        return tuple(found)

    @property
    def held(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


def recorded_clip(clip: Path, folder: Path) -> Path:
    """``clip`` (25 fps) at 15 fps and twelve times over, as cameras send it; kept in ``folder``.

    H.264 without B-frames, one slice for each picture, a key frame every 2 s. It is long so that
    opening it again, which no camera asks for, costs nothing to speak of.
    """
    path = folder / f"cameras-{FPS}fps.mp4"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part.mp4")
    packets = []
    with av.open(str(clip)) as source, av.open(str(unfinished), "w") as target:
        options = {"preset": "veryfast", "bf": "0", "g": str(2 * FPS), "sc_threshold": "0"}
        stream = target.add_stream("libx264", rate=FPS, options=options)
        picture = source.streams.video[0]
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
        count = 0
        for number, frame in enumerate(source.decode(video=0)):
            if chosen(number) == count:
                frame.pts, frame.time_base, frame.pict_type = count, Fraction(1, FPS), 0
                packets += stream.encode(frame)
                count += 1
        packets += stream.encode(None)
        for again in range(_ROUNDS):
            for packet in packets:
                copy = av.Packet(bytes(packet))
                assert packet.pts is not None and packet.dts is not None  # an encoder says them
                shift = round(again * count / FPS / packet.time_base)
                copy.pts, copy.dts = packet.pts + shift, packet.dts + shift
                copy.time_base, copy.stream = packet.time_base, stream
                copy.is_keyframe = packet.is_keyframe
                target.mux(copy)
    unfinished.rename(path)
    return path


def chosen(number: int) -> int | None:
    """Which frame of 15 a second frame ``number`` of 25 becomes, both from 0; None: left out."""
    mine = -(-number * FPS // _CLIP_FPS)
    return mine if mine * _CLIP_FPS // FPS == number else None


def measure(
    side: Side, python: Path, given: Mapping[str, str], *, cameras: int, seconds: float,
    tick: Callable[[float], None] = lambda _: None,
) -> Run:  # fmt: skip
    """Run ``side`` with so many cameras and measure for ``seconds``, after a warm-up.

    ``given`` fills the arguments of its runner, beside {cameras}. ``tick`` is told now and then
    how many seconds were measured. Raises PeerFailed when it did not run.
    """
    filled = {**given, "cameras": str(cameras)}
    command = [str(python), str(RUNNERS / side.runner)]
    command += [argument.format_map(filled) for argument in side.arguments]
    with tempfile.TemporaryFile() as errors:
        process = _start(command, errors, own=not side.environment)
        with process, _ended(process):
            lines = _lines(process, errors)
            header = next(_json(lines, "starts", START_S))
            began_at = max(header["starts"]) + WARM_S
            heard: list[Heard] = []
            spent: _Spent | None = None
            look_at, cut_short = began_at, False
            for now, found in _heard(header["endpoint"], lines):
                if now < began_at:
                    continue
                spent = spent or _Spent(process.pid)
                for camera, frame in found:
                    age_s = now - header["starts"][camera] - frame / FPS
                    heard.append(Heard(camera, now - began_at, age_s))
                measured_s = now - began_at
                if measured_s >= seconds:
                    break
                if now >= look_at:
                    look_at = now + max(1.0, measured_s / 10)  # looking takes time, too
                    tick(measured_s)
                    if measured_s >= GIVE_UP_S and _hopeless(heard, cameras, measured_s):
                        cut_short, seconds = True, measured_s
                        break
            assert spent is not None
            used, others = spent.cores(seconds)
            process.stdin.close()  # type: ignore[union-attr] # a pipe
            ended = next(_json(lines, "end", END_S, quiet=True), {})
    judged = score(heard, cameras=cameras, seconds=seconds)
    return Run(judged, header["about"], used, others, cut_short, ended.get("end", {}))


class _Spent:
    """Processor time since it was made: of a process, and of others than it and this one."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = self._now()

    def _now(self) -> tuple[float, float, float | None]:
        return _cpu_s(self._pid), time.process_time(), busy_s()

    def cores(self, seconds: float) -> tuple[float, float | None]:
        """Cores that each kept busy on average over ``seconds``."""
        (used, ours, busy), (used_now, ours_now, busy_now) = self._before, self._now()
        used, ours = used_now - used, ours_now - ours
        if busy is None or busy_now is None:
            return round(used / seconds, 2), None
        others = max(0.0, busy_now - busy - used - ours)
        return round(used / seconds, 2), round(others / seconds, 2)


def _hopeless(heard: Sequence[Heard], cameras: int, measured_s: float) -> bool:
    """Judged by the last seconds only, so that it costs as little at the end of a long run."""
    span_s = min(measured_s, 3 * GIVE_UP_S)
    last = []
    for one in reversed(heard):
        if one.at_s < measured_s - span_s:
            break
        last.append(one._replace(at_s=one.at_s - measured_s + span_s))
    return hopeless(last, cameras=cameras, seconds=span_s)


Found = list[tuple[int, int]]
"""Frames that were looked at: camera and number, both from 0."""


def _heard(endpoint: str | None, lines: Iterator[str | None]) -> Iterator[tuple[float, Found]]:
    """Each result with the instant it was heard, and every quarter of a second nothing."""
    if endpoint is None:
        for line in lines:
            now, words = time.monotonic(), (line or "").split()
            good = len(words) == 3 and words[0] == "@"
            yield now, [(int(words[1]), int(words[2]))] if good else []
        return
    with subscribe(endpoint, timeout_s=LOOK_S) as events:
        while True:
            try:
                event = next(events)
            except NothingHeard:
                next(lines)  # raises when the program has ended
                yield time.monotonic(), []
                continue
            now = time.monotonic()
            looked = event.status == "detected"
            number = int(event.camera.removeprefix("cam"))
            yield now, [(number, event.frame)] if looked else []


def _start(command: Sequence[str], errors: IO[bytes], *, own: bool) -> subprocess.Popen[bytes]:
    environ = dict(os.environ)
    environ.pop("PYTHONPATH", None)
    if own:
        environ["PYTHONPATH"] = str(ROOT)
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environ,
        bufsize=0,
    )  # fmt: skip


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the process after the block, the hard way when it does not follow."""
    try:
        yield
    finally:
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(KILL_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _lines(process: subprocess.Popen[bytes], errors: IO[bytes]) -> Iterator[str | None]:
    """What the process says line by line, None now and then. Raises PeerFailed at its end."""
    assert process.stdout is not None
    rest = b""
    while True:
        ready, _, _ = select.select([process.stdout], [], [], LOOK_S)
        if not ready:
            yield None
            continue
        data = os.read(process.stdout.fileno(), 65536)
        if not data:
            break
        *whole, rest = (rest + data).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
    with suppress(subprocess.TimeoutExpired):
        process.wait(KILL_S)
    errors.seek(0)
    said = last_error(errors.read().decode(errors="replace"))
    raise PeerFailed(f"ended by itself with {process.returncode}: {said}")


def _json(
    lines: Iterator[str | None], key: str, within_s: float, *, quiet: bool = False
) -> Iterator[dict[str, Any]]:
    """The line of JSON that begins with ``key``. Raises PeerFailed, or ends, where none comes."""
    until_at = time.monotonic() + within_s
    try:
        for line in lines:
            if line is not None and line.startswith(f'{{"{key}"'):
                yield dict(json.loads(line))
                return
            if time.monotonic() > until_at:
                raise PeerFailed(f"said nothing within {within_s:.0f} s")
    except PeerFailed:
        if not quiet:
            raise


def _cpu_s(pid: int) -> float:
    """Processor seconds that a process has used, all its threads; 0 when it is gone.

    Source: proc(5), ``/proc/[pid]/stat``.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS
