"""One file out of a multipart body."""

from __future__ import annotations

import pytest

from streamer.web.multipart import MOST_HEADERS, MOST_PARTS, part_of

KIND = "multipart/form-data; boundary=x"


def form(*parts: tuple[str, bytes], end: bytes = b"--x--\r\n") -> bytes:
    made = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a.jpg"\r\n\r\n%s\r\n'
        % (name.encode(), data)
        for name, data in parts
    )
    return made + end


def test_the_part_of_that_name_is_found_among_others():
    body = form(("note", b"hello"), ("image", b"\xff\xd8\0\r\n--y\r\n"), ("more", b""))
    assert part_of(body, KIND, "image") == b"\xff\xd8\0\r\n--y\r\n"
    quoted = 'multipart/form-data; charset=utf-8; boundary="x"'
    assert part_of(form(("image", b"a")), quoted, "image") == b"a"


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (form(("image", b"a")), "multipart/form-data", "has no boundary"),
        (form(("image", b"a")), "multipart/form-data; boundary=" + "x" * 71, "has no boundary"),
        (form(("image", b"a"), end=b""), KIND, "cut off"),
        (b"", KIND, "cut off"),
        (b"garbage" * 100, KIND, "cannot be read"),
        (form(("other", b"a")), KIND, "no part is named image"),
        (form(("image", b"a"), ("image", b"b")), KIND, "several parts are named image"),
        (form(*[("a", b"")] * (MOST_PARTS + 1)), KIND, f"more than {MOST_PARTS} parts"),
        (
            b"--x\r\nContent-Disposition: " + b"a" * MOST_HEADERS + b"\r\n\r\n\r\n--x--\r\n",
            KIND,
            "cannot be read",
        ),
        (form(*[("a" * (MOST_HEADERS // 4), b"")] * 4), KIND, "too long"),
        (b"--x\r\n\r\na\r\n--x--\r\n", KIND, "no part is named image"),
        (b"--x--\r\n", KIND, "no part is named image|cannot be read"),
    ],
)
def test_anything_else_is_one_sentence(body, kind, says):
    with pytest.raises(ValueError, match=says) as refused:
        part_of(body, kind, "image")
    assert "\n" not in str(refused.value)
