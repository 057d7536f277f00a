"""The sections of a configuration for bridges to other brokers; see docs/bridges.md.

Secrets are given as ``${NAME}`` from the environment or as a file, and print as asterisks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator

from streamer.section import Section

When = Literal["all", "faces", "changes", "never"]

_WHEN = (
    "which results: changes (other faces than before), faces (those with faces, and the first "
    "without), all, or never"
)
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
