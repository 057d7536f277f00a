"""From the section ``http`` of a configuration to an open HTTP door."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import SecretStr

from streamer.asking import Asking
from streamer.camera_door import OpenCameras
from streamer.cameras import Cameras
from streamer.capture.reach import Reach
from streamer.config import Config, Http
from streamer.config_sections import FILE, TOKEN_RULE, is_token
from streamer.errors import ConfigError
from streamer.flow.fan import FanIn
from streamer.inference.detector import ConfidentOnly
from streamer.roster import Roster
from streamer.stages import Job
from streamer.status import Status
from streamer.web.access import Access
from streamer.web.detect import Detecting
from streamer.web.live import LiveView
from streamer.web.server import HttpServer, TlsFiles
from streamer.web.told import Told


def open_front(
    config: Config,
    http: Http,
    *,
    base_folder: Path,
    live: LiveView,
    told: Told,
    lanes: FanIn[Job],
    cameras: Cameras,
    roster: Roster,
    model: str,
    provider: str,
    status: Callable[[], Status],
    metrics: Callable[[str], tuple[bytes, str]],
    clock: Callable[[], float],
    wall_clock: Callable[[], float],
) -> HttpServer:
    """Listen as ``http`` says; nothing is answered before its ``start``.

    ``provider`` is what runs the model: anything but the CPU is warmed up for pictures.
    Pictures that are sent wait in a lane of ``lanes``; ``roster`` changes ``cameras``. Relative
    files are sought in ``base_folder``. Raises ConfigError for a token or a certificate that
    cannot be read, BindError, and Exposed.
    """
    detecting = None
    if http.detect is not None:
        size, waiting = config.model.input_size, http.detect.waiting
        asking = Asking(
            lanes,
            lambda: ConfidentOnly(cameras.detector(size), config.model.confidence),
            size=size,
            waiting=waiting,
            weight=http.detect.priority,
            clock=clock,
        )
        if provider != "cpu":
            asking.warm_up()
        detecting = Detecting(asking.look, model=model, longest=size, waiting=waiting)
    door = None
    if http.cameras is not None:
        reach = Reach(http.cameras.networks)
        door = OpenCameras(cameras, roster, sources=http.cameras.sources, reach=reach)
    tls = None
    if http.tls is not None:
        folder = base_folder.absolute()
        tls = TlsFiles(folder / http.tls.certificate, folder / http.tls.key)
    access = Access(
        read=_tokens("read", http.tokens.read, base_folder),
        control=_tokens("control", http.tokens.control, base_folder),
        wall_clock=wall_clock,
    )
    try:
        return HttpServer(
            http.bind,
            live=live,
            status=status,
            metrics=metrics,
            detecting=detecting,
            cameras=door,
            told=told,
            access=access,
            insecure=http.insecure,
            tls=tls,
            allowed_hosts=http.allowed_hosts,
            origins=http.origins,
            requests_per_s=http.requests_per_s,
        )
    except BaseException:
        if detecting is not None:
            detecting.close()
        raise


def _tokens(role: str, given: Iterable[SecretStr], base_folder: Path) -> list[str]:
    """The tokens themselves, read from their files where they are in some. Raises ConfigError."""
    tokens = []
    for number, secret in enumerate(given):
        token = secret.get_secret_value()
        if token.startswith(FILE):
            where = f"http.tokens.{role}.{number}"
            try:
                path = base_folder.absolute() / token.removeprefix(FILE)
                with path.open(encoding="utf-8") as file:
                    token = file.read(1024).strip()
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or "it is no text"
                raise ConfigError([f"{where}: its file cannot be read ({why}); check it"]) from None
            if not is_token(token):
                raise ConfigError([f"{where}: what its file holds {TOKEN_RULE}"])
        tokens.append(token)
    return tokens
