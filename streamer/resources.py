"""Finds the files that ship with streamer, in a checkout and in an installed wheel alike."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def repository() -> Path | None:
    """The checkout streamer runs from, or None when it is installed as a wheel."""
    root = _PACKAGE.parent
    return root if (root / "models" / "registry.toml").is_file() else None


def resource(name: str) -> Path:
    """Path of a shipped file: ``demo.mp4``, ``models/registry.toml``, ``configs/demo.yaml``.

    A wheel carries them all in ``streamer/assets``; a checkout keeps the folders that people
    edit at its top. Raises ``FileNotFoundError`` when it is in neither place.
    """
    for base in (_PACKAGE / "assets", repository()):
        if base is not None and (base / name).is_file():
            return base / name
    raise FileNotFoundError(f"{name} does not ship with this installation of streamer; reinstall")


def cache_folder() -> Path:
    """Where fetched models are kept: ``models/`` of a checkout, else the user's cache folder.

    That is ``$XDG_CACHE_HOME``, which must be absolute to count (XDG Base Directory
    Specification 0.8), else ``~/.cache``. Raises ``RuntimeError`` when there is no home either.
    """
    if (root := repository()) is not None:
        return root / "models"
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = cache if cache.is_absolute() else Path.home() / ".cache"
    return base / "streamer" / "models"
