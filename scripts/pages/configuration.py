"""docs/configuration.md: every key of a configuration, from the sections of the code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from streamer.config import config_schema

HEAD = """\
# Configuration

Written from the code by `make docs`; change `streamer/config_sections.py` and its neighbours, not this page.

One YAML file, of which only `cameras` has to be there. A key that is unknown or out of its range is refused
with a sentence that names it; a key that may be part of a password is named by its place and line alone,
as `cameras.<key 2> (line 7)`. `streamer check FILE` tries the cameras, `streamer config show FILE` prints what
holds in the end, without secrets, and `streamer config schema` gives all of this as JSON schema for an editor.

`${NAME}` and `${NAME:-default}` in a value are replaced from the environment, `${file:/run/secrets/door}` by the one line
in that file (so that a password is in no environment; in a URL its `@`, `:`, `/` and `%` are written `%40` and so on). A variable such as
`STREAMER__MODEL__CONFIDENCE=0.7` goes over the file; `null` in it switches a section off. Files that are named
are relative to the folder of the configuration file.
"""

ABOUT = {
    "cameras.NAME": "A name is 1 to 63 of a-z, 0-9, `-` and `_`. What each state of a camera means, and more "
    "on some of these keys: [cameras.md](cameras.md).",
    "publish.zeromq.curve": "[security.md](security.md)",
    "publish.mqtt": "[bridges.md](bridges.md)",
    "publish.nats": "[bridges.md](bridges.md)",
    "publish.webhook": "[bridges.md](bridges.md)",
    "publish.restream": "[restream.md](restream.md)",
    "http": "[http.md](http.md)",
}
"""What stands below the heading of a section, after what the code says of it."""

_FORMATS = {
    "password": "secret",
    "path": "file",
    "ipv4network": "network",
    "ipv6network": "network",
}
_KINDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
}


def _options(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a value may be, ``null`` left out: a key without a default says so by itself."""
    return [each for each in spec.get("anyOf", [spec]) if each.get("type") != "null"]


def _range(spec: Mapping[str, Any]) -> str:
    words = {
        "minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"
    }  # fmt: skip
    return "".join(f" {word} {spec[bound]:g}" for bound, word in words.items() if bound in spec)


def _kind(spec: Mapping[str, Any]) -> str:
    found = []
    for each in _options(spec):
        if "enum" in each or "const" in each:
            choices = each.get("enum", [each.get("const")])
            found.append(", ".join(f"`{choice}`" for choice in choices))
        elif each.get("type") == "array":
            found.append(f"list of {_kind(each['items'])}")
        else:
            named = _FORMATS.get(each.get("format", "")) or _KINDS[each["type"]]
            found.append(named + _range(each))
    return " or ".join(dict.fromkeys(found))


def _default(spec: Mapping[str, Any], *, required: bool) -> str:
    if required:
        return "**needed**"
    default = spec.get("default")
    if default is None or default == []:
        return ""
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _section_of(spec: Mapping[str, Any]) -> str | None:
    """The name of the section that the value is; None for a plain value."""
    references = [each["$ref"] for each in _options(spec) if "$ref" in each]
    return references[0].rpartition("/")[2] if references else None


def _section(
    path: str, definition: Mapping[str, Any], definitions: Mapping[str, Any]
) -> Iterator[str]:
    inside: list[tuple[str, Mapping[str, Any]]] = []
    rows = []
    for key, spec in definition["properties"].items():
        name = _section_of(spec)
        if name is None:
            default = _default(spec, required=key in definition.get("required", ()))
            meaning = spec.get("description", "").replace("|", "\\|")
            rows.append(f"| `{key}` | {_kind(spec)} | {default} | {meaning} |")
        else:
            inside.append((key, definitions[name]))
            off = "default" in spec and spec["default"] is None
            rows.append(
                f"| `{key}` | [section](#{_anchor(f'{path}.{key}')}) | "
                f"{'left out' if off else ''} | {spec.get('description', '')} |"
            )
    about = definition.get("description", "").split("\n\n")[0].replace("\n", " ")
    yield f"## {path}\n\n{about} {ABOUT.get(path, '')}".rstrip() + "\n"
    yield "\n".join(("| key | value | default | meaning |", "|---|---|---|---|", *rows)) + "\n"
    for key, each in inside:
        yield from _section(f"{path}.{key}", each, definitions)


def _anchor(path: str) -> str:
    return path.lower().replace(".", "")


def page() -> str:
    """The whole page."""
    schema = config_schema()
    definitions = schema["$defs"]
    parts = [HEAD]
    plain = {}
    for key, spec in schema["properties"].items():
        name = _section_of(spec)
        if key == "cameras":
            parts += _section("cameras.NAME", definitions["Camera"], definitions)
        elif name is None:
            plain[key] = spec
        else:
            parts += _section(key, definitions[name], definitions)
    alone = [
        f"| `{key}` | {_kind(spec)} | {_default(spec, required=False)} | {spec['description']} |"
        for key, spec in plain.items()
    ]
    head = f"## {', '.join(plain)}\n\n| key | value | default | meaning |\n|---|---|---|---|\n"
    return "\n".join((*parts, head + "\n".join(alone) + "\n"))
