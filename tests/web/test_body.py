"""Bodies are bounded by the guard when they say their length, and while they come."""

from __future__ import annotations

import asyncio

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

import streamer.web.body
from streamer.web.body import body_of


def request(*chunks: bytes, ends: bool = True) -> Request:
    messages = [{"type": "http.request", "body": c, "more_body": True} for c in chunks]
    if ends:
        messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive():
        if messages:
            return messages.pop(0)
        return await asyncio.get_running_loop().create_future()

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


def test_a_body_that_fits_is_whole():
    assert asyncio.run(body_of(request(b"ab", b"", b"c"), 3)) == b"abc"
    assert asyncio.run(body_of(request(), 0)) == b""


def test_one_byte_more_is_too_long():
    with pytest.raises(HTTPException) as refused:
        asyncio.run(body_of(request(b"ab", b"cd"), 3))
    assert refused.value.status_code == 413


def test_one_that_does_not_end_is_late(monkeypatch):
    monkeypatch.setattr(streamer.web.body, "READ_LIMIT_S", 0.05)
    with pytest.raises(HTTPException) as refused:
        asyncio.run(body_of(request(b"a", ends=False), 3))
    assert refused.value.status_code == 408
