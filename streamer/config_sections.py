"""The sections of a configuration: every key, its default, its bounds and what it means."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SecretStr,
    StringConstraints,
)

from streamer.bridge_sections import Mqtt, Nats, Webhook
from streamer.capture.schemes import check_url
from streamer.inference.entries import load_registry
from streamer.section import Section
from streamer.types import SourceUrl, redact
from streamer.vision.privacy import Mode

FILE = "file:"
"""What a token begins with that is read from a file."""

TOKEN_RULE = (
    "must be 16 to 512 letters, digits and signs without spaces (openssl rand -hex 24 makes "  # noqa: S105
    "one), or file: and the path of a file that holds it"
)


def _good_url(text: str) -> str:
    problem = check_url(text)
    if problem is not None:
        raise ValueError(problem)
    return text


def _good_input_size(size: int) -> int:
    if size % 32:
        lower = size // 32 * 32
        raise ValueError(f"must be a multiple of 32; {lower} and {lower + 32} are the nearest")
    return size


def _good_address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError('must be "host:port", such as "127.0.0.1:8080"')
    return text


def _good_origin(text: str) -> str:
    if re.fullmatch(
        r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?", text
    ):
        return text
    raise ValueError("must be an origin in lower case without a path, such as https://wall.example")


def is_token(text: str) -> bool:
    """Whether ``text`` can be a token: long enough that nobody guesses it, and fit for a header."""
    return 16 <= len(text) <= 512 and text.isascii() and text.isprintable() and " " not in text


CAMERA_NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
CameraName = Annotated[str, StringConstraints(pattern=CAMERA_NAME)]
Url = Annotated[str, AfterValidator(_good_url), PlainSerializer(redact)]
InputSize = Annotated[int, Field(ge=32, le=4096), AfterValidator(_good_input_size)]
Address = Annotated[str, AfterValidator(_good_address)]


class Camera(Section):
    """One camera or file."""

    source: Url = Field(
        description="rtsp(s)://, http(s)://, a file, webcam:0, /dev/video0, synthetic: or demo:"
    )
    transport: Literal["tcp", "udp"] = Field("tcp", description="how RTSP carries its packets")
    decoder: str = Field(
        "auto",
        pattern=r"^(auto|software|cuda(:[0-9]{1,2})?)$",
        description="what decodes a network camera: software, cuda or cuda:N; auto is software",
    )
    every: int = Field(1, ge=1, le=1000, description="look at one frame in N")
    max_fps: float | None = Field(
        None, gt=0, le=1000, description="look at so many frames a second at most"
    )
    input_size: InputSize | None = Field(
        None, description="long side of the detector's input for this camera; else the model's"
    )
    fill: bool = Field(
        True,
        description="predict the faces of frames that are not looked at because of every or "
        "max_fps, and those that a look missed, for half a second",
    )
    motion: bool = Field(
        False,
        description="look at a still scene only motion_floor_fps times a second, and at each frame "
        "from the instant something moves",
    )
    motion_floor_fps: float = Field(
        1.0, ge=0.1, le=30, description="looks a second at a still scene, with motion"
    )
    motion_sensitivity: float = Field(
        1.0, ge=0.1, le=10, description="at 2 half the change of brightness is motion, with motion"
    )
    pacing: Literal["adaptive", "all"] = Field(
        "adaptive",
        description="adaptive: a frame that cannot be in time is dropped, and under lasting load "
        "less is done; all: never for that reason. Files are always read whole",
    )
    max_age_s: float = Field(
        1.0,
        ge=0.05,
        le=60,
        description="no result older than so many seconds from capture is published (adaptive)",
    )
    priority: float = Field(
        1.0, ge=0.01, le=100, description="share of the detector while cameras wait: 2 is twice 1"
    )
    privacy: Mode = Field("none", description="cover faces in all pictures: blur, pixelate, box")
    stall_s: float = Field(
        5.0, ge=1, le=60, description="a live camera without a picture for so long is dialled anew"
    )
    first_frame_s: float = Field(
        10.0, ge=2, le=60, description="seconds from dialling to the first picture at most"
    )
    isolate: bool = Field(
        False,
        description="decode in a process of its own: a crash there costs this camera only",
    )
    tls_verify: bool = Field(
        True, description="refuse rtsps and https cameras whose certificate is not good"
    )
    ca_file: Path | None = Field(
        None, description="PEM file of authorities, or the camera's own certificate"
    )

    @property
    def url(self) -> SourceUrl:
        """The source as a URL that prints itself without its secrets."""
        return SourceUrl(self.source)


def _known_model(name: str) -> str:
    known = load_registry()
    if name != "auto" and name not in known:
        raise ValueError(f"there is no model {name!r}; use auto or one of {', '.join(known)}")
    return name


class Model(Section):
    """Which network, and what counts as a face."""

    name: Annotated[str, AfterValidator(_known_model)] = Field(
        "retinaface_mnet025",
        description="a name of `streamer models list`, or auto: by memory and what was measured",
    )
    path: Path | None = Field(None, description="a model file of your own, instead of the cache's")
    sha256: (
        Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)] | None
    ) = Field(None, description="hash of that file, when it is not one of the registry's")
    input_size: InputSize = Field(
        640, description="long side of the detector's input in pixels, a multiple of 32"
    )
    confidence: float = Field(
        0.6,
        gt=0,
        lt=1,
        description="least confidence of a new face, 0 to 1; one that is known is followed down to "
        "two thirds of it",
    )
    nms: float = Field(0.4, gt=0, le=1, description="boxes that overlap more (IoU) are one face")
    max_faces: int = Field(200, ge=1, le=1000, description="most faces in one picture")


class Curve(Section):
    """Keys, made with `streamer keys new`: events are encrypted, and only some may listen."""

    server_key: Path = Field(description="the server's NAME.key_secret")
    clients: Path = Field(
        description="folder of NAME.key files that may listen, or a file with a key in each line"
    )


class ZeroMq(Section):
    """Where events are published."""

    bind: str = Field(
        "tcp://127.0.0.1:5555",
        pattern=r"^(tcp|ipc)://.+",
        description="a ZeroMQ endpoint, tcp://host:port or ipc:///path",
    )
    replay: str | None = Field(
        None,
        pattern=r"^(tcp|ipc)://.+",
        description="where subscribers ask for what they missed, as tcp://127.0.0.1:5556",
    )
    history_mb: int = Field(64, ge=1, le=4096, description="memory for what may be asked for, MB")
    history_s: float = Field(300.0, ge=1, le=86_400, description="how far back one may ask, s")
    format: Literal["json", "msgpack"] = Field("json", description="how events are written")
    when: Literal["all", "faces", "changes"] = Field(
        "all",
        description="which results are published: all, those with faces (and the first without), "
        "or those whose faces are others than before",
    )
    expected: bool = Field(
        False, description="each face also says where it is expected at the instant of publishing"
    )
    attach: Literal["none", "crops", "frame"] = Field("none", description="JPEGs in the events")
    attach_width: int = Field(640, ge=160, le=1920, description="width of such a frame, pixels")
    attach_kb: int = Field(200, ge=10, le=700, description="kilobytes of JPEG in one event at most")
    attach_kb_s: int = Field(2000, ge=10, le=100_000, description="and in one second")
    curve: Curve | None = Field(
        None, description="keys; needed to listen beyond this machine, see docs/security.md"
    )
    insecure: bool = Field(
        False, description="listen beyond this machine without keys: anybody may listen"
    )


class Restream(Section):
    """An RTSP server that gets what people see of each camera."""

    url: Url = Field(
        pattern=r"^rtsps?://.+\{camera\}", description="rtsp(s)://host:port/{camera}, with its name"
    )
    width: int = Field(1280, ge=160, le=3840, description="width of the pictures at most, pixels")
    fps: float = Field(15.0, ge=0.2, le=60, description="pictures a second at most")
    kbps: int = Field(2000, ge=50, le=50_000, description="kilobits a second at most")
    transport: Literal["tcp", "udp"] = Field("tcp", description="how packets are carried")


class Publish(Section):
    """Where results go."""

    zeromq: ZeroMq | None = Field(default=ZeroMq(), description="null switches it off")
    mqtt: Mqtt | None = Field(None, description="an MQTT broker; see docs/bridges.md")
    nats: Nats | None = Field(None, description="NATS JetStream; see docs/bridges.md")
    webhook: Webhook | None = Field(None, description="a web server; see docs/bridges.md")
    restream: Restream | None = Field(None, description="an RTSP server that gets all pictures")


def _as_list(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _good_token(token: SecretStr) -> SecretStr:
    text = token.get_secret_value()
    if not text.startswith(FILE) and not is_token(text):
        raise ValueError(TOKEN_RULE)
    return token


Token = Annotated[SecretStr, AfterValidator(_good_token)]
TokenList = Annotated[tuple[Token, ...], BeforeValidator(_as_list), Field(max_length=32)]


class Tokens(Section):
    """Who may use the HTTP door; without any token, everybody who reaches it."""

    read: TokenList = Field(
        (), description="tokens that may look and send pictures; file:PATH reads one from a file"
    )
    control: TokenList = Field((), description="tokens that may also change cameras")


class TlsFiles(Section):
    """HTTPS by certificate files."""

    certificate: Path = Field(description="PEM file of the certificate and those above it")
    key: Path = Field(description="PEM file of its key, without a password")


class Asked(Section):
    """Pictures sent to /detect."""

    waiting: int = Field(
        8, ge=1, le=64, description="pictures under way at one time; more are told to come again"
    )
    priority: float = Field(
        0.1, ge=0.01, le=1, description="share of the detector beside a camera's while cameras wait"
    )


class CameraApi(Section):
    """What may be added as a camera over HTTP."""

    networks: tuple[IPv4Network | IPv6Network, ...] | None = Field(
        None,
        max_length=256,
        description="addresses that cameras may have, such as 192.168.1.0/24; null: all but "
        "this machine's own, link-local, multicast and reserved ones",
    )
    sources: tuple[Literal["network", "test", "webcam", "file"], ...] = Field(
        ("network", "test"),
        description="kinds of source: network (rtsp, http), test (synthetic:, demo:), webcam, file",
    )


class Http(Section):
    """The page, the metrics and the API."""

    bind: Address = Field("127.0.0.1:8080", description="host:port to listen on")
    allowed_hosts: tuple[str, ...] = Field(
        (),
        max_length=64,
        description="names a browser or Prometheus may call this machine by, besides its address",
    )
    tokens: Tokens = Field(default=Tokens(), description="who may use it")
    insecure: bool = Field(
        False, description="listen to other machines without any token, where bind says so"
    )
    tls: TlsFiles | None = Field(None, description="null: no TLS")
    origins: tuple[Annotated[str, AfterValidator(_good_origin)], ...] = Field(
        (),
        max_length=64,
        description="other sites whose pages may use it (CORS), such as https://wall.example",
    )
    requests_per_s: float = Field(
        100.0, ge=1, le=100_000, description="requests a second from one address, twice at once"
    )
    detect: Asked | None = Field(default=Asked(), description="null: no pictures are taken")
    cameras: CameraApi | None = Field(
        default=CameraApi(), description="null: cameras cannot be changed over HTTP"
    )


class Inference(Section):
    """How the detector is run; leave it alone unless a measurement says otherwise."""

    workers: int | None = Field(
        None, ge=1, le=64, description="threads that run it; null: from cores and cameras"
    )
    max_batch: int | None = Field(
        None, ge=1, le=64, description="most pictures in one run; null: 1 on a CPU, 16 on a GPU"
    )
    gpu_memory_mb: int | None = Field(
        None, ge=256, le=1_000_000, description="most memory of a GPU for the model; null: no limit"
    )
    cuda_graphs: bool = Field(False, description="record and replay launches on a GPU")
    fold: bool = Field(
        True, description="let a GPU run the network with its head folded in, where that is quicker"
    )
