"""Posts events to a web server, signed, again and again until it takes them."""

from __future__ import annotations

import hashlib
import hmac
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from streamer.publish.holding import HoldingSink
from streamer.publish.link import Link, pause_s
from streamer.publish.messages import Messages
from streamer.publish.outbox import Entry, Outbox
from streamer.publish.pace import When
from streamer.publish.posting import Posting

SCHEMA: Final = b"streamer.webhook/1"

BATCH: Final = 32
"""Events in one request at most."""

BATCH_BYTES: Final = 256 * 1024
"""Bytes of events in one request; a single longer event is a request of its own."""

MOST_BYTES: Final = 16 * 2**20
"""Bytes of memory for events that are held."""

LONGEST_WAIT_S: Final = 3600.0
"""Longest wait that a server may ask for (``Retry-After``)."""

_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_FAREWELL_S: Final = 2.0
_END_S: Final = 2.0


class WebhookSink(HoldingSink):
    """A sink of results, changes and tracks that are posted to ``url``, http or https.

    With ``secret`` each request is signed: ``Streamer-Signature`` is ``v1=`` and the hexadecimal
    HMAC-SHA256 of ``Streamer-Timestamp``, a dot and the body. ``bearer`` is sent as the
    authorization. ``keep`` events are held at most; then the oldest goes and is counted.
    ``wall_clock`` gives the timestamp, Unix seconds. The rest is as :class:`Messages` has it.
    """

    def __init__(
        self,
        url: str,
        *,
        boot_id: str,
        model: str,
        version: str,
        secret: str | None = None,
        bearer: str | None = None,
        tls: ssl.SSLContext | None = None,
        when: When = "never",
        max_per_s: float = 2.0,
        tracks: bool = True,
        best: bool = False,
        cameras: bool = True,
        keep: int = 1024,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Begin to wait for events."""
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._posting = Posting(self._host, parts.port, https=parts.scheme == "https", tls=tls)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._secret = None if secret is None else secret.encode()
        self._headers = {"Content-Type": "application/json", "User-Agent": f"streamer/{version}"}
        if bearer is not None:
            self._headers["Authorization"] = f"Bearer {bearer}"
        self._boot_id = boot_id
        self._wall_clock = wall_clock
        messages = Messages(
            boot_id=boot_id, model=model, when=when, max_per_s=max_per_s,
            tracks=tracks, best=best, cameras=cameras,
        )  # fmt: skip
        super().__init__(Link("webhook"), messages, Outbox(most=keep, most_bytes=MOST_BYTES), clock)
        self._deliveries = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="publish:webhook-link", daemon=True)
        self._thread.start()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def close(self) -> None:
        """Post what is held, for two seconds at most, and end."""
        with self._changed:
            if self._stopping:
                return
            self._stopping = True
            self._changed.notify()
        self._thread.join(_FAREWELL_S)
        if self._thread.is_alive():
            self._posting.hang_up()
            self._thread.join(_END_S)
        self._link.lost("ended", len(self._outbox))

    def _run(self) -> None:
        failures = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or len(self._outbox))
            entries = self._outbox.next(BATCH, BATCH_BYTES)
            if not entries:
                break  # a stop, and nothing is left
            failures = self._deliver(entries, failures)
            if failures and self._stopping:
                break
        self._posting.close()

    def _deliver(self, entries: Sequence[Entry], failures: int) -> int:
        """Post one batch until it is taken, refused for good, or streamer stops.

        ``failures`` is how many requests failed in a row before; gives how many did after.
        """
        body = b'{"schema":"%s","events":[%s]}' % (
            SCHEMA, b",".join(entry.message.body for entry in entries),
        )  # fmt: skip
        self._deliveries += 1
        number = f"{self._boot_id}-{self._deliveries}"
        while True:
            wait_s, trouble, final = self._post(body, number)
            if trouble is None:
                self._outbox.done(entries)
                self._link.delivered(len(entries))
                self._link.waiting(len(self._outbox))
                self._link.up()
                return 0
            failures += 1
            self._link.down(trouble)
            if final:
                self._outbox.done(entries)
                self._link.lost("refused", len(entries))
                self._link.waiting(len(self._outbox))
            with self._changed:
                if self._changed.wait_for(lambda: self._stopping, wait_s or pause_s(failures)):
                    return failures
            if final:
                return failures
            self._link.retried()

    def _post(self, body: bytes, number: str) -> tuple[float | None, str | None, bool]:
        """One request: the wait that the server asks for, what is wrong, and whether for good."""
        at = f"{self._wall_clock():.0f}"
        headers = {**self._headers, "Streamer-Delivery": number, "Streamer-Timestamp": at}
        if self._secret is not None:
            mac = hmac.new(self._secret, at.encode() + b"." + body, hashlib.sha256)
            headers["Streamer-Signature"] = f"v1={mac.hexdigest()}"
        try:
            status, asked = self._posting.post(self._path, body, headers)
        except Exception as error:  # noqa: BLE001 - it goes on, whatever a library raises
            return None, f"{self._host} cannot be reached ({_why(error)})", False
        if 200 <= status < 300:
            return None, None, False
        if status in _AGAIN:
            wait_s = min(float(asked), LONGEST_WAIT_S) if _is_seconds(asked) else None
            return wait_s, f"{self._host} answers {status}; it is asked again", False
        remedy = (
            "redirects are not followed, give its new URL" if status // 100 == 3 else "see there"
        )
        return None, f"{self._host} answers {status}: it refuses what is posted; {remedy}", True


def _is_seconds(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _why(error: Exception) -> str:
    """One line of what went wrong, without the URL: it may be a secret."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {error.verify_message}"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return type(error).__name__
