"""From configuration to bridges: logins, certificates and addresses become plain arguments here."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from pydantic import SecretStr

from streamer import __version__
from streamer.bridge_sections import Login, Mqtt, Nats, Webhook
from streamer.config_sections import Publish
from streamer.errors import ConfigError
from streamer.protocols import ChangeSink
from streamer.publish.mqtt import MqttSink
from streamer.publish.nats import NatsSink
from streamer.publish.webhook import WebhookSink
from streamer.status import LinkStatus

_SECRET_CHARS: Final = 4096


@runtime_checkable
class Bridge(ChangeSink, Protocol):
    """A sink that passes on to another broker, which may be away."""

    @property
    def link(self) -> LinkStatus:
        """What the other end does."""


def open_bridges(
    section: Publish,
    *,
    base_folder: Path,
    boot_id: str,
    model: str,
    clock: Callable[[], float],
    wall_clock: Callable[[], float],
) -> Iterator[tuple[str, Bridge]]:
    """The bridges that are configured, each with its name, one after the other.

    ``wall_clock`` gives Unix seconds, for signatures. Raises MissingDependency, and ConfigError
    for files that cannot be read.
    """
    if section.mqtt is not None:
        yield "mqtt", _open_mqtt(section.mqtt, base_folder, boot_id, model, clock)
    if section.nats is not None:
        yield "nats", _open_nats(section.nats, base_folder, boot_id, model, clock)
    if section.webhook is not None:
        yield (
            "webhook",
            _open_webhook(section.webhook, base_folder, boot_id, model, clock, wall_clock),
        )


def _open_mqtt(
    section: Mqtt, base_folder: Path, boot_id: str, model: str, clock: Callable[[], float]
) -> MqttSink:
    key = "publish.mqtt"
    return MqttSink(
        section.host,
        section.port or (8883 if section.tls else 1883),
        boot_id=boot_id,
        model=model,
        version=__version__,
        base=section.topic,
        client_id=section.client_id,
        username=section.username,
        password=_secret(key, "password", section.password, section.password_file, base_folder),
        tls=_tls(key, section, base_folder),
        discovery=section.discovery,
        when=section.when,
        max_per_s=section.max_per_s,
        tracks=section.tracks,
        off_delay_s=section.off_delay_s,
        clock=clock,
    )


def _open_nats(
    section: Nats, base_folder: Path, boot_id: str, model: str, clock: Callable[[], float]
) -> NatsSink:
    key = "publish.nats"
    return NatsSink(
        section.servers,
        boot_id=boot_id,
        model=model,
        stream=section.stream,
        subject=section.subject,
        create=section.create,
        max_age_s=section.max_age_days * 86_400.0,
        max_bytes=section.max_mb * 2**20,
        username=section.username,
        password=_secret(key, "password", section.password, section.password_file, base_folder),
        token=_secret(key, "token", section.token, section.token_file, base_folder),
        tls=_tls(key, section, base_folder),
        when=section.when,
        max_per_s=section.max_per_s,
        tracks=section.tracks,
        best=section.best,
        keep=section.keep,
        clock=clock,
    )


def _open_webhook(
    section: Webhook,
    base_folder: Path,
    boot_id: str,
    model: str,
    clock: Callable[[], float],
    wall_clock: Callable[[], float],
) -> WebhookSink:
    key = "publish.webhook"
    return WebhookSink(
        section.url.get_secret_value(),
        boot_id=boot_id,
        model=model,
        version=__version__,
        secret=_secret(key, "secret", section.secret, section.secret_file, base_folder),
        bearer=_secret(key, "bearer", section.bearer, section.bearer_file, base_folder),
        tls=_context(key, section.ca_file, None, None, base_folder),
        when=section.when,
        max_per_s=section.max_per_s,
        tracks=section.tracks,
        best=section.best,
        cameras=section.cameras,
        keep=section.keep,
        clock=clock,
        wall_clock=wall_clock,
    )


def _secret(
    key: str, name: str, given: SecretStr | None, file: Path | None, base_folder: Path
) -> str | None:
    """The secret ``key.name`` or that of its file, whose last line end is none of it."""
    if file is None:
        return None if given is None else given.get_secret_value()
    try:
        with (base_folder / file).open(encoding="utf-8") as text:
            return text.read(_SECRET_CHARS).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(
            [f"{key}.{name}_file: {file} cannot be read ({why}); name a file with the {name}"]
        ) from None


def _tls(key: str, login: Login, base_folder: Path) -> ssl.SSLContext | None:
    if not login.tls:
        return None
    return _context(key, login.ca_file, login.cert_file, login.key_file, base_folder)


def _context(
    key: str, ca: Path | None, cert: Path | None, own: Path | None, base_folder: Path
) -> ssl.SSLContext:
    """What verifies the other end, with a certificate of one's own where given."""
    ca_file, cert_file, key_file = (None if p is None else base_folder / p for p in (ca, cert, own))
    try:
        context = ssl.create_default_context(cafile=ca_file)
        if cert_file is not None:
            context.load_cert_chain(cert_file, key_file, password=_no_password)
    except OSError as error:  # ssl's errors are such
        raise ConfigError(
            [f"{key}: its certificates cannot be read ({error.strerror}); see docs/bridges.md"]
        ) from None
    return context


def _no_password() -> str:
    """Instead of asking at the terminal for that of an encrypted key."""
    return ""
