"""Whether streamer does its job, check by check. Pure."""

from __future__ import annotations

from typing import Any, Final

from streamer.status import Status

FRESH_S: Final = 10.0
"""A camera is fresh while its newest result is no older, seconds. One that is looked at more
seldom than that by its own settings is never fresh by itself; another may be."""

STUCK_S: Final = 10.0
"""Seconds that a run of the model may go on after it was told to end before we are not healthy."""


def readiness(status: Status) -> dict[str, str]:
    """What is wrong by the name of the check, and an empty text for each that is well.

    ``model``: it runs, on the device that was asked for. ``cameras``: at least one is live, or
    none is to be: those that were paused on purpose count for nothing. ``results``: the newest
    result of one of the live ones is fresh. ``sinks``: all of them run. No text names a camera,
    so that anybody may be told.
    """
    wanted = [camera for camera in status.cameras if camera.source.state != "stopped"]
    live = [camera for camera in wanted if camera.source.state == "live"]
    ages = [c.newest_age_s for c in live if c.newest_age_s is not None]
    stopped = [sink.name for sink in status.sinks if not sink.running]
    problems = {"model": "", "cameras": "", "results": "", "sinks": ""}
    if status.inference_stuck_s > STUCK_S:
        problems["model"] = "a run of the model does not end; restart streamer"
    elif not on_device(status.requested_device, status.provider):
        problems["model"] = (
            f"runs on {status.provider}, and {status.requested_device} was asked for"
        )
    if wanted and not live:
        problems["cameras"] = f"none of {len(wanted)} is live; see /api/v1/status"
    if live and (not ages or min(ages) > FRESH_S):
        newest = f"is {min(ages):.0f} s old" if ages else "has not come yet"
        problems["results"] = f"the newest one {newest}; see /api/v1/status"
    if stopped:
        problems["sinks"] = f"{', '.join(stopped)} has ended; see the log"
    return problems


def on_device(asked: str, provider: str) -> bool:
    """Whether the model runs on the device that was asked for; "auto" takes any."""
    return asked == "auto" or asked.partition(":")[0] == provider


def _lost_restreams(status: Status) -> int:
    """How many are away, those that are dialled again among them."""
    away = ("stalled", "backing_off")
    return sum(
        each.state in away or (each.state == "connecting" and bool(each.losses))
        for each in status.restreams
    )


def readiness_json(status: Status) -> tuple[int, dict[str, Any]]:
    """The HTTP status and the body of ``/readyz``."""
    problems = readiness(status)
    ready = not any(problems.values())
    checks = {
        name: {"ok": not detail, **({"detail": detail} if detail else {})}
        for name, detail in problems.items()
    }
    if checks["model"]["ok"] and status.device_warning:  # well, but not where one might think
        checks["model"]["detail"] = status.device_warning
    if checks["sinks"]["ok"] and (lost := _lost_restreams(status)):  # they come back by themselves
        few = f"{lost} of {len(status.restreams)} streams of publish.restream"
        checks["sinks"]["detail"] = f"{few} lost; see /api/v1/status"
    words = "ready" if ready else "not ready"
    return 200 if ready else 503, {"status": words, "checks": checks}
