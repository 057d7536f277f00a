"""Hands events to NATS JetStream, at least once and stored once: the door to ``nats``.

Each message is held until the server has confirmed that it is stored, and sent again until then.
It bears an id (``Nats-Msg-Id``), by which the server passes over what it has. The server
forgets ids after two minutes, so a message whose fate is unknown for long is looked for in the
stream before it is sent again; since a topic's messages go one after the other, it can only
be the last there.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final

from streamer.errors import MissingDependency
from streamer.publish.holding import HoldingSink
from streamer.publish.link import Link, pause_s
from streamer.publish.messages import Messages
from streamer.publish.outbox import Entry, Outbox
from streamer.publish.pace import When

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

AT_ONCE: Final = 64
"""Topics whose oldest message is sent at the same time."""

MOST_BYTES: Final = 32 * 2**20
"""Bytes of memory for messages that are held."""

DUPLICATES_S: Final = 120.0
"""Seconds that the server remembers the ids of messages, in the stream that is made here."""

_LOOK_S: Final = 90.0  # a message in doubt for longer is looked for: the ids may be forgotten
_CONNECT_S: Final = 3
_CONFIRM_S: Final = 5.0
_FAREWELL_S: Final = 2.0
_END_S: Final = 5.0


class NatsSink(HoldingSink):
    """A sink of results, changes and tracks that are stored in a JetStream ``stream``.

    ``servers`` are ``nats://HOST:PORT``. Messages go to ``SUBJECT.CAMERA.KIND``, kind being
    faces, track or camera. Where there is no such stream and ``create`` is given it is made: on
    disk, for ``max_age_s`` seconds and ``max_bytes``. ``keep`` messages are held at most; then
    the oldest goes and is counted. See docs/bridges.md for the rest. Raises
    :class:`streamer.errors.MissingDependency`.
    """

    def __init__(
        self,
        servers: Sequence[str],
        *,
        boot_id: str,
        model: str,
        stream: str = "STREAMER",
        subject: str = "streamer",
        create: bool = True,
        max_age_s: float = 7 * 86_400.0,
        max_bytes: int = 2**30,
        username: str | None = None,
        password: str | None = None,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        when: When = "changes",
        max_per_s: float = 2.0,
        tracks: bool = True,
        best: bool = False,
        keep: int = 4096,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to connect, in the background."""
        try:
            import nats
            import nats.js.errors
        except ImportError:
            raise MissingDependency(
                "publish.nats needs nats-py; install it with: pip install 'streamer[nats]'"
            ) from None
        self._nats: Any = nats
        self._options: dict[str, Any] = {
            "servers": list(servers), "user": username, "password": password, "token": token,
            "tls": tls, "name": "streamer", "allow_reconnect": False,
            "connect_timeout": _CONNECT_S, "max_reconnect_attempts": 1, "reconnect_time_wait": 0,
            "ping_interval": 5, "max_outstanding_pings": 2,
        }  # fmt: skip
        self._boot_id = boot_id
        self._stream = stream
        self._subject = subject
        self._create = create
        self._limits = (max_age_s, max_bytes)
        messages = Messages(
            boot_id=boot_id, model=model, when=when, max_per_s=max_per_s, tracks=tracks, best=best
        )
        super().__init__(Link("nats"), messages, Outbox(most=keep, most_bytes=MOST_BYTES), clock)
        self._loop = asyncio.new_event_loop()
        self._news = asyncio.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="publish:nats-link", daemon=True)
        self._thread.start()

    def _wake(self) -> None:
        self._loop.call_soon_threadsafe(self._news.set)

    def close(self) -> None:
        """Send what is held, for two seconds at most, and disconnect."""
        if self._stopping:
            return

        def stop() -> None:
            self._stopping = True
            self._news.set()

        self._loop.call_soon_threadsafe(stop)
        self._thread.join(_END_S)
        self._link.lost("ended", len(self._outbox))

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        failures = 0
        while not self._stopping or (not failures and len(self._outbox)):
            began_at = self._clock()
            try:
                trouble = await self._live()
            except Exception as error:  # noqa: BLE001 - it goes on, whatever a library raises
                trouble = f"it failed in an unexpected way ({type(error).__name__}: {_why(error)})"
            if trouble is None:
                return
            self._link.down(trouble)
            failures = 1 if self._clock() - began_at > 60.0 else failures + 1
            await self._pause(pause_s(failures))

    async def _pause(self, wait_s: float) -> None:
        """Wait so long, or until a stop."""
        give_up_at = self._clock() + wait_s
        while not self._stopping and (left_s := give_up_at - self._clock()) > 0:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), left_s)
            except TimeoutError:
                return

    async def _live(self) -> str | None:
        """One connection, from its beginning to its end; why it ended, or None at a stop."""
        client: Client = self._nats.NATS()
        closed = asyncio.Event()
        errors: list[str] = []

        async def on_error(error: Exception) -> None:
            errors[:] = [_why(error)]

        async def on_end() -> None:
            closed.set()
            self._news.set()

        try:
            connecting = client.connect(
                **self._options, error_cb=on_error, disconnected_cb=on_end, closed_cb=on_end
            )
            try:
                await asyncio.wait_for(
                    connecting, _FAREWELL_S if self._stopping else 3 * _CONNECT_S
                )
            except Exception as error:  # noqa: BLE001 - whatever it is: it is tried again
                return f"the server cannot be reached ({errors[0] if errors else _why(error)})"
            js = client.jetstream(timeout=_CONFIRM_S)
            trouble = await self._find_stream(js)
            if trouble is not None:
                return trouble
            return await self._send_all(js, closed, errors)
        finally:
            try:
                await asyncio.wait_for(client.close(), 1.0)
            except Exception:  # noqa: BLE001, S110 - it is given up either way
                pass

    async def _find_stream(self, js: JetStreamContext) -> str | None:
        """See that the stream is there, or make it; why that cannot be."""
        errors = self._nats.js.errors
        try:
            await js.stream_info(self._stream)
        except errors.NotFoundError:
            if not self._create:
                return f"there is no stream {self._stream}; make it, or say create: true"
            max_age_s, max_bytes = self._limits
            try:
                await js.add_stream(
                    name=self._stream, subjects=[f"{self._subject}.>"], storage="file",
                    max_age=max_age_s, max_bytes=max_bytes, discard="old",
                    duplicate_window=min(DUPLICATES_S, max_age_s),
                )  # fmt: skip
            except Exception as error:  # noqa: BLE001 - as above
                return f"the stream {self._stream} cannot be made ({_why(error)}); make it by hand"
        except errors.ServiceUnavailableError:
            return "the server has no JetStream; start it with -js"
        except Exception:  # noqa: BLE001, S110 - whoever may only publish may not ask; publishing tells
            pass
        return None

    async def _send_all(
        self, js: JetStreamContext, closed: asyncio.Event, errors: list[str]
    ) -> str | None:
        failures = 0
        give_up_at: float | None = None
        while True:
            self._news.clear()
            if closed.is_set():
                return f"the connection was lost{''.join(f' ({why})' for why in errors)}"
            if self._stopping and give_up_at is None:
                give_up_at = self._clock() + _FAREWELL_S
            if give_up_at is not None and (not len(self._outbox) or self._clock() > give_up_at):
                return None
            entries = self._outbox.firsts(AT_ONCE)
            if not entries:
                self._link.up()
                await self._news.wait()
                continue
            troubles = await self._until(closed, [self._send(js, entry) for entry in entries])
            self._link.waiting(len(self._outbox))
            trouble = next((one for one in troubles if one is not None), None)
            if trouble is None:
                self._link.up()
                failures = 0
            elif not closed.is_set():
                failures += 1
                self._link.down("; ".join([trouble, *errors]))
                errors.clear()
                await self._pause(pause_s(failures))

    @staticmethod
    async def _until(
        closed: asyncio.Event, sends: Sequence[Coroutine[Any, Any, str | None]]
    ) -> Sequence[str | None]:
        """What ``sends`` give, all at once; nothing when the connection ends before."""
        tasks = [asyncio.ensure_future(send) for send in sends]
        sent = asyncio.ensure_future(asyncio.wait(tasks))
        ended = asyncio.ensure_future(closed.wait())
        every: list[asyncio.Future[Any]] = [sent, ended, *tasks]
        try:
            await asyncio.wait(every[:2], return_when=asyncio.FIRST_COMPLETED)
            return [task.result() for task in tasks] if sent.done() else ()
        finally:
            for one in every:
                one.cancel()
            await asyncio.wait(every)

    async def _send(self, js: JetStreamContext, entry: Entry) -> str | None:
        """Have one message stored and let go of it; why that did not work."""
        message = entry.message
        subject = f"{self._subject}.{message.camera}.{message.kind}"
        number = f"{self._boot_id}:{message.topic}:{message.seq}"
        if entry.sent_at is None:
            entry.sent_at = self._clock()
        else:
            self._link.retried()
            if self._clock() - entry.sent_at > _LOOK_S and await self._stored(js, subject, number):
                self._confirm(entry)
                return None
        try:
            await js.publish(
                subject, message.body, stream=self._stream, headers={"Nats-Msg-Id": number}
            )
        except self._nats.errors.MaxPayloadError:
            self._outbox.done([entry])
            self._link.lost("too_large")
            return None
        except self._nats.js.errors.NoStreamResponseError:
            return f"no stream takes {subject}; the stream {self._stream} should"
        except Exception as error:  # noqa: BLE001 - whatever it is, the message is held and sent again
            return f"a message was not confirmed ({_why(error)})"
        self._confirm(entry)
        return None

    def _confirm(self, entry: Entry) -> None:
        self._outbox.done([entry])
        self._link.delivered()

    async def _stored(self, js: JetStreamContext, subject: str, number: str) -> bool:
        """Whether the last message of ``subject`` is this one; False where one may not ask."""
        try:
            last = await js.get_last_msg(self._stream, subject)
        except Exception:  # noqa: BLE001 - then it is sent again: at least once
            return False
        return (last.headers or {}).get("Nats-Msg-Id") == number


def _why(error: Exception) -> str:
    """One line of what a library raised."""
    text = str(error) or type(error).__name__
    return " ".join(text.split())[:200]
