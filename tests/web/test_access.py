"""Tokens, cookies and what they open."""

from __future__ import annotations

import pytest

from streamer.web.access import COOKIE, COOKIE_S, Access, cookie_in, forget_cookie, shown_in

READ = "r" * 24
CONTROL = "c" * 24
HOST = "localhost"


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def access(clock: Clock | None = None) -> Access:
    return Access(read=[READ, "another-" + READ], control=[CONTROL], wall_clock=clock or Clock())


def of_headers(access: Access, headers: dict[bytes, bytes]) -> tuple[str | None, bool]:
    """The role that a request has, and whether it shows anything at all."""
    shown = shown_in(headers)
    return (None, False) if shown is None else (access.of_shown(shown), True)


@pytest.mark.parametrize(
    ("token", "role"),
    [
        (READ, "read"),
        ("another-" + READ, "read"),
        (CONTROL, "control"),
        ("", None),
        (CONTROL[:-1], None),
        (CONTROL + "c", None),
        (CONTROL.upper(), None),
        ("ç" * 24, None),
        ("\udc80", None),
        ("c" * 100_000, None),
    ],
)
def test_a_token_has_its_role_and_nothing_else_has_one(token, role):
    assert access().of_token(token) == role


@pytest.mark.parametrize(
    ("header", "role"),
    [
        (f"Bearer {READ}", "read"),
        (f"bearer   {CONTROL} ", "control"),
        (f"Basic {CONTROL}", None),
        (CONTROL, None),
        ("Bearer", None),
        ("", None),
    ],
)
def test_the_authorization_header(header, role):
    assert of_headers(access(), {b"authorization": header.encode()}) == (role, True)


def test_nothing_shown_is_not_something_wrong():
    assert of_headers(access(), {}) == (None, False)
    assert of_headers(access(), {b"cookie": b"other=1"}) == (None, False)


def value(header: str) -> str:
    return header.partition("=")[2].partition(";")[0]


def test_a_cookie_holds_no_token_and_for_its_time():
    clock = Clock()
    made = access(clock).cookie(CONTROL, HOST, secure=False)
    assert made is not None
    assert CONTROL not in made
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(made.split("; "))
    assert "Secure" not in made
    headers = {b"cookie": f"a=b; {COOKIE}={value(made)}".encode()}
    assert of_headers(access(clock), headers) == ("control", True)  # after a restart too
    clock.now += COOKIE_S - 1
    assert of_headers(access(clock), headers) == ("control", True)
    clock.now += 1
    assert of_headers(access(clock), headers) == (None, True)


def test_a_cookie_ends_with_its_token():
    clock = Clock()
    made = access(clock).cookie(READ, HOST, secure=True)
    assert made is not None
    assert "Secure" in made.split("; ")
    other = Access(read=[CONTROL], wall_clock=clock)
    assert of_headers(other, {b"cookie": f"{COOKIE}={value(made)}".encode()}) == (None, True)


@pytest.mark.parametrize("forged", ["", "1.2", "9999999999." + "0" * 64, "9" * 99, "é", '"'])
def test_a_cookie_that_is_not_ours_opens_nothing(forged):
    role, _ = of_headers(access(), {b"cookie": f"{COOKIE}={forged}".encode("latin-1")})
    assert role is None


def test_no_more_time_can_be_written_into_a_cookie():
    clock = Clock()
    made = value(str(access(clock).cookie(READ, HOST, secure=False)))
    longer = str(int(made.partition(".")[0]) + 1) + made[made.index(".") :]
    assert of_headers(access(clock), {b"cookie": f"{COOKIE}={longer}".encode()}) == (None, True)


def test_a_wrong_token_gets_no_cookie_and_a_login_is_forgotten():
    assert access().cookie("wrong" * 5, HOST, secure=False) is None
    assert "Max-Age=0" in forget_cookie(HOST, secure=False)
    assert not Access(wall_clock=Clock()).needed
    assert access().needed


def test_the_cookie_that_was_made_is_the_one_that_will_be_shown():
    made = str(access().cookie(READ, HOST, secure=True))
    assert cookie_in(made, HOST) == value(made)
    assert cookie_in("other=1; Path=/", HOST) is None


def test_each_door_of_a_host_has_a_cookie_of_its_own():
    """To cookies all ports are one (RFC 6265, 8.5): the second login would undo the first."""
    made = [str(access().cookie(READ, f"[::1]:{port}", secure=True)) for port in (8080, 8081)]
    names = [one.partition("=")[0] for one in made]
    assert names == [f"{COOKIE}_8080", f"{COOKIE}_8081"]
    assert forget_cookie("host:8081", secure=True).startswith(f"{names[1]}=;")
    both = "; ".join(one.partition(";")[0] for one in made).encode()
    for port, one in zip((8080, 8081), made, strict=True):
        shown = shown_in({b"host": f"[::1]:{port}".encode(), b"cookie": both})
        assert shown is not None
        assert shown.text == value(one)
    assert shown_in({b"host": b"[::1]", b"cookie": both}) is None


@pytest.mark.parametrize(
    "foreign",
    [
        'pref={"a":1}',
        "bad[name]=1",
        "flag",
        "path=/x",
        "u=é",
        "a=b=c",
        f"not_{COOKIE}=1",
        f"{COOKIE}=of-another-program",
        "=",
        ";" * 500,
    ],
)
def test_a_foreign_cookie_logs_nobody_out(foreign):
    made = value(str(access().cookie(READ, HOST, secure=False)))
    for header in (f"{foreign}; {COOKIE}={made}", f"{COOKIE}={made}; {foreign}"):
        shown = of_headers(access(), {b"cookie": header.encode("latin-1")})
        assert shown == ("read", True), header
    alone = of_headers(access(), {b"cookie": foreign.encode("latin-1")})
    assert alone == (None, foreign.startswith(COOKIE))
