"""The body of a request, read within bounds of length and time."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import Request
from starlette.exceptions import HTTPException

READ_LIMIT_S: Final = 8.0
"""Seconds in which a body has to come; the connection itself is cut off after 10."""


async def body_of(request: Request, most: int) -> bytes:
    """The whole body. Raises HTTPException: 413 when it is longer than ``most`` bytes, 408 late.

    What has said its length has been refused before it was read; this is for the rest.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(READ_LIMIT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise HTTPException(
                        413, f"the body is longer than {most >> 10} KiB; send less", _CLOSE
                    )
    except TimeoutError:
        sentence = f"the body did not come within {READ_LIMIT_S:g} s; send it faster"
        raise HTTPException(408, sentence, _CLOSE) from None
    return bytes(body)


_CLOSE: Final = {"connection": "close"}
