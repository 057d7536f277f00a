"""From configuration to where results go: keys, files and addresses become plain arguments here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from streamer.config_sections import ZeroMq
from streamer.errors import BindError, ConfigError
from streamer.keys import BadKey
from streamer.publish.gate import Curve
from streamer.publish.zeromq import ZeroMqSink
from streamer.types import Beat


def open_zeromq(
    section: ZeroMq,
    *,
    base_folder: Path,
    boot_id: str,
    model: str,
    final: Callable[[], Beat],
    clock: Callable[[], float],
) -> ZeroMqSink:
    """The sink of ``publish.zeromq``, listening. Raises BindError, and ConfigError for keys."""
    keys = section.curve
    with naming("publish.zeromq.bind"):
        try:
            return ZeroMqSink(
                section.bind,
                replay=section.replay,
                history_bytes=section.history_mb * 2**20,
                history_s=section.history_s,
                form=section.format,
                when=section.when,
                expected=section.expected,
                curve=None
                if keys is None
                else Curve(base_folder / keys.server_key, base_folder / keys.clients),
                boot_id=boot_id,
                model=model,
                final=final,
                clock=clock,
            )
        except BadKey as error:
            raise ConfigError([f"publish.zeromq.curve: {error}"]) from None


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Name the key of the configuration in what is said of an address that cannot be bound."""
    try:
        yield
    except BindError as error:
        raise BindError(f"{key}: {error}") from None
