"""The HTTP door: it listens, answers on a thread of its own, and closes in time."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Final

import uvicorn
from starlette.middleware.cors import CORSMiddleware

from streamer.errors import BindError, ConfigError, Exposed
from streamer.status import Status, Watching
from streamer.web.access import Access
from streamer.web.cameras_api import CameraDoor, CameraRoutes, read_routes
from streamer.web.connection import Connection, Socket
from streamer.web.detect import Detecting, detect_routes
from streamer.web.guard import AllowedHosts, Guard
from streamer.web.guesses import Guesses
from streamer.web.live import LiveView
from streamer.web.login import login_routes
from streamer.web.routes import build_app
from streamer.web.told import Told, event_routes
from streamer.web.viewers import Viewers

MAX_VIEWERS: Final = 32
REQUESTS_PER_S: Final = 100.0
_CLOSE_LIMIT_S: Final = 3.0
_POLITE_S: Final = 1.0
_MAX_HEADERS: Final = 16 * 1024
_MAX_MESSAGE: Final = 16 * 1024
_BIND: Final = re.compile(
    r"(?:\[(?P<address>[^][]+)\]|(?P<name>[^][:/@\s]+)):(?P<port>[0-9]{1,5})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of this server's certificate, with those up to its authority, and of its key."""

    certificate: Path
    key: Path


class HttpServer:
    """The page, the live pictures, the status and the metrics, over HTTP.

    Use it as a context, or call :meth:`start` and :meth:`close`. It runs off the main thread
    and touches no signal.
    """

    def __init__(
        self,
        bind: str,
        *,
        live: LiveView,
        status: Callable[[], Status],
        metrics: Callable[[str], tuple[bytes, str]],
        detecting: Detecting | None = None,
        cameras: CameraDoor | None = None,
        told: Told | None = None,
        access: Access | None = None,
        insecure: bool = False,
        tls: TlsFiles | None = None,
        allowed_hosts: Collection[str] = (),
        origins: Collection[str] = (),
        requests_per_s: float = REQUESTS_PER_S,
        max_viewers: int = MAX_VIEWERS,
        read_limit_s: float = 10.0,
    ) -> None:
        """Listen on ``bind``, like ``127.0.0.1:8080``, ``[::1]:8080`` or ``0.0.0.0:0``.

        ``metrics`` gets the Accept header and gives the body and its content type; it and
        ``status`` are called from other threads. ``allowed_hosts`` are names this server answers
        for beside its own (see :class:`streamer.web.guard.AllowedHosts`). A viewer that takes
        more than ``read_limit_s`` seconds to read one message is cut off.

        ``detecting`` answers pictures that are sent, ``cameras`` changes them, and ``told`` is
        what is sent as events; a path whose part is None is not there. Without ``access``
        everybody may do everything, and ``bind`` must be of this machine alone unless
        ``insecure``. Pages of ``origins`` may use this server too; one address may ask
        ``requests_per_s`` times a second. Raises :class:`streamer.errors.BindError`,
        :class:`streamer.errors.Exposed`, and ConfigError when the files of ``tls`` are not what
        they should be.
        """
        access = access or Access(wall_clock=time.time)
        guesses = Guesses(time.monotonic)
        self._pool = ThreadPoolExecutor(
            max_workers=min(4, os.cpu_count() or 1), thread_name_prefix="http-work"
        )
        self._viewers = Viewers(
            live, status, self._pool, max_viewers=max_viewers, read_limit_s=read_limit_s
        )
        self._detecting = detecting
        self._told = told
        self._changing = (
            None if cameras is None else CameraRoutes(cameras, status, self._pool, live.clock)
        )
        app = build_app(
            self._viewers,
            status=status,
            metrics=metrics,
            pool=self._pool,
            login=access.needed,
            routers=[
                login_routes(access, guesses, secure=tls is not None),
                read_routes(status, self._pool, live.clock),
                *([] if detecting is None else [detect_routes(detecting)]),
                *([] if self._changing is None else [self._changing.routes]),
                *([] if told is None else [event_routes(told, read_limit_s=read_limit_s)]),
            ],
        )
        if origins:
            app.add_middleware(
                CORSMiddleware,
                allow_origins=list(origins),
                allow_methods=["GET", "POST", "PUT", "DELETE"],
                allow_headers=["Authorization", "Content-Type"],
            )
        context = _tls_context(tls) if tls is not None else None
        self._socket, host = _listen(bind, open_to_all=access.needed or insecure)
        self.address = _address(self._socket)
        self.url = f"{'https' if tls is not None else 'http'}://{self.address}/"
        self._guard = Guard(
            app,
            AllowedHosts(host, allowed_hosts),
            access,
            guesses,
            requests_per_s=requests_per_s,
            origins=origins,
        )
        self._server = _Server(
            uvicorn.Config(
                self._guard,
                http=Connection,
                ws=Socket,
                ws_max_size=_MAX_MESSAGE,
                ws_ping_interval=10.0,
                ws_ping_timeout=10.0,
                ws_per_message_deflate=False,  # a JPEG does not compress
                h11_max_incomplete_event_size=_MAX_HEADERS,
                loop="streamer.web.connection:Loop",
                lifespan="off",
                log_config=None,
                # uvicorn would print what any client sends it; our own faults Guard logs.
                log_level=logging.CRITICAL,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=2,
            ),
            self._viewers,
            context,
        )
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def viewers(self) -> int:
        """How many watch now."""
        return self._viewers.count

    def watching(self) -> Watching:
        """Who watches and listens now, what viewers were sent and asked. From any thread."""
        watching = self._viewers.watching()
        if self._told is not None:
            watching = replace(watching, listening=self._told.listening)
        if (asked := self._detecting) is None:
            return watching
        return replace(watching, asked=asked.asked, asked_now=asked.under_way, asked_s=asked.took)

    @property
    def running(self) -> bool:
        """True from :meth:`start` until the thread has ended."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Answer from now on, on a daemon thread named ``http``."""
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="http", daemon=True
        )
        self._thread.start()
        self._server.ready.wait(10.0)

    def close(self) -> None:
        """Say goodbye to all viewers and end, within 3 seconds. May be called twice."""
        if self._closed:
            return
        self._closed = True
        if self._thread is not None:
            self._server.end()
            self._thread.join(_CLOSE_LIMIT_S)
        self._socket.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for part in (self._detecting, self._changing):
            if part is not None:
                part.close()

    def __enter__(self) -> HttpServer:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


class _Server(uvicorn.Server):
    """uvicorn, ended by an event from another thread instead of looking ten times a second."""

    def __init__(
        self, config: uvicorn.Config, viewers: Viewers, context: ssl.SSLContext | None
    ) -> None:
        super().__init__(config)
        config.load()
        config.ssl = context
        self.ready = threading.Event()
        self._viewers = viewers
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked: asyncio.Event | None = None

    async def main_loop(self) -> None:
        self._asked = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.ready.set()
        await self._asked.wait()
        self._viewers.stop()
        self._loop.call_later(_POLITE_S, self._cut_off)

    def end(self) -> None:
        """From any thread: begin to end."""
        self.ready.wait(1.0)
        if self._loop is not None and self._asked is not None:
            try:
                self._loop.call_soon_threadsafe(self._asked.set)
            except RuntimeError:
                pass  # it has ended already

    def _cut_off(self) -> None:
        """Who does not read cannot be said goodbye to."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def _tls_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.2 or later with this certificate. Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A key with a password would have OpenSSL ask for it at the terminal.
        context.load_cert_chain(files.certificate, files.key, password="")
    except ssl.SSLError:
        raise ConfigError(
            ["http.tls: these are no PEM certificate and its key without a password; check them"]
        ) from None
    except OSError as error:
        raise ConfigError(
            [f"http.tls: a file cannot be read ({error.strerror}); check it"]
        ) from None
    return context


def _listen(bind: str, *, open_to_all: bool) -> tuple[socket.socket, str]:
    """A listening socket and the host as it was written; raises ``BindError``, ``Exposed``."""
    parts = _BIND.fullmatch(bind)
    if parts is None or int(parts["port"]) > 65535:
        raise BindError(f"{bind!r} is no address to listen on; write one like 127.0.0.1:8080")
    host = parts["address"] or parts["name"]
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, int(parts["port"]), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise BindError(
            f"cannot listen on {bind}: {host!r} is no address of any machine; "
            "write one like 127.0.0.1:8080"
        ) from None
    if not open_to_all and not ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise Exposed(
            f"{bind} can be reached from other machines and no token is asked for; set "
            "http.tokens, listen on 127.0.0.1, or say http.insecure: true"
        )
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise BindError(f"cannot listen on {bind}: {_why(error)}") from None
    listener.setblocking(False)
    return listener, host


def _why(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "another program listens there; stop it or choose another port"
        case errno.EACCES | errno.EPERM:
            return "this user may not; choose a port above 1023"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address; use 127.0.0.1, or 0.0.0.0 for all"
        case _:
            return f"{os.strerror(error.errno or 0)}; choose another address"


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
