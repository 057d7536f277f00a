"""Messages held until the other end has confirmed them: bounded, and in order for each topic."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from streamer.publish.messages import Message

_ENTRY_BYTES: Final = 500  # what keeping a message costs besides its bytes
_LOOK_AT: Final = 1024  # messages looked at for the first of each topic


@dataclass(slots=True, eq=False)
class Entry:
    """A message that is held. ``sent_at``: when it was first sent, None before; its reader's."""

    message: Message
    sending: bool = False
    sent_at: float | None = None


class Outbox:
    """At most ``most`` messages and ``most_bytes`` of memory; what is oldest goes first.

    What is being sent stays, for it may have arrived. Any thread may use it.
    """

    def __init__(self, *, most: int, most_bytes: int) -> None:
        """Hold nothing."""
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._entries: OrderedDict[int, Entry] = OrderedDict()  # by id(): their order is of arrival
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many are held."""
        return len(self._entries)

    def put(self, message: Message) -> int:
        """Hold ``message``; gives how many others had to go."""
        entry = Entry(message)
        with self._lock:
            self._entries[id(entry)] = entry
            self._bytes += _size(entry)
            gone: list[Entry] = []
            if self._full(0):
                for old in self._entries.values():
                    if not self._full(len(gone)):
                        break
                    if not old.sending and old is not entry:
                        gone.append(old)
                        self._bytes -= _size(old)
            for old in gone:
                del self._entries[id(old)]
            return len(gone)

    def _full(self, going: int) -> bool:
        return len(self._entries) - going > self._most or self._bytes > self._most_bytes

    def firsts(self, most: int) -> list[Entry]:
        """The oldest of each topic, of at most so many topics; they are being sent from now on."""
        found: dict[str, Entry] = {}
        with self._lock:
            for number, entry in enumerate(self._entries.values()):
                if len(found) >= most or number >= _LOOK_AT:
                    break
                found.setdefault(entry.message.topic, entry)
            for entry in found.values():
                entry.sending = True
        return list(found.values())

    def next(self, most: int, most_bytes: int) -> list[Entry]:
        """The oldest, together at most so many and so many bytes, or one; being sent from now."""
        found: list[Entry] = []
        with self._lock:
            for entry in self._entries.values():
                most_bytes -= len(entry.message.body)
                if len(found) >= most or (found and most_bytes < 0):
                    break
                entry.sending = True
                found.append(entry)
        return found

    def done(self, entries: Collection[Entry]) -> None:
        """Let go of what was confirmed, or can never be."""
        with self._lock:
            for entry in entries:
                if self._entries.pop(id(entry), None) is not None:
                    self._bytes -= _size(entry)


def _size(entry: Entry) -> int:
    return len(entry.message.body) + _ENTRY_BYTES
