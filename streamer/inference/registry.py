"""Where the files of the models lie, and reading them with trust.

A model is trusted by the SHA-256 of its bytes and by nothing else. The bytes are read once, and
the hash is taken of those very bytes, so a file swapped after the check cannot get in. What is
known of each model is in :mod:`streamer.inference.entries`, fetching in
:mod:`streamer.inference.fetch`; this module never touches the network.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from streamer.errors import ModelError
from streamer.inference.entries import (
    DEFAULT_MODEL,
    MAX_MODEL_BYTES,
    MODEL_NAME,
    SHA256,
    ModelEntry,
    load_registry,
)
from streamer.resources import cache_folder

__all__ = [
    "DEFAULT_MODEL",
    "LoadedModel",
    "ModelCheck",
    "ModelEntry",
    "entry_of",
    "load_model",
    "load_registry",
    "locate",
    "model_path",
    "read_model",
    "verify",
]

PATH_VARIABLE: Final = "RETINAFACE_MODEL_PATH"
"""Environment variable that names a model file, or a folder of ``NAME.onnx`` files."""

_LISTED = 12  # file names shown in one message


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model's bytes, already checked.

    ``name`` is what was really read: the registry's name for this hash, or the file's own stem
    for a file that only the configuration vouches for. ``sha256`` is the hash of ``content``.
    """

    name: str
    sha256: str
    content: bytes = field(repr=False)
    path: Path


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """What :func:`verify` found about one cached file. ``problem`` is empty when it is good."""

    name: str
    path: Path
    problem: str

    @property
    def good(self) -> bool:
        """True when the file has the hash of the registry."""
        return not self.problem


def model_path(name: str, cache: Path | None = None) -> Path:
    """Where the cache keeps the model ``name``, there or not.

    Raises :class:`ModelError` for a name that cannot be a file name (``../x``).
    """
    if not MODEL_NAME.fullmatch(name):
        raise ModelError(
            f"{name!r} is not a model's name; set model.name to one that `streamer models list` "
            "shows"
        )
    return (cache if cache is not None else cache_folder()) / f"{name}.onnx"


def locate(
    name: str,
    *,
    environ: Mapping[str, str],
    path: str | Path | None = None,
    cache: Path | None = None,
) -> Path:
    """Find the file of the model ``name``; the answer is absolute and was there a moment ago.

    The first of these that is given decides, and none falls back to the next in silence: ``path``
    (the configuration's ``model.path``, a file), ``environ["RETINAFACE_MODEL_PATH"]`` (a file, or
    a folder that holds ``NAME.onnx``), ``cache`` (by default the user's cache folder). Nothing is
    resolved against the process's working folder: relative paths are refused.
    Raises :class:`ModelError`, which lists the models that are there.
    """
    if path is not None:
        file = _absolute(path, "model.path")
        if not file.is_file():
            raise ModelError(
                f"model.path names {file}, which is not a file ({_models_in(file.parent)}); "
                f"correct it, or leave it out and run `streamer models pull {name}`"
            )
        return file
    if given := environ.get(PATH_VARIABLE, ""):
        place = _absolute(given, PATH_VARIABLE)
        file = model_path(name, place) if place.is_dir() else place
        if not file.is_file():
            raise ModelError(
                f"{PATH_VARIABLE} leads to {file}, which is not a file "
                f"({_models_in(file.parent)}); put the model there, or unset the variable and "
                f"run `streamer models pull {name}`"
            )
        return file
    file = model_path(name, cache)
    if not file.is_file():
        raise ModelError(
            f"the model {name} is not at {file} ({_models_in(file.parent)}); "
            f"run `streamer models pull {name}`"
        )
    return file.absolute()


def load_model(
    name: str,
    *,
    environ: Mapping[str, str],
    path: str | Path | None = None,
    sha256: str | None = None,
    cache: Path | None = None,
    registry: Mapping[str, ModelEntry] | None = None,
) -> LoadedModel:
    """Find the model ``name`` (see :func:`locate`) and read it (see :func:`read_model`).

    Raises :class:`ModelError` when it is missing or is not the file it should be.
    """
    registry = load_registry() if registry is None else registry
    if path is None and not environ.get(PATH_VARIABLE) and sha256 is None:
        entry_of(name, registry)
    file = locate(name, environ=environ, path=path, cache=cache)
    return read_model(name, file, registry=registry, sha256=sha256)


def read_model(
    name: str,
    file: Path,
    *,
    sha256: str | None = None,
    registry: Mapping[str, ModelEntry] | None = None,
) -> LoadedModel:
    """Read ``file`` once and check the hash of the bytes that are returned.

    With ``sha256`` (the configuration's ``model.sha256``) the file must have that hash. Without
    it, a file called ``NAME.onnx`` after a registry model must be that model, and any other file
    must be one of the registry's, whatever it is called.
    Raises :class:`ModelError` when the file cannot be read, is above 1 GiB or has another hash.
    """
    registry = load_registry() if registry is None else registry
    content = read_bounded(file)
    found = hashlib.sha256(content).hexdigest()
    known = {entry.sha256: entry.name for entry in registry.values()}
    if sha256 is not None:
        if not SHA256.fullmatch(sha256.lower()):
            raise ModelError("model.sha256 is not a SHA-256; write its 64 hexadecimal digits")
        wanted: Iterable[str] = (sha256.lower(),)
        remedy = "correct model.sha256 or bring the file it belongs to"
    elif name in registry and file.name == f"{name}.onnx":
        wanted = (registry[name].sha256,)
        remedy = f"delete the file and run `streamer models pull {name}`"
    else:
        wanted = known
        remedy = f'if you trust this file, set model.sha256 to "{found}"'
    if found not in wanted:
        raise ModelError(
            f"{file} is not the model it should be: {_resemblance(content)}its SHA-256 is {found}"
            f"{_instead(wanted)}; {remedy}"
        )
    return LoadedModel(known.get(found, file.stem), found, content, file)


def verify(
    *, cache: Path | None = None, registry: Mapping[str, ModelEntry] | None = None
) -> list[ModelCheck]:
    """Hash every registry model that is in the cache; models that are not there are left out."""
    registry = load_registry() if registry is None else registry
    checks = []
    for name in registry:
        file = model_path(name, cache)
        if not os.path.lexists(file):
            continue
        try:
            read_model(name, file, registry=registry)
            problem = ""
        except ModelError as error:
            problem = str(error)
        checks.append(ModelCheck(name, file, problem))
    return checks


def entry_of(name: str, registry: Mapping[str, ModelEntry]) -> ModelEntry:
    """The entry called ``name``; raises :class:`ModelError` that lists the names there are."""
    try:
        return registry[name]
    except KeyError:
        raise ModelError(
            f"there is no model {name!r}; set model.name to one of {', '.join(registry)}, "
            "or set model.path to your own file"
        ) from None


def read_bounded(file: Path, limit: int = MAX_MODEL_BYTES) -> bytes:
    """The bytes of the regular file ``file``, ``limit`` at most.

    Raises :class:`ModelError` when it cannot be read, is empty, is too large, or is no regular
    file: a pipe would wait for ever.
    """
    try:
        with open(file, "rb", opener=_open_without_waiting) as opened:
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModelError(f"{file} is not a regular file; name a model file")
            content = b"" if status.st_size > limit else opened.read(limit + 1)
            size = max(status.st_size, len(content))  # it may have grown since
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise ModelError(
            f"{file} cannot be read ({reason}); check that it is there and may be read by this user"
        ) from None
    if size > limit:
        raise ModelError(f"{file} has {size} bytes, above the limit of {limit}; name a model file")
    if not content:
        raise ModelError(f"{file} is empty; delete it and fetch the model again")
    return content


def looks_like_a_page(content: bytes) -> bool:
    """True when ``content`` begins as HTML or XML does; an ONNX file never begins with ``<``."""
    return content[:64].lstrip().startswith(b"<")


def _open_without_waiting(file: str, flags: int) -> int:
    return os.open(file, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _absolute(given: str | Path, where: str) -> Path:
    place = Path(given)
    if not place.is_absolute():
        raise ModelError(f"{where} is {str(given)!r}, a relative path; write it from the root, /")
    return place


def _models_in(folder: Path) -> str:
    try:
        names = sorted(p.name for p in folder.glob("*.onnx") if p.name.isprintable())
    except OSError:
        names = []
    if not names:
        return "no models are there"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"there are {', '.join(names[:_LISTED])}{more}"


def _resemblance(content: bytes) -> str:
    if looks_like_a_page(content):
        return "it is a web page, and "
    if content.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, and "
    return ""


def _instead(wanted: Iterable[str]) -> str:
    hashes = list(wanted)
    return f", not {hashes[0]}" if len(hashes) == 1 else ", which the registry does not know"
