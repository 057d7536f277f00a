"""The part of `streamer doctor` that looks for cameras: is the host there, the file, the device.

Hosts are dialled and hung up on; nothing is sent, so no password is either. Whether pictures come
is for `streamer check` to say.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from streamer.capture.resolve import Resolver
from streamer.capture.urls import (
    NETWORK_PORTS,
    BadUrl,
    endpoint_of,
    file_path,
    scheme_of,
    webcam_device,
)
from streamer.config import Camera
from streamer.doctor.finding import Finding

DIAL_S: Final = 3.0
"""A name has so long to be looked up, and then the host so long to answer."""

AT_ONCE: Final = 64
"""Cameras that are looked for at the same time."""


def camera_findings(
    cameras: Mapping[str, Camera], base_folder: Path, *, dial_s: float = DIAL_S
) -> Iterator[Finding]:
    """One finding for each camera by name; all at once, each within twice ``dial_s`` seconds."""

    def look(item: tuple[str, Camera]) -> Finding:
        return camera_finding(*item, base_folder, dial_s=dial_s)

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="doctor") as pool:
        yield from pool.map(look, sorted(cameras.items()))


def camera_finding(
    name: str, camera: Camera, base_folder: Path, *, dial_s: float = DIAL_S
) -> Finding:
    """Whether one camera can be reached; relative files are relative to ``base_folder``."""
    label = f"camera {name}"
    scheme = scheme_of(camera.source)
    try:
        if scheme in NETWORK_PORTS:
            return _host(label, camera, dial_s)
        if scheme == "webcam":
            device = webcam_device(camera.source)
            return _device(
                label, Path(f"/dev/video{device}" if isinstance(device, int) else device)
            )
        if scheme == "file":
            return _file(label, camera, base_folder)
    except BadUrl as problem:  # the configuration has looked at it; its sentence holds no secret
        return Finding(label, "bad", str(problem), f"correct cameras.{name}.source")
    except OSError as error:
        detail = f"{camera.url} cannot be looked at ({error.strerror})"
        return Finding(label, "bad", detail, f"check cameras.{name}.source and its permissions")
    return Finding(label, "good", f"{camera.url} is made here")


def _host(label: str, camera: Camera, dial_s: float) -> Finding:
    end = endpoint_of(camera.source)
    addresses: list[tuple[socket.AddressFamily, tuple[object, ...]]] = []

    def look_up(host: str, port: int) -> None:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            addresses.append((family, address))

    resolver = Resolver(end.host, end.port, lookup=look_up)
    found = resolver.resolves(dial_s, threading.Event())
    if found is not True:
        detail = "is not a known host" if found is False else f"was not looked up in {dial_s:g} s"
        return Finding(label, "bad", f"{camera.url}: {end.host} {detail}", "check the name and DNS")
    if not addresses:  # an address needs no look-up, and this one is instant
        look_up(end.host, end.port)
    until, why = time.monotonic() + dial_s, "it did not answer"
    for family, address in addresses:
        with socket.socket(family, socket.SOCK_STREAM) as line:
            line.settimeout(max(0.05, until - time.monotonic()))
            began = time.monotonic()
            try:
                line.connect(address)
            except TimeoutError:
                why = f"it did not answer within {dial_s:g} s"
            except OSError as error:
                why = (error.strerror or "no route").lower()
            else:
                took = (time.monotonic() - began) * 1e3
                detail = f"{camera.url}: the port of {end} answers after {took:.0f} ms; "
                return Finding(label, "good", detail + "`streamer check` asks for a picture")
    return Finding(
        label,
        "bad",
        f"{camera.url}: {end} cannot be reached ({why})",
        "check that the camera is on, its address and port, and the network between",
    )


def _file(label: str, camera: Camera, base_folder: Path) -> Finding:
    path = file_path(camera.source, base_folder)
    if not path.exists():
        return Finding(
            label,
            "bad",
            f"{camera.url} is not there",
            f"correct the path; relative ones begin at {base_folder.absolute()}",
        )
    if not path.is_file():
        return Finding(label, "bad", f"{camera.url} is not a file", "name a video or a picture")
    if not os.access(path, os.R_OK):
        return Finding(
            label, "bad", f"{camera.url} cannot be read by this user", "change its permissions"
        )
    if path.stat().st_size == 0:
        return Finding(label, "bad", f"{camera.url} is empty", "record or copy it again")
    return Finding(label, "good", f"{camera.url} is there")


def _device(label: str, path: Path) -> Finding:
    if not path.exists():
        there = ", ".join(sorted(str(one) for one in Path("/dev").glob("video[0-9]*")))
        return Finding(
            label,
            "bad",
            f"{path} is not there" + (f"; there are {there}" if there else ""),
            "plug the camera in; in a container, hand it in (docker: --device)",
        )
    if not os.access(path, os.R_OK | os.W_OK):
        return Finding(
            label,
            "bad",
            f"{path} cannot be read and written by this user",
            "add the user to the group video, and log in anew",
        )
    return Finding(label, "good", f"{path} is there")
