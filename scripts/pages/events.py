"""docs/events.md and docs/events.schema.json: the wire, from the types that are sent over it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from inspect import cleandoc
from pathlib import Path
from typing import Any

import zmq

from streamer.events import camera_schema, schema
from streamer.heartbeat_events import heartbeat_schema
from streamer.publish import peers, replay, zeromq
from streamer.track_events import track_schema

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "tests" / "data" / "events"
FIGURES = ROOT / "docs" / "events.json"

KINDS: dict[str, tuple[str, str, str]] = {
    "FacesEvent": ("faces/<camera>/", "two_faces", "What was found in a frame"),
    "TrackEvent": ("track/<camera>/", "track_left", "Who comes and goes"),
    "CameraEvent": ("camera/<camera>/", "camera", "What a camera does"),
    "HeartbeatEvent": ("heartbeat/", "heartbeat", "That streamer is there"),
}
"""Each kind: its topic, the golden file that shows it, and what it is about."""


def wire_schema() -> dict[str, Any]:
    """One JSON schema of all kinds of events."""
    parts: dict[str, Any] = {}
    for one in (schema(), track_schema(), camera_schema(), heartbeat_schema()):
        parts |= one["$defs"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Events of streamer, version 1",
        "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in KINDS],
        "$defs": parts,
    }


def schema_file() -> str:
    """The text of docs/events.schema.json."""
    return json.dumps(wire_schema(), indent=1) + "\n"


def _type(spec: Mapping[str, Any]) -> str:
    """A field's type in words."""
    if "$ref" in spec:
        return f"[{spec['$ref'].rpartition('/')[2]}](#{spec['$ref'].rpartition('/')[2].lower()})"
    if "anyOf" in spec:
        return " or ".join(map(_type, spec["anyOf"]))
    if "enum" in spec:
        return " or ".join(f"`{value}`" if value else "empty" for value in spec["enum"])
    kind = spec.get("type")
    if kind == "array":
        if "prefixItems" in spec:
            return f"{len(spec['prefixItems'])} numbers"
        return f"list of {_type(spec['items'])}"
    if kind == "object":
        return f"map of text to {_type(spec['additionalProperties'])}"
    if kind == "integer":
        low = spec.get("minimum")
        return "whole number" + (f" from {low}" if low is not None and low >= 0 else "")
    if kind == "number" and "minimum" in spec:
        high = f" to {spec['maximum']:g}" if "maximum" in spec else ""
        return f"number from {spec['minimum']:g}{high}"
    return {"string": "text", "number": "number", "boolean": "true or false", "null": "null"}.get(
        str(kind), str(kind)
    )


def _fields(definition: Mapping[str, Any]) -> list[str]:
    rows = ["| field | value |", "|---|---|"]
    for name, spec in definition["properties"].items():
        added = "" if name in definition.get("required", ()) else "; may be missing"
        rows.append(f"| `{name}` | {_type(spec)}{added} |")
    return rows


def _words(definition: Mapping[str, Any]) -> list[str]:
    """What the docstring says, without what is of Python alone."""
    text = cleandoc(definition["description"])
    for role in (":class:", ":data:", ":meth:"):
        text = text.replace(role, "")
    text = text.replace("``", "`").replace("streamer.events.", "").replace("streamer.types.", "")
    return text.partition(" Raises `ValueError`")[0].split("\n")


def _kind(kind: str, definitions: Mapping[str, Any]) -> list[str]:
    topic, example, title = KINDS[kind]
    shown = json.loads((EXAMPLES / f"{example}.json").read_text())
    return [
        f"## {title}: `{topic}`", "", *_words(definitions[kind]), "",
        *_fields(definitions[kind]), "",
        "```json", json.dumps(shown), "```", "",
    ]  # fmt: skip


def _parts(definitions: Mapping[str, Any]) -> list[str]:
    lines = ["## What they are made of", ""]
    for name in sorted(definitions.keys() - KINDS.keys()):
        lines += [
            f"### {name}",
            "",
            *_words(definitions[name]),
            "",
            *_fields(definitions[name]),
            "",
        ]
    return lines


HEAD = """\
# Events

*Written by `make docs` from the code; the tests check that it agrees.*

This is version 1 of what streamer publishes over ZeroMQ.
[events.schema.json](events.schema.json) is the same for programs (JSON schema, draft 2020-12).
In Python, [`streamer.client`](client.md) reads it for you, asks for what was lost and tells what
cannot be had.

A message is two parts: the topic, and one event. Every topic ends in a slash, so that a
subscription to `faces/cam1/` does not hear `cam10`; subscribe to `faces/` to hear all cameras.
An event is JSON, or MessagePack with the same fields (`publish: {zeromq: {format: msgpack}}`):
**its first byte is `{` in JSON, and 0x80 or above in MessagePack**, so that a reader can take
both.

- `seq` counts the messages of one topic from 1 without a hole. A hole in what you hear is a
  loss.
- `boot_id` names a run of streamer; with a new one every `seq` begins again.
- `epoch` grows by one with each reconnection of the camera.
- There is no order between topics.
- `wall_at` is for people; no clock of a wall decides anything. `age_ms` says how old the news
  is.
- Coordinates are pixels of the original frame; left and right are as seen in the picture.

## What stays as it is

Within version 1 fields are only added, and topics too. **Pass over fields, topics and parts of a
message that you do not know**, and you will read every later version 1. A field that is added
may be missing in what an older streamer published; the tables say which. A field that changed
its meaning or went would make version 2, with another `schema`. The tests hold the fields of the
first version 1 and its messages, and check both.

## Pictures

With `publish: {zeromq: {attach: crops}}` an event of a frame that was looked at carries a JPEG
of each face found in it (`pictures`), with a quarter of its length around and 224 pixels at most;
`frame` gives the frame, `attach_width` pixels wide, where there are faces. At most `attach_kb`
kilobytes go with one event and `attach_kb_s` with those of a second: what is more is left out, and
the event goes without. No message is above 4 MiB. They are of the picture as others may see it: [privacy](privacy.md) holds.
Base64 makes them a third longer in JSON. They are kept for replay, and count there by their size.

## Less

`publish: {zeromq: {when: ...}}` says which results are published on `faces/`; `seq` counts those
that are.

- `all`, the default: one for every frame.
- `faces`: those with faces, and the first without, so that you hear when they are gone.
- `changes`: those whose faces are others, by `id`, than in the one before.

A frame that could not be looked at is told with each of them, once while it lasts. With the last
two the first result of each `epoch`, and after the camera is told to be `live`, comes as well;
otherwise silence is normal: the heartbeat says that streamer is there.
"""


def _limits() -> list[str]:
    options, asked = zeromq._OPTIONS, replay._OPTIONS
    subscribers, askers = zeromq._ALLOWANCE, replay._ALLOWANCE
    said = [
        f"""- **{options[zmq.SNDHWM]} messages** wait for one subscriber (and as many in a client),
        beside what the kernel takes. What comes then is lost to this one alone, and `seq` shows it.
        Nothing is conflated: conflation would lose without a trace; `latest()` of the client keeps
        only the newest. Publishing never waits.""",
        f"""- A subscription is at most {options[zmq.MAXMSGSIZE]} bytes; longer ones end the
        connection.""",
        f"""- A subscriber may send {subscribers.burst // 1024} KB, and {subscribers.per_s} bytes a
        second besides, for the pings of old clients; all together
        {subscribers.together // 2**20} MB. That is the topics of 1000 cameras, each by name. Who sends more is disconnected, and so is the
        {subscribers.peers + 1}th subscriber; that is looked at each
        {round(peers.LOOK_S * 1000)} ms.
        Until then a flood can hold publishing up: 0.16 s at worst and 12 MB were measured (14 s and
        865 MB without the limit). For the
        replay socket it is {askers.burst // 1024} KB of questions, then one has to connect again.
        No more than {subscribers.unread} connections ({askers.unread} for replay) come before all that
        the others sent was read; who is refused so comes again by himself.
        `streamer_zeromq_refused_total` counts them. Over `ipc://`, which is open to this user only,
        there is no such limit. Who is patient can still add those {subscribers.per_s} bytes a
        second: beyond this machine, give keys to those who may connect (security.md).""",
        f"""- A peer has {options[zmq.HANDSHAKE_IVL] // 1000} s for its greeting, and is let go when
        its kernel does not answer, or it takes nothing, for {options[zmq.TCP_MAXRT] // 1000} s. A
        program that was stopped for longer connects again by itself, and asks for what it missed.
        ZeroMQ's own pings are off, and your client should leave them off: libzmq 4.3.5 aborts the
        process where one is due to a peer that has gone while messages of it still wait
        (`Assertion failed: !_io_error`).""",
        f"""- Replay: {asked[zmq.SNDHWM]} answers wait for one peer, {replay.QUESTIONS_PER_S}
        questions a second are answered.""",
        f"""- At the end what is left is sent for {options[zmq.LINGER]} ms. The last message is the
        heartbeat with `"ended": true`.""",
    ]
    head = ["## Limits", "", "A subscriber that is slow, stopped or mean costs the others nothing:"]
    return [*head, "", *(_wrapped(one, "  ") for one in said), ""]


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        " ".join(text.split()), 100, subsequent_indent=indent, break_on_hyphens=False
    )


def _figures() -> list[str]:
    if not FIGURES.exists():
        return []
    found = json.loads(FIGURES.read_text())
    stop, crowd = found["stop"], found["crowd"]
    sends, heard = stop["burst_ms"], stop["stopped"]
    return [
        "## What it costs",
        "",
        "One publisher, 10 subscribers, 20 cameras at 30 results a second each with 5 faces:",
        "",
        "| format | a second | encoding, sending | ZeroMQ thread | a result waits: p50 / p99 | lost |",
        "|---|---|---|---|---|---|",
        *map(_run, found["throughput"]),
        "",
        _wrapped(
            f"""One that subscribes late knows the newest result of all cameras after
            {found["late"]["p50"]:.0f} ms ({found["late"]["max"]:.0f} ms at worst of
            {found["late"]["tries"]} tries): it asks for it. Without `replay` it knows after the
            first heartbeat, within a second, which cameras there are and what each does, and their
            faces with the next result."""
        ),
        "",
        _wrapped(
            f"""A subscriber stopped (SIGSTOP) for {stop["stopped_s"]:.0f} s under this load: the
            publisher's p99 of a burst was {sends["before"]["p99"]} ms before,
            {sends["during"]["p99"]} ms meanwhile and {sends["after"]["p99"]} ms after; its memory
            went from {stop["memory_mb"]["before"]:.0f} to {stop["memory_mb"]["during"]:.0f} MB
            (the history fills). The stopped one heard {heard["heard"]} events,
            {heard["lost"]} lost, {heard["out_of_order"]} out of order; the others lost
            {sum(one["lost"] for one in stop["others"])}."""
        ),
        "",
        _wrapped(
            f"""{crowd["connections"]} subscribers that came and left within
            {crowd["seconds"]:.0f} s, 200 at a time: memory {crowd["memory_mb"][1]:.0f} MB after a
            quarter of it and {crowd["memory_mb"][-1]:.0f} MB at the end;
            {crowd["descriptors"][-1]} open files with them, {crowd["descriptors_after"]} without;
            one that stayed lost {crowd["steady_subscriber"]["lost"]}."""
        ),
        "",
        _wrapped(
            f"""Measured by `make bench-events` over loopback, on two cores with nothing else to
            do. Encoding and sending is all of the thread that publishes, its waking too; ZeroMQ's
            thread does the kernel's work for ten TCP connections. A result that comes within
            {zeromq.BURSTS_APART_S * 1000:.0f} ms of the one before waits so long, to go with others;
            one alone goes at once."""
        ),
        "",
    ]


def _run(run: Mapping[str, Any]) -> str:
    return (
        f"| {run['format']} | {run['results_per_s']:.0f} "
        f"| {run['encode_and_send_percent']:.1f} % of a core "
        f"| {run['zeromq_thread_percent']:.1f} % of a core "
        f"| {run['age_ms']['p50']:.1f} / {run['age_ms']['p99']:.1f} ms | {run['lost']} |"
    )


def page() -> str:
    """The text of docs/events.md."""
    definitions = wire_schema()["$defs"]
    lines = [HEAD]
    for kind in KINDS:
        lines += _kind(kind, definitions)
    lines += [*_parts(definitions), *_limits(), *_figures()]
    return "\n".join(lines).rstrip() + "\n"
