"""docs/logs.md: every event that the log can name, found in the code, with what it means."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from streamer.log import BURST, EVERY_S

ROOT = Path(__file__).resolve().parent.parent.parent
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")

MEANINGS = {
    "camera_connecting": "The camera is dialled; `attempt` counts.",
    "camera_live": "Pictures come.",
    "camera_lost": "It is lost, why (docs/cameras.md), and when it is dialled again.",
    "file_unreadable": "A file cannot be read, or gives no picture; streamer ends with 1 if it is still there then.",
    "camera_refused_before": "It was paused, edited or removed during the wait after a wrong password; that goes on.",
    "camera_resumed": "It was quiet and came back by itself.",
    "camera_stalled": "Connected, and no picture for `stall_s`.",
    "camera_frozen": "Pictures come and do not change.",
    "camera_moves": "They change again.",
    "camera_behind": "It sends more than this machine decodes: `pictures` were left out since the last such line (docs/freshness.md).",
    "camera_stopped": "It is read no more.",
    "camera_removed": "It was taken out of the configuration; what became of its frames.",
    "camera_replaced": "Its lines in the configuration changed; what became of its frames.",
    "camera_status": "Once a minute, where no terminal shows the table: what a camera does that did not end and was not stopped.",
    "cameras_left_behind": "A stop did not wait for these: a dial cannot be interrupted.",
    "file_damaged": "Packets of a file gave no picture.",
    "hardware_decoding_unavailable": "The GPU does not decode this camera; the CPU does.",
    "started": "streamer runs; the addresses it listens on.",
    "config_applied": "The edited file is in force; the cameras that came (`added`), went and changed, by name.",
    "config_refused": "The edited file is wrong or cannot be read; all goes on as before. Mend what `problems` says.",
    "model_chosen": "`model: auto` chose this one, and why.",
    "device_fallback": "`device: auto` runs on the CPU where a GPU seems to be meant.",
    "workers_ignored": "A GPU has one worker; take `inference.workers` out.",
    "warmed_up": "The first run of an input size on a GPU, and how long it took.",
    "warm_up_slow": "It took far longer than such a device should; what else runs there?",
    "retuned": "The number of cameras changed, and so did the threads that share a run.",
    "retune_failed": "They did not, and why; all goes on as before.",
    "folded": "The network with its head folded in is used on this GPU: the times of both.",
    "not_folded": "It is not: it cannot be, or gains nothing.",
    "folding_failed": "It gave other results, or none; the network is used as it is.",
    "privacy_input_small": "Faces are to be covered, and with so small an input some are not found: use 640 or more.",
    "memory_short": "The GPU has no room for a batch; smaller ones are tried.",
    "memory_tried_again": "After a while, larger ones are tried again.",
    "run_stuck": "A run of the model does not end although it was told to; `/healthz` says 503.",
    "detection_failed": "Frames that could not be looked at, and why: never \"no faces\".",
    "overload_step": "There is more to do than can be done: what is given up.",
    "overload_eased": "One step of that is taken back.",
    "stage_crashed": "A part failed and the program ends with 1; the traceback says where.",
    "clients_changed": "The list of keys that may listen was read anew.",
    "clients_unreadable": "It cannot be read: nobody new is let in until it can.",
    "nobody_allowed": "The list is empty: nobody can listen.",
    "secret_key_readable": "Others on this machine can read a secret key; do what `remedy` says.",
    "gate_failed": "What decides who may listen failed: nobody new is let in.",
    "peer_let_go": "A subscriber sent more than any has to (`too_much`), or there were `too_many`: "
    "it was disconnected.",
    "bridge_connected": "A bridge (docs/bridges.md) is connected to its other end.",
    "bridge_down": "It is not, and why; cameras go on, and it tries again.",
    "restream_live": "A camera is sent to the RTSP server of `publish.restream`.",
    "restream_lost": "It is not, why, and when that server is dialled again (docs/restream.md).",
    "library_says": "A library that streamer uses warns, in its own words (`text`).",
}  # fmt: skip
"""What each event means, in a sentence; one that the code does not know is an error, and so is
one of the code that is not here."""

CAMERA_LINES = frozenset({"camera", "url"})
"""What each line of a live camera carries (streamer/capture/reconnect.py)."""

HEAD = """\
# Log lines

Written from the code by `make docs`; the meanings are in `scripts/pages/logs.py`.

The log goes to standard error: lines for people in a terminal, else one JSON object a line with
`timestamp` (UTC), `level`, `stage`, `event` and what belongs to it. The names of events are stable;
select by them, not by words. There is a line for each change of a state of a camera that is dialled, and none for each frame. A file that
ends has none: what became of its frames is in the ledger at the end, and `camera/` ([events.md](events.md)) tells of it.

No line holds a secret: addresses lose their passwords where the line is written, whoever wrote it.
What is said again and again is said seldom: {burst} lines of one event of one camera at once,
then one in {every:g} seconds with the number that was left out in `left_out`; changes of a camera
more seldom still ([cameras.md](cameras.md)).

| event | level | stage | carries | means |
|---|---|---|---|---|
"""


class Line(NamedTuple):
    """One place of the code that writes a line."""

    event: str
    level: str
    stage: str
    fields: frozenset[str]


def lines_of(text: str) -> Iterator[Line]:
    """Every line that the module ``text`` can write whose event's name stands in it."""
    tree = ast.parse(text)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside: dict[ast.AST, ast.FunctionDef] = {}
    for function in functions:
        for node in ast.walk(function):
            inside[node] = function
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        arguments = list(node.args)
        if node.func.attr == "say" and len(arguments) == 2:
            level, stage = ast.literal_eval(arguments.pop(0)), "capture"
            always = CAMERA_LINES
        elif node.func.attr in LEVELS and len(arguments) == 1:
            level, stage = node.func.attr, _stage(node.func.value, tree)
            always = _bound(tree)
        else:
            continue
        fields = {str(word.arg) for word in node.keywords if word.arg is not None}
        for word in node.keywords:
            if word.arg is None and isinstance(word.value, ast.Name):
                fields |= _keys(word.value.id, inside.get(node))
        fields = (fields | always) - {"exc_info"}
        for event in _names(arguments[0], inside.get(node), tree):
            if event.isidentifier() and event.islower():
                yield Line(event, level, stage, frozenset(fields))


def _keys(name: str, function: ast.FunctionDef | None) -> set[str]:
    """The keys that ``function`` puts into its mapping ``name``, given on as ``**name``."""
    found: set[str] = set()
    for node in ast.walk(function) if function is not None else ():
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Subscript) and getattr(target.value, "id", "") == name:
                found.add(str(ast.literal_eval(target.slice)))
            elif getattr(target, "id", "") == name and isinstance(node.value, ast.Dict):
                found |= {str(ast.literal_eval(key)) for key in node.value.keys if key}
    return found


def _bound(tree: ast.Module) -> set[str]:
    """What the loggers of a module are bound to: all its lines carry that."""
    return {
        str(word.arg)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "bind"
        and "get_logger" in ast.dump(node.func)
        for word in node.keywords if word.arg is not None
    }  # fmt: skip


def _names(node: ast.expr, function: ast.FunctionDef | None, tree: ast.Module) -> Iterator[str]:
    """The names that ``node`` may be: a word, a choice of words, or what the function is given."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _names(node.body, function, tree)
        yield from _names(node.orelse, function, tree)
    elif isinstance(node, ast.Name) and function is not None:
        position = [argument.arg for argument in function.args.args].index(node.id)
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == function.name:
                yield from _names(call.args[position], None, tree)


def _stage(logger: ast.expr, tree: ast.Module) -> str:
    """The stage that a logger was made for: its own, or that of the module's only one."""
    for within in (logger, tree):
        for node in ast.walk(within):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "get_logger":
                return str(ast.literal_eval(node.args[0]))
    return ""


def found() -> dict[str, list[Line]]:
    """Every event of the code, with the places that write it."""
    events: dict[str, list[Line]] = {}
    for path in sorted((ROOT / "streamer").rglob("*.py")):
        for line in lines_of(path.read_text(encoding="utf-8")):
            if line.stage:  # else it is not one of our loggers
                events.setdefault(line.event, []).append(line)
    return events


def page() -> str:
    """The whole page. Ends the program when an event has no meaning, or a meaning no event."""
    events = found()
    for name in events.keys() - MEANINGS.keys():
        raise SystemExit(f"the event {name} has no meaning; add one in scripts/pages/logs.py")
    for name in MEANINGS.keys() - events.keys():
        raise SystemExit(f"no code writes the event {name}; take it out of scripts/pages/logs.py")
    rows = []
    for name in MEANINGS:
        lines = events[name]
        levels = ", ".join(sorted({line.level for line in lines}))
        stages = ", ".join(sorted({line.stage for line in lines}))
        fields = sorted(set().union(*(line.fields for line in lines)))
        carries = ", ".join(f"`{field}`" for field in fields)
        rows.append(f"| `{name}` | {levels} | {stages} | {carries} | {MEANINGS[name]} |")
    return HEAD.format(burst=BURST, every=EVERY_S) + "\n".join(rows) + "\n"
