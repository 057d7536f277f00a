"""The sections of a configuration for bridges to other brokers; see docs/bridges.md.

Secrets are given as ``${NAME}`` from the environment or as a file, and print as asterisks.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator

from streamer.section import Section

When = Literal["all", "faces", "changes", "never"]

_WHEN = (
    "which results: changes (other faces than before), faces (those with faces, and the first "
    "without), all, or never"
)
_BEST = "also tell when a face is seen better than before"
_HOOK = re.compile(
    r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?([/?][!-~]*)?|https?://\[[0-9a-fA-F:.]+\]"
    r"(:[0-9]{1,5})?([/?][!-~]*)?"
)
Server = Annotated[
    str, StringConstraints(pattern=r"^(nats|tls)://[A-Za-z0-9.-]+(:[0-9]{1,5})?$", max_length=300)
]
_TRACKS = "also tell which faces appear and leave"
_RATE = "most results of one camera in a second; what is more waits for the next or is left out"


class Login(Section):
    """A user, a password and TLS."""

    username: str | None = Field(None, description="user name")
    password: SecretStr | None = Field(None, description='such as "${BROKER_PASSWORD}"')
    password_file: Path | None = Field(None, description="file with the password, instead of it")
    tls: bool = Field(False, description="encrypt, and verify the other end's certificate")
    ca_file: Path | None = Field(None, description="PEM file of authorities; else the system's")
    cert_file: Path | None = Field(None, description="own certificate, PEM")
    key_file: Path | None = Field(None, description="its key, PEM")

    @model_validator(mode="after")
    def _fits(self) -> Login:
        if self.password is not None and self.password_file is not None:
            raise ValueError("give password or password_file, not both")
        if not self.tls and (self.ca_file or self.cert_file or self.key_file):
            raise ValueError("has files of certificates but no tls: true; add it")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together; give both")
        return self


class Mqtt(Login):
    """An MQTT broker: state of cameras and faces, and what Home Assistant needs to find them."""

    host: str = Field(min_length=1, max_length=253, description="name or address of the broker")
    port: int | None = Field(None, ge=1, le=65535, description="null: 1883, or 8883 with tls")
    client_id: str | None = Field(
        None, min_length=1, max_length=64, description="null: another one at each start"
    )
    topic: str = Field(
        "streamer",
        pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+){0,7}$",
        max_length=128,
        description="what all topics begin with; another one for each streamer of a broker",
    )
    discovery: str | None = Field(
        "homeassistant",
        pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+){0,7}$",
        description="prefix of Home Assistant's discovery; null switches it off",
    )
    when: When = Field("changes", description=_WHEN)
    max_per_s: float = Field(2.0, gt=0, le=1000, description=_RATE)
    tracks: bool = Field(True, description=_TRACKS)
    off_delay_s: float = Field(
        5.0, ge=0, le=3600, description="presence ends when no face was seen for so many seconds"
    )


class Nats(Login):
    """A NATS server with JetStream: every chosen event is stored, once."""

    servers: tuple[Server, ...] = Field(
        min_length=1, max_length=16, description="of one cluster, each nats://host:port"
    )
    token: SecretStr | None = Field(None, description="instead of a user")
    token_file: Path | None = Field(None, description="file with the token, instead of it")
    stream: str = Field(
        "STREAMER", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="where events are stored"
    )
    subject: str = Field(
        "streamer",
        pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){0,7}$",
        max_length=128,
        description="what all subjects begin with: SUBJECT.CAMERA.KIND",
    )
    create: bool = Field(True, description="make the stream where there is none")
    max_age_days: float = Field(
        7.0, gt=0, le=3650, description="how long events are kept there, if it is made"
    )
    max_mb: int = Field(1024, ge=1, le=10_000_000, description="and how many MB of them")
    when: When = Field("changes", description=_WHEN)
    max_per_s: float = Field(2.0, gt=0, le=1000, description=_RATE)
    tracks: bool = Field(True, description=_TRACKS)
    best: bool = Field(False, description=_BEST)
    keep: int = Field(
        4096, ge=1, le=100_000, description="events held while the server is away; oldest go first"
    )

    @model_validator(mode="after")
    def _one_token(self) -> Nats:
        if self.token is not None and self.token_file is not None:
            raise ValueError("give token or token_file, not both")
        return self


def _good_hook(url: SecretStr) -> SecretStr:
    if not _HOOK.fullmatch(url.get_secret_value()):
        raise ValueError(
            "must be http://host… or https://host…, without a login; use bearer for one"
        )
    return url


class Webhook(Section):
    """A web server that events are posted to."""

    url: Annotated[SecretStr, AfterValidator(_good_hook)] = Field(
        description="http or https; it is not shown, since it may hold a secret"
    )
    secret: SecretStr | None = Field(None, description="what requests are signed with")
    secret_file: Path | None = Field(None, description="file with the secret, instead of it")
    bearer: SecretStr | None = Field(None, description="token for the Authorization header")
    bearer_file: Path | None = Field(None, description="file with the token, instead of it")
    ca_file: Path | None = Field(None, description="PEM file of authorities; else the system's")
    when: When = Field("never", description=_WHEN)
    max_per_s: float = Field(2.0, gt=0, le=1000, description=_RATE)
    tracks: bool = Field(True, description=_TRACKS)
    best: bool = Field(False, description=_BEST)
    cameras: bool = Field(True, description="also tell what each camera does")
    keep: int = Field(
        1024, ge=1, le=100_000, description="events held while the server is away; oldest go first"
    )

    @model_validator(mode="after")
    def _fits(self) -> Webhook:
        if self.secret is not None and self.secret_file is not None:
            raise ValueError("give secret or secret_file, not both")
        if self.bearer is not None and self.bearer_file is not None:
            raise ValueError("give bearer or bearer_file, not both")
        return self
