"""What a configuration may say. The only door to pydantic-settings.

A YAML file, then environment variables ``STREAMER__SECTION__KEY`` over it. Unknown keys are
refused, every fault is listed with its path, and no message repeats a value, since values hold
passwords. Nor does it repeat a key that is none of ours: an unquoted comma or a URL in the wrong
place makes a key of half a password. Such a key is told by its place, as ``<key 2>``, and its line.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings.exceptions import SettingsError

from streamer.config_sections import (
    CAMERA_NAME,
    Camera,
    CameraName,
    Http,
    Inference,
    Model,
    Publish,
)
from streamer.errors import ConfigError
from streamer.yaml_file import Key, Variables, read_yaml

__all__ = [
    "Camera",
    "Config",
    "Http",
    "Model",
    "config_schema",
    "load_config",
    "parse_camera",
    "parse_config",
]

MAX_CAMERAS = 1000
DEVICE = r"^(auto|cpu|openvino|(cuda|tensorrt)(:[0-9]{1,2})?)$"
DEVICES = "auto, cpu, cuda, cuda:N, tensorrt, tensorrt:N or openvino"
_PREFIX = "STREAMER__"


class Config(BaseSettings):
    """A whole configuration; every key but ``cameras`` is optional."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        title="streamer",
    )

    cameras: dict[CameraName, Camera] = Field(min_length=1, max_length=MAX_CAMERAS)
    model: Model = Field(default=Model())
    device: str = Field("auto", pattern=DEVICE, description=f"{DEVICES}; auto alone may fall back")
    inference: Inference = Field(default=Inference())
    publish: Publish = Field(default=Publish())
    http: Http | None = Field(default=Http(), description="null switches it off")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings passes all by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let what the caller gives decide alone; :func:`parse_config` merges the environment."""
        return (init_settings,)


def load_config(path: Path, environ: Mapping[str, str]) -> Config:
    """Read a YAML file, put ``STREAMER__…`` variables over it, and check everything.

    ``${NAME}`` and ``${NAME:-default}`` inside values are replaced from ``environ``. Raises
    :class:`ConfigError` listing every fault as "path: what is wrong and what to do".
    """
    return parse_config(read_yaml(path), environ)


def parse_config(values: dict[str, Any], environ: Mapping[str, str]) -> Config:
    """Check ``values`` (as read from YAML) with the environment over them; see load_config."""
    variables = Variables(environ)
    filled = variables.fill(values)
    problems = [f"{_shown(at, values)}: {what}" for at, what in variables.problems]
    merged = _merge(filled, _from_environment(environ, problems))
    try:
        config = Config(**merged)
    except ValidationError as error:
        named = _named(environ)
        details = error.errors(include_input=False)
        problems += [_sentence(detail, merged, named) for detail in details]
    except TypeError:
        problems.append("keys must be words, such as cameras, model or publish")
    if problems:
        raise ConfigError(problems)
    return config


def parse_camera(name: str, values: Mapping[str, Any]) -> Camera:
    """Check the section of one camera that came from elsewhere than a file, as JSON values.

    Nothing is replaced from the environment and nothing is converted: "5" is no number. Raises
    :class:`ConfigError` listing every fault.
    """
    try:
        return Camera.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        details = error.errors(include_input=False)
        whole = {"cameras": {name: values}}
        problems = [
            _sentence({**detail, "loc": ("cameras", name, *detail["loc"])}, whole)
            for detail in details
        ]
        raise ConfigError(problems) from None


def config_schema() -> dict[str, Any]:
    """The JSON schema of a configuration, for editors."""
    return Config.model_json_schema()


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    """What ``STREAMER__…`` variables say, as nested values; the longer path wins.

    Each is read by itself, so that one that cannot be read is named. ``null`` is None, also for
    a whole section, which switches it off.
    """
    known = {name.upper() for name in Config.model_fields}
    read: dict[str, Any] = {}
    ours = [name for name in environ if name.startswith(_PREFIX)]
    for name in sorted(ours, key=lambda name: (name.count("__"), name)):
        path = name.removeprefix(_PREFIX).lower().split("__")
        if path[0].upper() not in known:
            sections = ", ".join(sorted(known))
            problems.append(f"{name}: unknown setting; the sections are {sections}")
            continue
        if environ[name].strip().lower() == "null":
            value: Any = None
            for part in reversed(path):
                value = {part: value}
            read = _merge(read, value)
            continue
        # pydantic-settings reads the process environment; give it this one variable instead.
        source = EnvSettingsSource(Config, env_prefix=_PREFIX, env_nested_delimiter="__")
        source.env_vars = {name.lower(): environ[name]}
        try:
            read = _merge(read, source())
        except SettingsError:  # its text holds the value
            problems.append(f"{name}: cannot be read; a section or a list is given as JSON")
    return read


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        both = isinstance(value, dict) and isinstance(under, dict)
        merged[key] = _merge(under, value) if both and under is not None else value
    return merged


_MESSAGES = {
    "missing": "is required; add it",
    "string_type": "must be text; put it in quotes",
    "dict_type": "must be a section of its own (key: value lines)",
    "model_type": "must be a section of its own (key: value lines)",
    "model_attributes_type": "must be a section of its own (key: value lines)",
    "too_short": "must name at least one camera",
    "too_long": f"can hold {MAX_CAMERAS} cameras at most",
}


def _sentence(
    detail: ErrorDetails, values: Mapping[Any, Any], named: Set[tuple[str, ...]] = frozenset()
) -> str:
    """One fault of ``values`` as "path: what is wrong and what to do", without the value.

    ``named`` are paths that are no secrets, since variables of the environment are named so.
    """
    location = [part for part in detail["loc"] if part != "[key]"]
    path = _shown(location, values, named) or "configuration"
    kind = detail["type"]
    if kind == "extra_forbidden":
        hidden = _HIDDEN if "<key" in path.rpartition(".")[2] else ""
        return f"{path}: unknown key{hidden}; {_hint(location)}"
    if "[key]" in detail["loc"]:
        return (
            f"{path}: a camera's name is 1 to 63 of a-z, 0-9, - and _, "
            "and starts with a letter or digit; rename it"
        )
    if path == "device" and kind == "string_pattern_mismatch":
        return f"device: must be {DEVICES}"
    if path.endswith("zeromq.bind") and kind == "string_pattern_mismatch":
        return f"{path}: must be tcp://host:port or ipc:///path"
    if kind == "value_error":
        return f"{path}: {detail['ctx']['error']}"
    if kind in ("too_short", "too_long") and location != ["cameras"]:
        most = detail.get("ctx", {}).get("max_length")
        return f"{path}: must have " + (f"at most {most} items" if most else "at least one item")
    message = _MESSAGES.get(kind) or detail["msg"][:1].lower() + detail["msg"][1:]
    return f"{path}: {message.replace('input should', 'must').replace('Input should', 'must')}"


_HIDDEN = " (not shown, it may be part of a password; text that holds a comma needs quotes)"
_LIKE_OURS = re.compile(r"[A-Za-z_]{1,40}")


def _shown(
    location: Sequence[object], values: Any, named: Set[tuple[str, ...]] = frozenset()
) -> str:
    """The path of ``location`` in ``values``; a key that may hold a secret is ``<key N>``.

    Then the line in the file follows, where it is known.
    """
    shown = []
    line = ""
    inside = values
    for depth, part in enumerate(map(str, location)):
        before = [str(each) for each in location[:depth]]
        if not isinstance(inside, Mapping):
            shown.append(part)  # the number of an item
            is_item = isinstance(inside, list) and part.isdecimal() and int(part) < len(inside)
            inside = inside[int(part)] if is_item else None
            continue
        keys = {str(key): (place, key) for place, key in enumerate(inside, 1)}
        place, key = keys.get(part, (None, None))
        if isinstance(key, Key):
            line = f" (line {key.line})"
        elif key is not None:  # a number, say: whoever reads the line above would look there
            line = ""
        is_camera = before == ["cameras"] and re.fullmatch(CAMERA_NAME, part)
        if is_camera or _near(part, before) or _begins_one(named, (*before, part)):
            shown.append(part)
        else:
            shown.append("<key>" if place is None else f"<key {place}>")
        inside = None if place is None else inside[key]
    return ".".join(shown) + (line if any("<key" in part for part in shown) else "")


def _named(environ: Mapping[str, str]) -> set[tuple[str, ...]]:
    """The paths that ``STREAMER__…`` variables name."""
    ours = (name.removeprefix(_PREFIX) for name in environ if name.startswith(_PREFIX))
    return {tuple(name.lower().split("__")) for name in ours}


def _begins_one(paths: Set[tuple[str, ...]], path: tuple[str, ...]) -> bool:
    return any(each[: len(path)] == path for each in paths)


def _hint(location: Sequence[object]) -> str:
    """Which key was perhaps meant, among those of the section that ``location`` lies in."""
    *inside, last = map(str, location)
    near = _near(last, inside)
    return f"did you mean {near}?" if near else f"the keys here are {', '.join(_fields(inside))}"


def _near(key: str, inside: list[str]) -> str | None:
    """The key of ours in section ``inside`` that ``key`` is, or was meant to be."""
    if not _LIKE_OURS.fullmatch(key) and key not in _fields(inside):
        return None
    found = difflib.get_close_matches(key.lower(), _fields(inside), n=1, cutoff=0.7)
    return found[0] if found else None


def _fields(inside: list[str]) -> list[str]:
    """The keys of section ``inside``; none when there is no such section."""
    section: type[BaseModel] | None = Config
    if inside[:1] == ["cameras"]:
        section = Camera if len(inside) == 2 else None
        inside = []
    for part in inside:
        field = section.model_fields.get(part) if section else None
        section = _section(field.annotation) if field else None
    return list(section.model_fields) if section else []


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section class inside ``Section | None``."""
    options = getattr(annotation, "__args__", (annotation,))
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
