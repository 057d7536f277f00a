"""Rows of faults that befall a stream that was live: how soon it is seen, and what it is called."""

from __future__ import annotations

import time
from typing import Literal

from tests.faults.clips import frozen, moving, people
from tests.faults.scene import Row, Take

STALL_S = 5.0
SEEN_S = 0.5
"""What our own watching may add: the status is read each 0.1 s, on two busy cores."""
FIRST_WAIT_S = 0.5
"""The longest wait before the first try to dial again."""


def _goes_silent(take: Take, reason: str = "stall") -> None:
    dials = len(take.camera.dials)
    silent_at = take.camera.last_picture_at
    seen_at = take.not_live()
    take.record.measure("seen after", seen_at - silent_at, at_most=STALL_S + SEEN_S)
    take.lost(reason, 3.0, before=0)
    dialled_at = take.dialled(dials)
    take.record.measure(
        "dialled after", dialled_at - silent_at, at_most=STALL_S + FIRST_WAIT_S + SEEN_S
    )
    take.heal()


def row_1(take: Take) -> None:
    take.camera.change(act="stall")
    time.sleep(0.2)
    _goes_silent(take)


def row_2(take: Take) -> None:
    take.camera.change(act="keepalive")
    time.sleep(0.2)
    _goes_silent(take)


def row_3(take: Take) -> None:
    take.camera.change(act="drip")
    time.sleep(0.2)
    _goes_silent(take)


def row_4(take: Take) -> None:
    """The proxy goes silent and says no goodbye, as a pulled cable does."""
    dials = len(take.proxy.dials)
    take.proxy.mode = "freeze"
    silent_at = time.monotonic()
    seen_at = take.not_live()
    take.record.measure("seen after", seen_at - silent_at, at_most=STALL_S + SEEN_S)
    take.lost("stall", 3.0, before=0)
    take.wait(lambda _: len(take.proxy.dials) > dials, 5.0, "a new dial")
    take.record.measure("dialled after", take.proxy.dials[dials] - silent_at, at_most=6.0 + SEEN_S)
    take.heal()
    take.live()


def _ends(take: Take, how: Literal["fin", "reset"], reasons: tuple[str, ...]) -> None:
    dials = len(take.camera.dials)
    before = take.program.now
    began_at = time.monotonic()
    take.camera.cut(how)
    take.record.measure("seen after", take.not_live() - began_at, at_most=1.0)
    take.wait(
        lambda s: any(s.losses(take.name, r) > before.losses(take.name, r) for r in reasons),
        2.0,
        f"a loss counted as {' or '.join(reasons)}",
    )
    take.record.measure("dialled after", take.dialled(dials) - began_at, at_most=1.0 + FIRST_WAIT_S)
    states = {s.state(take.name) for s in take.program.samples if s.at >= began_at}
    take.record.require("ended" not in states, "a live camera was taken as ended")
    take.record.measure("live again after", take.live() - began_at, at_most=5.0)


def row_5(take: Take) -> None:
    # FFmpeg's RTSP tells a broken connection as an end: both names are true for a person.
    _ends(take, "reset", ("reset", "eof"))


def row_6(take: Take) -> None:
    _ends(take, "fin", ("eof",))


def _timestamps(take: Take, ticks: object) -> None:
    """The stream goes on with other timestamps; nothing may happen."""
    losses = take.program.now.losses(take.name)
    before = take.program.now
    take.camera.change(ticks=ticks)
    take.program.rest(8.0)
    after = take.program.now
    rate = (after.captured(take.name) - before.captured(take.name)) / (after.at - before.at)
    take.record.measure("frames missing", abs(rate / 10.0 - 1) * 100, at_most=10.0, unit="%")
    take.record.require(after.losses(take.name) == losses, "the camera was counted as lost")


def row_22(take: Take) -> None:
    """FFmpeg gives the first frame of every RTSP stream without a time of its own."""
    take.fail_at_dialling()
    take.not_live()
    take.live()
    take.program.rest(1.0)
    events = list(take.program.seen.events[take.name])
    first = next((e for e in events if e["epoch"] == events[-1]["epoch"]), None)
    take.record.require(first is not None and events[-1]["epoch"] == 1, "there is no second life")
    if first:
        take.record.measure("age of the first frame", first["age_ms"] / 1e3, at_most=0.5)


def row_23a(take: Take) -> None:
    _timestamps(take, lambda n: n * 9000 + 2**31)


def row_23b(take: Take) -> None:
    _timestamps(take, lambda n: (n * 9000 + 2**32 - 40 * 9000) % 2**32)


def row_23c(take: Take) -> None:
    _timestamps(take, lambda n: n * 9000 - 10 * 90_000)


def row_23d(take: Take) -> None:
    _timestamps(take, lambda n: 0)


def row_23e(take: Take) -> None:
    _timestamps(take, lambda n: n * 7919 * 104_729 % 2**32)


def row_25(take: Take) -> None:
    take.camera.change(clip=people(640, 360))
    take.program.rest(4.0)
    changed_at = time.monotonic()
    losses = take.program.now.losses(take.name)
    take.camera.change(clip=people(1280, 720))
    take.program.rest(4.0)
    take.record.require(take.program.now.losses(take.name) == losses, "it was counted as lost")
    events = list(take.program.seen.events[take.name])
    small = [e for e in events if e["width"] == 640]
    large = [e for e in events if e["width"] == 1280]
    take.record.require(bool(small and large), f"sizes seen: { ({e['width'] for e in events}) }")
    if large:
        take.record.measure("new size after", large[0]["at"] - changed_at, at_most=3.0)
        wrong = sum(not _same_people(a, small) for a in large)
        take.record.measure("wrong boxes", wrong, at_most=0, unit=f"of {len(large)} pictures")
    take.camera.change(clip=moving())
    take.program.rest(1.5)


def _same_people(event: dict, others: list[dict]) -> bool:
    """Whether some event of the other size shows the same faces at the same relative places."""
    return any(
        len(event["faces"]) == len(other["faces"])
        and all(
            any(_overlap(_relative(a, event), _relative(b, other)) > 0.6 for b in other["faces"])
            for a in event["faces"]
        )
        for other in others
    )


def _relative(face: dict, event: dict) -> list[float]:
    sides = (event["width"], event["height"]) * 2
    return [value / side for value, side in zip(face["bbox"], sides, strict=True)]


def _overlap(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def row_26(take: Take) -> None:
    began_at = time.monotonic()
    take.fail_at_dialling(clip=moving(codec="H265"))
    take.not_live()
    take.record.measure("live again after", take.live() - began_at, at_most=10.0)


def row_27(take: Take) -> None:
    losses = take.program.now.losses(take.name)
    take.camera.change(damage=0.4)
    take.program.rest(8.0)
    now = take.program.now
    errors = now.cameras[take.name]["decode_errors"]
    take.record.note(f"{errors} packets counted as damaged")
    take.record.require(errors > 0, "no damage was counted")
    take.record.require(now.losses(take.name) == losses, "damage in packets was taken as a loss")
    take.camera.change(damage=0.0)


def row_f1(take: Take) -> None:
    """Nothing in the reference: the issue asks that a frozen picture is noticed."""
    take.camera.change(clip=frozen())
    began_at = time.monotonic()
    noticed = take.wait(
        lambda s: s.cameras[take.name].get("frozen") is True,
        30.0,
        "frozen: true in the status",
    )
    take.record.measure("noticed after", noticed.at - began_at, at_most=30.0)
    take.camera.change(clip=moving())
    take.program.rest(1.5)


STREAM = (
    Row("1", "camera freezes, TCP alive", "stall seen in 5 s, dialled in 6 s", row_1),
    Row("2", "freezes, but RTCP still flows", "stall seen in 5 s, dialled in 6 s", row_2),
    Row("3", "one byte each 0.3 s inside a frame", "stall seen in 5 s, dialled in 6 s", row_3),
    Row("4", "half-open: cable pulled", "stall seen in 5 s, dialled in 6 s", row_4, proxy=True),
    Row("5", "RST in mid-stream", "reset or eof seen in 1 s, dialled again", row_5),
    Row("6", "FIN in mid-stream", "eof seen in 1 s, dialled again, never ended", row_6),
    Row("22", "first frame without a timestamp", "aged by our own clock", row_22, {"every": 1}),
    Row("23a", "timestamps jump by 2^31", "frames flow, no loss", row_23a),
    Row("23b", "timestamps wrap at 2^32", "frames flow, no loss", row_23b),
    Row("23c", "timestamps go back 10 s", "frames flow, no loss", row_23c),
    Row("23d", "all timestamps are 0", "frames flow, no loss", row_23d),
    Row("23e", "timestamps at random", "frames flow, no loss", row_23e),
)
PICTURES = (
    Row("25", "another resolution in mid-stream", "right size in 3 s, right boxes", row_25),
    Row("26", "H.264 becomes H.265", "live again in 10 s", row_26),
    Row("27", "damaged packets", "counted, no loss, no crash", row_27),
    Row("F1", "the same picture for ever", "noticed in 30 s", row_f1),
)
