"""Fetches models: tries an entry's sources in order and lets in only the file with its hash.

Nothing fetched is ever run or imported. The file appears in the cache whole or not at all, and
two processes that fetch the same model at the same time do not disturb each other.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Literal

from streamer.errors import ModelError
from streamer.inference.entries import MAX_MODEL_BYTES, ModelEntry, ModelSource, load_registry
from streamer.inference.origins import FetchRules, SourceFailed, receive
from streamer.inference.registry import (
    PATH_VARIABLE,
    entry_of,
    looks_like_a_page,
    model_path,
    read_model,
)

_STALE_S = 24 * 3600.0  # no fetch lasts this long: an older .part file is of a process that died


@dataclass(frozen=True, slots=True)
class PullStep:
    """Where a fetch stands.

    ``source`` says in words where from; ``done`` and ``total`` are bytes, ``total`` None while
    nobody knows. ``state`` is ``trying`` (the source is being asked), ``receiving``, ``failed``
    (``detail`` says why; the next source follows) or ``ready`` (the last step; ``detail`` is the
    path of the file).
    """

    source: str
    state: Literal["trying", "receiving", "failed", "ready"]
    done: int = 0
    total: int | None = None
    detail: str = ""


def pull(
    name: str,
    *,
    cache: Path | None = None,
    registry: Mapping[str, ModelEntry] | None = None,
    rules: FetchRules | None = None,
) -> Generator[PullStep, None, None]:
    """Fetch the model ``name`` into the cache, step by step; iterate to the end to get the file.

    ::

        for step in pull("retinaface_mnet025"):
            print(step.state, step.done, step.total)

    A file that is there with the right hash is kept; one with a wrong hash is replaced. Leaving
    the loop early removes what was received so far. Raises :class:`ModelError` for a name the
    registry does not know, a cache that cannot be written, or when no source gave the file: then
    the text holds the reason of each.
    """
    entry = entry_of(name, load_registry() if registry is None else registry)
    target = model_path(name, cache)
    rules = FetchRules() if rules is None else rules
    if _is_there(target, entry):
        size = target.stat().st_size
        yield PullStep("the cache", "ready", size, size, str(target))
        return
    failures = []
    for source in entry.sources:
        yield PullStep(str(source), "trying", 0, entry.size)
        try:
            done = yield from _fetch(entry, source, target, rules)
        except SourceFailed as failure:
            failures.append(f"{source}: {failure}")
            yield PullStep(str(source), "failed", 0, entry.size, str(failure))
        else:
            yield PullStep(str(source), "ready", done, done, str(target))
            return
    raise ModelError(
        f"no source gave the model {name} ({'; '.join(failures)}); try again when they can be "
        f"reached, or bring the file with SHA-256 {entry.sha256} and put it at {target} "
        f"or name it in {PATH_VARIABLE}"
    )


def _is_there(target: Path, entry: ModelEntry) -> bool:
    try:
        read_model(entry.name, target, registry={entry.name: entry})
    except ModelError:
        return False
    return True


def _fetch(
    entry: ModelEntry, source: ModelSource, target: Path, rules: FetchRules
) -> Generator[PullStep, None, int]:
    """Receive the file beside its place, check it, then move it there in one step.

    Returns its size in bytes. The part file is removed however this ends, short of ``kill -9``;
    what that leaves behind is swept by a later fetch.
    """
    limit = MAX_MODEL_BYTES if entry.size is None else entry.size
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        with _part_of(target) as part, closing(receive(source, rules)) as chunks:
            digest = hashlib.sha256()
            done = 0
            for chunk, total in chunks:
                if done == 0 and looks_like_a_page(chunk):
                    raise SourceFailed("it gave a web page instead of a model")
                done += len(chunk)
                if max(done, total or 0) > limit:
                    raise SourceFailed(f"it gave more than the {limit} bytes a model may have")
                part.write(chunk)
                digest.update(chunk)
                yield PullStep(str(source), "receiving", done, total or entry.size)
            if digest.hexdigest() != entry.sha256:
                raise SourceFailed(
                    f"it gave {done} bytes with SHA-256 {digest.hexdigest()}, "
                    f"not the {entry.sha256} of the registry"
                )
            _put_in_place(part, target)
            return done
    except OSError as error:  # of a source nothing comes but SourceFailed: this is our own disk
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise ModelError(
            f"{target.parent} cannot be written ({reason}); make room or give this user the "
            f"right to write there, or name a file you fetched yourself in {PATH_VARIABLE}"
        ) from None


@contextmanager
def _part_of(target: Path) -> Iterator[IO[bytes]]:
    """A new file of our own beside ``target``, gone at the end unless it was moved away."""
    with NamedTemporaryFile(
        dir=target.parent, prefix=f".{target.name}.", suffix=".part", delete=False
    ) as part:
        try:
            yield part
        finally:
            Path(part.name).unlink(missing_ok=True)


def _put_in_place(part: IO[bytes], target: Path) -> None:
    """Make the bytes durable, then let them appear under their name at once."""
    part.flush()
    os.fchmod(part.fileno(), 0o644)
    os.fsync(part.fileno())
    Path(part.name).replace(target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _sweep(target: Path) -> None:
    """Remove part files of processes that were killed long ago."""
    for part in target.parent.glob(f".{target.name}.*.part"):
        with suppress(OSError):  # another process may sweep at the same time
            if time.time() - part.stat().st_mtime > _STALE_S:
                part.unlink()
