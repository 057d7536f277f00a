"""JSON from strangers: read strictly, so that nobody can mean two things by one text. Pure."""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in ``body``, UTF-8.

    A key that comes twice, NaN and infinity, numbers beyond 64 bits, halves of characters (lone
    surrogates) and anything nested too deep is refused. Raises ``ValueError`` with a sentence.
    """
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_once,
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_small,
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except _Refused:
        raise
    except UnicodeEncodeError:
        raise ValueError("the JSON holds half a character, like \\ud800; send whole ones") from None
    except (ValueError, RecursionError):
        raise ValueError("the body is not JSON; send an object in UTF-8") from None
    if not isinstance(value, dict):
        raise ValueError('the body is not a JSON object; send one, like {"source": "rtsp://…"}')
    return value


_EXACT: Final = 2**53


class _Refused(ValueError):
    """JSON that is not taken."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _Refused("a key comes twice in the JSON; send each once")
    return made


def _no_number(_: str) -> NoReturn:
    raise _Refused("the JSON holds NaN or Infinity; send a number")


def _finite(text: str) -> float | int:
    """A number with a point or an exponent; 2.0 is the whole number 2, as in JSON schemas."""
    value = float(text)
    if not math.isfinite(value):
        raise _Refused("a number in the JSON is too large; send a smaller one")
    return int(value) if value.is_integer() and abs(value) < _EXACT else value


def _small(text: str) -> int:
    if len(text) > 20:
        raise _Refused("a number in the JSON is too large; send a smaller one")
    return int(text)
