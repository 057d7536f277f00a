"""docs/logs.md: every way in which the code names an event is found."""

from __future__ import annotations

from scripts.pages.logs import Line, found, lines_of

CODE = """
log = get_logger("app")
def f(x):
    more: dict = {"model": 1}
    more["page"] = 2
    log.info("plain", camera=1, **more)
    log.warning("a" if x else "b", detail="")
    get_logger("other").error("direct", exc_info=x)
    lines.say("warning", "camera_x", reason=1)
    g("given")
    log.info("not an event")
def g(event):
    log.info(event, n=1)
"""


def test_every_way_of_naming_an_event_is_found() -> None:
    assert set(lines_of(CODE)) == {
        Line("plain", "info", "app", frozenset({"camera", "model", "page"})),
        Line("a", "warning", "app", frozenset({"detail"})),
        Line("b", "warning", "app", frozenset({"detail"})),
        Line("direct", "error", "other", frozenset()),
        Line("camera_x", "warning", "capture", frozenset({"reason", "camera", "url"})),
        Line("given", "info", "app", frozenset({"n"})),
    }


def test_the_events_that_people_select_by_are_there() -> None:
    events = found()
    for name in ("camera_lost", "camera_live", "camera_removed", "overload_step", "started"):
        assert name in events


def test_what_lines_carry_is_complete() -> None:
    carried = {
        name: set().union(*(line.fields for line in lines)) for name, lines in found().items()
    }
    for event in ("camera_connecting", "camera_live", "camera_lost"):
        assert {"camera", "url"} <= carried[event]
    assert {"cameras", "model", "device", "events", "page", "metrics"} <= carried["started"]
    assert {"ms", "batch", "width", "height"} <= carried["warm_up_slow"]
    assert {"width", "height"} <= carried["folded"]
    assert {"file", "added", "removed", "replaced"} <= carried["config_applied"]
