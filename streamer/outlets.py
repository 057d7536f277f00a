"""From configuration to where results go: keys, files and addresses become plain arguments here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import random

from streamer.capture.backoff import Backoff
from streamer.config_sections import Restream, ZeroMq
from streamer.errors import BindError, ConfigError
from streamer.keys import BadKey
from streamer.publish.attach import Attachments
from streamer.publish.gate import Curve
from streamer.publish.restream import Form, RestreamSink
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
                attach=None
                if section.attach == "none"
                else Attachments(
                    section.attach,
                    width=section.attach_width,
                    event_bytes=section.attach_kb * 1000,
                    bytes_per_s=section.attach_kb_s * 1000.0,
                    clock=clock,
                ),
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


def open_restream(section: Restream, *, clock: Callable[[], float]) -> RestreamSink:
    """The sink of ``publish.restream``; nothing is dialled yet."""
    form = Form(section.width, section.fps, section.kbps, section.transport)
    # It waits as for a camera: half a minute at most, and longer where a password is refused.
    waits = partial(Backoff, first_s=0.5, most_s=30.0, auth_s=60.0, random=random)
    return RestreamSink(section.url, form, waits=waits, clock=clock)


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Name the key of the configuration in what is said of an address that cannot be bound."""
    try:
        yield
    except BindError as error:
        raise BindError(f"{key}: {error}") from None
