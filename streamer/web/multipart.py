"""One file out of a multipart body, in memory and within bounds. The only door to its parser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

MOST_PARTS: Final = 8
MOST_HEADERS: Final = 8 * 1024
"""Bytes of the headers of all parts together."""
_LONGEST_BOUNDARY: Final = 70  # RFC 2046, 5.1.1


def part_of(body: bytes, content_type: str, name: str) -> bytes:
    """What the part called ``name`` holds; other parts are ignored.

    ``content_type`` is the header of the whole, with its boundary. Raises ``ValueError`` with a
    sentence when the body is not multipart, is too much, or has not exactly one such part.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= _LONGEST_BOUNDARY:
        raise ValueError("the Content-Type has no boundary; let the client write that header")
    reading = _Reading(name.encode())
    try:
        parser = MultipartParser(boundary, cast("Any", reading.steps()))
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise ValueError("the multipart body cannot be read; send it with curl -F") from None
    if not reading.ended:
        raise ValueError("the multipart body is cut off; send it again whole")
    if len(reading.found) != 1:
        count = "no part is" if not reading.found else "several parts are"
        raise ValueError(f"{count} named {name}; send one, as curl -F {name}=@face.jpg")
    return bytes(reading.found[0])


class _Reading:
    """What the parser has come to; it tells by calling, step by step."""

    def __init__(self, name: bytes) -> None:
        self.found: list[bytearray] = []
        self.ended = False
        self._name = name
        self._parts = 0
        self._header_bytes = 0
        self._field = bytearray()
        self._value = bytearray()
        self._wanted = False

    def steps(self) -> Mapping[str, object]:
        """By the parser's names."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._parts += 1
        self._wanted = False
        if self._parts > MOST_PARTS:
            raise ValueError(f"there are more than {MOST_PARTS} parts; send the picture alone")

    def _count(self, length: int) -> None:
        self._header_bytes += length
        if self._header_bytes > MOST_HEADERS:
            raise ValueError("the headers of the parts are too long; send the picture alone")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            if options.get(b"name") == self._name:
                self._wanted = True
                self.found.append(bytearray())
        self._field, self._value = bytearray(), bytearray()

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self.found[-1] += data[start:end]

    def _end(self) -> None:
        self.ended = True
