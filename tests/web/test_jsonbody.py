"""JSON from strangers, read strictly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.web.jsonbody import read_object


def test_a_whole_number_is_one_however_it_is_written() -> None:
    read = read_object(b'{"a": 2.0, "b": 1e2, "c": 0.5, "d": -3.0}')
    assert [type(value) for value in read.values()] == [int, int, float, int]
    assert read == {"a": 2, "b": 100, "c": 0.5, "d": -3}


def test_an_object_is_read() -> None:
    assert read_object(b'{"a": [1, 2.5, null, true, "\xc3\xa4"], "b": {}}') == {
        "a": [1, 2.5, None, True, "ä"], "b": {},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"{'a': 1}", "is not JSON"),
        (b'{"a": 1} x', "is not JSON"),
        (b"\xff\xfe{\x00}\x00", "is not JSON"),
        (b"\xef\xbb\xbf{}", "is not JSON"),
        (b'{"a": "\xff"}', "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"a":' * 60_000, "is not JSON"),
        (b'{"a": ["\\ud800"]}', "half a character"),
        (b'{"\\udc00": 1}', "half a character"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'"source"', "not a JSON object"),
        (b'{"a": 1, "a": 2}', "comes twice"),
        (b'{"b": {"a": 1, "a": 2}}', "comes twice"),
        (b'{"a": NaN}', "NaN or Infinity"),
        (b'{"a": -Infinity}', "NaN or Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too large"),
    ],
)
def test_what_is_not_taken_is_one_sentence(body: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        read_object(body)
    assert "\n" not in str(refused.value)


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_else(body: bytes) -> None:
    try:
        assert isinstance(read_object(body), dict)
    except ValueError as error:
        assert "; send" in str(error)
