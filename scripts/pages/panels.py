"""The parts of a Grafana dashboard as JSON values: figures, lines, tables and their places."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH = 24
GOOD, BAD, ODD = "green", "red", "orange"


class Query(NamedTuple):
    """One expression; ``legend`` names its series, ``instant`` asks for the newest value only."""

    expr: str
    legend: str = ""
    instant: bool = False


def or_none(expr: str, label: str) -> str:
    """``expr``, or a 0 whose ``label`` is "none" where nothing of it was ever counted."""
    return f'{expr} or on () label_replace(vector(0), "{label}", "none", "", "")'


def _targets(queries: Sequence[Query]) -> list[dict[str, Any]]:
    return [
        {
            "refId": chr(ord("A") + number),
            "datasource": SOURCE,
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
            "instant": query.instant,
            "range": not query.instant,
            "editorMode": "code",
        }
        for number, query in enumerate(queries)
    ]


def steps(*limits: tuple[float | None, str]) -> dict[str, Any]:
    """Colours by value: each from its limit up, the first, whose limit is None, below all."""
    return {"mode": "absolute", "steps": [{"value": at, "color": colour} for at, colour in limits]}


def _panel(
    kind: str, title: str, about: str, queries: Sequence[Query], size: tuple[int, int], unit: str,
    options: dict[str, Any], colours: dict[str, Any], custom: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": SOURCE,
        "gridPos": {"w": size[0], "h": size[1], "x": 0, "y": 0},
        "targets": _targets(queries),
        "options": options,
        "fieldConfig": {
            "defaults": {"unit": unit, "thresholds": colours, "custom": custom}, "overrides": [],
        },
    }  # fmt: skip


def stat(
    title: str, about: str, *queries: Query, unit: str = "short", width: int = 4,
    colours: dict[str, Any] | None = None, name: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """One large figure; ``name`` shows the series' name in its place."""
    return _panel(
        "stat", title, about, queries, (width, 4), unit,
        {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
         "textMode": "name" if name else "auto", "colorMode": "background" if colours else "value",
         "graphMode": "none", "justifyMode": "center"},
        colours or steps((None, "text")), {},
    )  # fmt: skip


def graph(
    title: str, about: str, *queries: Query, unit: str = "short", width: int = 8, height: int = 7,
    stacked: bool = False, least: float | None = 0,
) -> dict[str, Any]:  # fmt: skip
    """Lines over time, from ``least`` up."""
    panel = _panel(
        "timeseries", title, about, queries, (width, height), unit,
        {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
         "tooltip": {"mode": "multi", "sort": "desc"}},
        steps((None, GOOD)),
        {"lineWidth": 1, "fillOpacity": 25 if stacked else 5, "spanNulls": False,
         "showPoints": "never", "stacking": {"mode": "normal" if stacked else "none"}},
    )  # fmt: skip
    if least is not None:
        panel["fieldConfig"]["defaults"]["min"] = least
    return panel


def timeline(title: str, about: str, *queries: Query, width: int = 24) -> dict[str, Any]:
    """A bar for each camera: green while it is live."""
    panel = _panel(
        "state-timeline", title, about, queries, (width, 6), "short",
        {"mergeValues": True, "showValue": "never", "rowHeight": 0.8,
         "legend": {"showLegend": False}, "tooltip": {"mode": "single"}},
        steps((None, BAD), (1, GOOD)), {"fillOpacity": 80, "lineWidth": 0},
    )  # fmt: skip
    panel["fieldConfig"]["defaults"]["mappings"] = [
        {"type": "value", "options": {
            "0": {"text": "not live", "color": BAD, "index": 0},
            "1": {"text": "live", "color": GOOD, "index": 1}}}
    ]  # fmt: skip
    return panel


def cameras_table(title: str, about: str, columns: dict[str, tuple[Query, str]]) -> dict[str, Any]:
    """A row for each camera, with a column for each query: by its heading, with its unit.

    A column whose heading begins with "(" is asked for its labels only.
    """
    panel = _panel(
        "table", title, about, [query._replace(instant=True) for query, _ in columns.values()],
        (WIDTH, 8), "short", {"showHeader": True, "cellHeight": "sm"},
        steps((None, "text")), {"align": "auto"},
    )  # fmt: skip
    for target in panel["targets"]:
        target["format"] = "table"
    values = {f"Value #{chr(ord('A') + n)}": heading for n, heading in enumerate(columns)}
    hidden = [value for value, heading in values.items() if heading.startswith("(")]
    names = {value: heading for value, heading in values.items() if value not in hidden}
    panel["transformations"] = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {
            "excludeByName": {"Time": True, **dict.fromkeys(hidden, True)},
            "renameByName": names,
            "indexByName": {"camera": 0, "instance": 1, "state": 2, "reason": 3,
                            **{n: i + 4 for i, n in enumerate(names)}}}},
    ]  # fmt: skip
    overrides = [
        {"matcher": {"id": "byName", "options": heading},
         "properties": [{"id": "unit", "value": unit}]}
        for heading, (_, unit) in columns.items()
        if heading in names.values()
    ]  # fmt: skip
    link = {"title": "this camera", "url": "/d/streamer-camera?var-camera=${__value.raw}"
            "&var-instance=${__data.fields.instance}"}  # fmt: skip
    overrides.append(
        {"matcher": {"id": "byName", "options": "camera"},
         "properties": [{"id": "links", "value": [link]}]}
    )  # fmt: skip
    panel["fieldConfig"]["overrides"] = overrides
    return panel


def _placed(panels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """``panels`` from left to right, a new row where the next has no room."""
    x = y = tallest = 0
    for number, panel in enumerate(panels, 1):
        place = panel["gridPos"]
        if x + place["w"] > WIDTH:
            x, y, tallest = 0, y + tallest, 0
        place["x"], place["y"] = x, y
        x, tallest = x + place["w"], max(tallest, place["h"])
        panel["id"] = number
    return panels


def variable(name: str, label: str, query: str, *, several: bool) -> dict[str, Any]:
    """What the viewer chooses at the top: one value of ``query``, or ``several``."""
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE,
        "query": {"query": query, "refId": "variable"}, "definition": query,
        "refresh": 2, "sort": 1, "multi": several, "includeAll": several,
        "current": {"text": "All", "value": "$__all"} if several else {},
    }  # fmt: skip


def dashboard(
    uid: str, title: str, variables: list[dict[str, Any]], panels: list[dict[str, Any]]
) -> str:
    """The whole dashboard as JSON text."""
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus",
              "current": {"text": "Prometheus", "value": "prometheus"}}  # fmt: skip
    dashboard = {
        "uid": uid, "title": title, "tags": ["streamer"], "schemaVersion": 39, "version": 1,
        "editable": True, "graphTooltip": 1, "refresh": "5s", "timezone": "browser",
        "time": {"from": "now-30m", "to": "now"},
        "links": [{"type": "dashboards", "tags": ["streamer"], "title": "streamer", "asDropdown":
                   False, "includeVars": False, "keepTime": True, "icon": "external link"}],
        "annotations": {"list": []},
        "templating": {"list": [source, *variables]},
        "panels": _placed(panels),
    }  # fmt: skip
    return json.dumps(dashboard, indent=1) + "\n"
