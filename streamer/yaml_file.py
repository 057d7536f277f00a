"""Reads a YAML file that a person wrote: keys once, no tags, bounded. The only door to YAML."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from streamer.errors import ConfigError

MAX_FILE_BYTES = 1 << 20
MAX_DEPTH = 20
_QUOTED = re.compile(r"""(?P<sign>'(?:<[a-z ]+>|[][{},:?&*!|>-])')|'.*'|".*\"""", re.DOTALL)
MAX_SECRET_BYTES = 4096
_VARIABLE = re.compile(
    r"\$\{(?:file:(?P<file>/[^}]+)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?)\}"
)


class Unreadable(ConfigError):
    """The system does not let the file be read, now; later it may."""


class Key(str):
    """A key of a file, which knows on which ``line`` it stands, from 1."""

    line: int

    def __new__(cls, text: str, line: int) -> Key:
        """A key that is ``text`` and no more to whom the line is nothing."""
        made = super().__new__(cls, text)
        made.line = line
        return made


class _UniqueKeys(yaml.SafeLoader):
    """A safe loader that refuses a key given twice instead of keeping the last."""


def _unique_mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value in seen:
            raise yaml.constructor.ConstructorError(
                None, None, "this key is there twice", key.start_mark
            )
        if isinstance(key, yaml.ScalarNode):
            seen.add(key.value)
    loader.flatten_mapping(node)
    scalars = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    lines = {key.value: key.start_mark.line + 1 for key in scalars}
    made = loader.construct_mapping(node, deep=True)
    return {
        Key(key, lines[key]) if isinstance(key, str) and key in lines else key: value
        for key, value in made.items()
    }


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in the file at ``path``; its keys that are words are each a :class:`Key`.

    Raises :class:`Unreadable` when the system does not give it, else ConfigError, naming the line.
    """
    try:
        text = _bytes_of(path).decode("utf-8-sig")
    except OSError as error:
        raise Unreadable(
            [f"{path}: cannot be read ({error.strerror}); name a YAML file, see configs/"]
        ) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text; save it as UTF-8 YAML"]) from None
    try:
        values = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError([f"{path}{where}: {_problem(error)}; mend the YAML there"]) from None
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError):
        raise ConfigError([f"{path}: is not YAML that can be read; mend it"]) from None
    if not isinstance(values, dict):
        raise ConfigError([f'{path}: must start with "cameras:" and name at least one camera'])
    return values


def _bytes_of(path: Path) -> bytes:
    """What is in the file at ``path``; it never waits, as opening a pipe would."""
    with open(path, "rb", opener=_open_now) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ConfigError(
                [f"{path}: is a pipe or a device and no file; write the configuration to a file"]
            )
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError([f"{path}: a configuration is at most 1 MiB; is this the right file?"])
    return content


def _open_now(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _problem(error: yaml.MarkedYAMLError) -> str:
    """What is wrong, without the file's own words, which may be half a password.

    PyYAML quotes an unknown alias, a tag or a strange character. Signs of YAML itself stay.
    """
    return _QUOTED.sub(lambda match: match["sign"] or "…", error.problem or "it cannot be read")


class Variables:
    """Replaces ``${NAME}`` and ``${file:/PATH}`` in nested values.

    A part that YAML aliases share is read once.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Take the values from ``environ``."""
        self._environ = environ
        self._filled: dict[int, Any] = {}
        self._inside: set[int] = set()
        self.problems: list[tuple[tuple[object, ...], str]] = []

    def fill(self, value: Any, at: tuple[object, ...] = ()) -> Any:
        """``value`` with every variable replaced.

        ``problems`` has where a name is missing (keys and numbers of items, which may hold
        secrets) and a sentence. Raises ConfigError when ``value`` is nested deeper than
        :data:`MAX_DEPTH` or in itself.
        """
        if isinstance(value, str):
            return _VARIABLE.sub(lambda match: self._value(match, at), value)
        if not isinstance(value, dict | list):
            return value
        if id(value) in self._inside or len(self._inside) > MAX_DEPTH:
            raise ConfigError(["configuration: is nested too deep or in itself; nothing here is"])
        if id(value) not in self._filled:
            self._inside.add(id(value))
            self._filled[id(value)] = (
                {key: self.fill(item, (*at, key)) for key, item in value.items()}
                if isinstance(value, dict)
                else [self.fill(item, (*at, i)) for i, item in enumerate(value)]
            )
            self._inside.remove(id(value))
        return self._filled[id(value)]

    def _value(self, match: re.Match[str], at: tuple[object, ...]) -> str:
        if match["file"] is not None:
            return self._line_of(match["file"], at) or "unread"  # a good part of any URL
        found = self._environ.get(match["name"], match["default"])
        if found is None:
            self.problems.append(
                (at, f"the environment variable {match['name']} is not set; set it")
            )
            return match[0]
        return found

    def _line_of(self, path: str, at: tuple[object, ...]) -> str:
        """The line in the file at ``path``; empty, with a problem noted, where there is none."""
        try:
            with open(path, "rb", opener=_open_now) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise OSError(None, "it is no file")
                text = file.read(MAX_SECRET_BYTES + 1).decode().removesuffix("\n")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8 text"
            self.problems.append((at, f"the file {path} cannot be read ({why}); name another"))
            return ""
        if not text.isprintable() or not text or len(text) >= MAX_SECRET_BYTES:
            self.problems.append((at, f"the file {path} must hold one short line; write it anew"))
            return ""
        return text
