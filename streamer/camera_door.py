"""What may be changed of the cameras over HTTP, and by what rules."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from streamer.cameras import Cameras
from streamer.capture.reach import Reach, addresses_of
from streamer.capture.urls import endpoint_of, scheme_of, synthetic_options
from streamer.config import Camera, parse_camera
from streamer.config_sections import CAMERA_NAME
from streamer.errors import ConfigError
from streamer.flow.channel import Closed
from streamer.roster import Roster
from streamer.web.cameras_api import CameraFault
from streamer.web.openapi import MOST_INPUT

_KINDS: Final = {"synthetic": "test", "demo": "test", "webcam": "webcam", "file": "file"}
MOST_DRAWN: Final = 1920 * 1080 * 30
"""Pixels a second of a synthetic camera that is added over HTTP: more is work for a whole core."""

LOOK_UP_S: Final = 3.0
"""Longest wait for the name of a camera that is to be added, seconds."""


class OpenCameras:
    """A :class:`streamer.web.cameras_api.CameraDoor` to the cameras of a running program."""

    def __init__(
        self,
        cameras: Cameras,
        roster: Roster,
        *,
        sources: Collection[str],
        reach: Reach,
        look_up: Callable[..., Any] = socket.getaddrinfo,
    ) -> None:
        """``sources``: the kinds that may be added: network, test, webcam, file.

        Network cameras may have the addresses of ``reach``: that is looked at when one is added,
        so that it can be said at once, and again at each dial.
        """
        self._cameras = cameras
        self._roster = roster
        self._sources = sources
        self._reach = reach
        self._look_up = look_up

    def add(self, name: object, values: Mapping[str, Any]) -> None:
        """Begin to watch a camera."""
        good = _good_name(name)
        camera = self._good(good, values)
        if self._has(good):
            raise CameraFault(409, f"cameras.{good}: is there already; choose another name")
        self._made(lambda: self._roster.add(good, camera, self._reach, retune=False))

    def put(self, name: str, values: Mapping[str, Any]) -> bool:
        """Add the camera, or replace the one of this name; whether it was added."""
        good = _good_name(name)
        camera = self._good(good, values)
        there = self._has(good)
        if there:
            self._made(lambda: self._roster.replace(good, camera, self._reach))
        else:
            self._made(lambda: self._roster.add(good, camera, self._reach, retune=False))
        return not there

    def remove(self, name: str) -> None:
        """Forget it."""
        self._known(name)
        self._made(lambda: self._roster.remove(name, retune=False))

    def pause(self, name: str) -> None:
        """Stop reading it and keep it."""
        self._known(name)
        self._made(lambda: self._roster.pause(name))

    def resume(self, name: str) -> None:
        """Read it again."""
        self._known(name)
        self._made(lambda: self._roster.resume(name))

    def settle(self) -> None:
        """Fit the engine to the cameras there are now."""
        self._roster.retune()

    def described(self, name: str) -> dict[str, Any]:
        """Whence it is and its settings, without secrets."""
        self._known(name)
        line = next((line for line in self._cameras.lines() if line.name == name), None)
        if line is None:
            raise CameraFault(404, _UNKNOWN)
        settings = line.camera.model_dump(mode="json")
        return {"from": "file" if line.reach is None else "http", "settings": settings}

    def _has(self, name: str) -> bool:
        return any(line.name == name for line in self._cameras.lines())

    def _known(self, name: str) -> None:
        if not self._has(name):
            raise CameraFault(404, _UNKNOWN)

    @staticmethod
    def _made(change: Callable[[], None]) -> None:
        try:
            change()
        except ConfigError as error:  # changed meanwhile by the file, or too many
            raise CameraFault(409, *error.problems) from None
        except Closed:
            raise CameraFault(503, "streamer is stopping") from None

    def _good(self, name: str, values: Mapping[str, Any]) -> Camera:
        try:
            camera = parse_camera(name, values)
        except ConfigError as error:
            raise CameraFault(422, *error.problems) from None
        where = f"cameras.{name}"
        url = values["source"]
        kind = _KINDS.get(scheme_of(url), "network")
        if kind not in self._sources:
            raise CameraFault(
                403,
                f"{where}.source: a {kind} source may not be added over HTTP; add it in the "
                "configuration file, or allow it in http.cameras.sources",
            )
        if (camera.input_size or 0) > MOST_INPUT:
            raise CameraFault(
                403,
                f"{where}.input_size: over HTTP it is {MOST_INPUT} at most; set a larger one in "
                "the configuration file",
            )
        if scheme_of(url) == "synthetic":
            drawn = synthetic_options(url)
            if drawn.width * drawn.height * drawn.fps > MOST_DRAWN:
                raise CameraFault(
                    403,
                    f"{where}.source: over HTTP a synthetic camera draws 1920x1080 pixels 30 times "
                    "a second at most; ask for fewer",
                )
        if camera.ca_file is not None and "file" not in self._sources:
            raise CameraFault(403, f"{where}.ca_file: no file may be named over HTTP; leave it out")
        if kind == "network" and self._reach.denied(self._addresses(url)):
            raise CameraFault(
                403,
                f"{where}.source: its address is none that a camera may have; add it in the "
                "configuration file, or allow it in http.cameras.networks",
            )
        return camera

    def _addresses(self, url: str) -> list[str]:
        """What the name in ``url`` stands for; nothing when nobody says: each dial asks again."""
        endpoint = endpoint_of(url)
        found: list[str] = []

        def look_up() -> None:
            try:
                answer = self._look_up(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError):
                return
            found.extend(addresses_of(answer))

        # A resolver that says nothing is not waited for.
        thread = threading.Thread(target=look_up, name="http-look-up", daemon=True)
        thread.start()
        thread.join(LOOK_UP_S)
        return list(found)


_UNKNOWN: Final = "there is no camera of that name; /api/v1/cameras lists them"
_NAME: Final = re.compile(CAMERA_NAME)


def _good_name(name: object) -> str:
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise CameraFault(
            422,
            "name: a camera's name is 1 to 63 of a-z, 0-9, - and _, and starts with a letter or "
            "digit; rename it",
        )
    return name
