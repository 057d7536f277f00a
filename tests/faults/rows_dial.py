"""Rows of faults that show when the camera is dialled: each begins live, and is then cut off."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.faults.passwords import USER, Auth, encoded_secret
from tests.faults.proxy import FullBacklog
from tests.faults.rows_stream import FIRST_WAIT_S, SEEN_S
from tests.faults.scene import Row, Take
from tests.faults.server import AUDIO, other_codec

OPEN_S = 4.0
"""Longest dialling, seconds; what the stream holds is looked at for as long again at most."""
FIRST_FRAME_S = 10.0
FREE_WAITS = 4
"""So many waits after losses in a row may be nothing."""
LEAST_S = 14.0
"""Each later one is 15 s and more, less a part for what the dial took."""


def dialled_into(
    take: Take, reason: str, bound_s: float, *, never_live: bool = True, **script: Any
) -> tuple[float, float]:
    """Cut the camera off and behave so at the next dial; when it was dialled and lost."""
    before = take.program.now.losses(take.name, reason)
    _, dials = take.fail_at_dialling(**script)
    dialled_at = take.dialled(dials)
    lost_at = take.lost(reason, bound_s + FIRST_WAIT_S + 5.0, before=before)
    take.record.measure("seen after", lost_at - dialled_at, at_most=bound_s + SEEN_S)
    if never_live:
        said = {
            s.state(take.name)
            for s in take.program.samples
            if s.at <= lost_at and s.since(take.name) > dialled_at
        }
        take.record.require("live" not in said, "it was called live without a picture")
    return dialled_at, lost_at


def detail(take: Take, *words: str) -> None:
    """The explanation in the status must hold one of ``words``."""
    said = str(take.program.now.cameras[take.name]["detail"])
    told = any(word.lower() in said.lower() for word in words)
    take.record.require(told, f"the status does not say {' or '.join(words)}, but {said!r}")


def row_7(take: Take) -> None:
    dialled_into(take, "open_timeout", OPEN_S, silent_from="accept")


def row_7b(take: Take) -> None:
    dialled_into(take, "open_timeout", OPEN_S, silent_from="SETUP")


def row_8(take: Take) -> None:
    dialled_into(take, "no_frames", FIRST_FRAME_S, act="keepalive")


def row_8b(take: Take) -> None:
    dialled_into(take, "no_frames", FIRST_FRAME_S, act="stall")


def waits_grow(take: Take, since: float) -> None:
    """The waits that the log told since then must be as long as backoff.py promises."""
    told = [json.loads(line) for line in take.log_lines(since) if '"camera_lost"' in line]
    waits = [line["retry_in_s"] for line in told]
    late = waits[FREE_WAITS:]
    if late:
        take.record.note(f"shortest wait from the fifth on {min(late):.1f} s")
    take.record.require(all(wait >= LEAST_S for wait in late), f"it waited only {waits} s")
    take.record.require(max(waits, default=0.0) > FIRST_WAIT_S, f"waits do not grow: {waits} s")


def row_10(take: Take) -> None:
    before = take.program.now
    take.camera.down()
    with FullBacklog(take.camera.port):
        dialled_at = take.not_live()
        lost = take.wait(
            lambda s: any(
                s.losses(take.name, reason) > before.losses(take.name, reason)
                for reason in ("open_timeout", "unreachable")
            ),
            OPEN_S + 2 * FIRST_WAIT_S + 3,
            "a loss counted as open_timeout or unreachable",
        )
        # From the loss before it: the dial itself leaves no trace, as its SYN is dropped.
        take.record.measure(
            "seen after", lost.at - dialled_at, at_most=OPEN_S + 2 * FIRST_WAIT_S + SEEN_S
        )


def row_14a(take: Take) -> None:
    auth = Auth("digest", password="another")
    dialled_into(take, "auth", 1.0, auth=auth)
    take.program.rest(12.0)
    take.record.measure("tries in 12 s", auth.tries, at_most=1, unit="")
    take.record.require(take.program.now.losses(take.name, "auth") == 1, "it was tried again")


def row_16(take: Take) -> None:
    auth = Auth("sha256")
    dialled_into(take, "auth", 1.0, auth=auth)
    detail(take, "digest", "sha-256", "sha256", "algorithm")


def row_17(take: Take) -> None:
    dialled_into(take, "not_found", 1.0, answers={"DESCRIBE": "404 Not Found"})


def _busy(take: Take, method: str, status: str) -> None:
    """Any closed reason will do, but not one that is wrong: it is neither the network nor us."""
    before = take.program.now
    take.fail_at_dialling(answers={method: status})
    take.wait(
        lambda s: s.losses(take.name) >= before.losses(take.name) + 3, 10.0, "three losses in all"
    )
    now = take.program.now.cameras[take.name]
    take.record.note(f"called {now['reason']}")
    take.record.require(now["reason"] in ("error", "refused"), f"called {now['reason']}")


def row_17b(take: Take) -> None:
    _busy(take, "SETUP", "453 Not Enough Bandwidth")


def row_17c(take: Take) -> None:
    _busy(take, "DESCRIBE", "503 Service Unavailable")


def row_28(take: Take) -> None:
    since = time.monotonic()
    cpu = take.program.now
    dialled_into(take, "no_frames", FIRST_FRAME_S, sets=False)
    lines = len(take.log_lines(since))
    take.record.measure("log lines", lines, at_most=6, unit="")
    after = take.program.now
    spent = (after.usage.cpu_s - cpu.usage.cpu_s) / (after.at - cpu.at) * 100
    take.record.note(f"{spent:.0f} % CPU, all cameras together")


def row_29(take: Take) -> None:
    dialled_into(take, "no_video", 1.0, media=AUDIO)
    detail(take, "no video")


def row_31(take: Take) -> None:
    dialled_into(take, "unsupported_codec", 2 * OPEN_S, media=other_codec("MP4V-ES"))
    detail(take, "mpeg4")


def row_31b(take: Take) -> None:
    dialled_into(take, "unsupported_codec", 2 * OPEN_S, media=other_codec("X-NOBODY-KNOWS"))


def row_59a(take: Take) -> None:
    took = len(take.camera.requests)
    before = take.program.now.losses(take.name)
    _, dials = take.fail_at_dialling(redirect=take.camera.url())
    dialled_at = take.dialled(dials)
    lost = take.wait(lambda s: s.losses(take.name) > before + 1, OPEN_S + 5, "a loss after it")
    take.record.measure("ends after", lost.at - dialled_at, at_most=OPEN_S + SEEN_S)
    # FFmpeg itself follows redirects, as fast as they come; docs/cameras.md says so.
    take.record.note(f"{len(take.camera.requests) - took} requests")


def row_15a(take: Take) -> None:
    """Credentials in the URL are percent-encoded: the camera checks what arrives."""
    for kind in ("basic", "digest"):
        _, dials = take.fail_at_dialling(auth=Auth(kind))  # type: ignore[arg-type]
        take.dialled(dials)
        take.live(10.0)
    take.record.note(f"user {USER} and a password written {encoded_secret()[:8]}… were right")


DIAL = (
    Row("7", "accepts and never answers", "open_timeout in 4 s", row_7),
    Row("7b", "answers until SETUP, then never", "open_timeout in 4 s", row_7b),
    Row("8", "answers PLAY, sends RTCP only", "no_frames in 10 s, never live", row_8),
    Row("8b", "answers PLAY, sends nothing", "no_frames in 10 s, never live", row_8b),
    Row("10", "SYN is dropped, as by a black hole", "seen in 4 s", row_10),
    Row("14a", "401, wrong password", "auth in 1 s, one try in 12 s", row_14a, returns=False),
    Row("15a", "percent-encoded password, Basic and Digest", "live", row_15a),
    Row("16", "Digest with SHA-256 only", "auth, and the message says why", row_16, returns=False),
    Row("17", "404", "not_found in 1 s", row_17),
    Row("17b", "453 Not Enough Bandwidth", "a loss, tried again", row_17b),
    Row("17c", "503 Service Unavailable", "a loss, tried again", row_17c),
)
MEDIA = (
    Row("28", "no SPS and PPS anywhere", "no_frames in 10 s, 6 log lines", row_28),
    Row("29", "sound only", "no_video in 1 s, said so", row_29),
    Row("31", "a codec that is not allowed", "unsupported_codec in 8 s, named", row_31),
    Row("31b", "a codec that nobody knows", "unsupported_codec in 8 s", row_31b),
    Row("59a", "302 to itself", "ends in 4 s", row_59a),
)
