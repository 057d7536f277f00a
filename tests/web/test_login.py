"""The form by which a browser logs in; what it opens is in test_guard.py."""

from __future__ import annotations

import httpx

from streamer.web.access import Access
from tests.web.clients import serve


def test_the_form_is_ours_alone_and_asks_no_other_host(server):
    page = httpx.get(f"http://{server.address}/login")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert 'action="/login"' in page.text
    assert "http:" not in page.text
    assert "https:" not in page.text
    assert page.text.count("<script") == page.text.count('<script src="/static/login.js"')
    assert "form-action 'self'" in page.headers["content-security-policy"]


def test_over_tls_the_cookie_stays_there(live, machine, tls_files):
    access = Access(read=["r" * 24], wall_clock=lambda: 0.0)
    with serve(live, machine, access=access, tls=tls_files) as server:
        made = httpx.post(f"{server.url}login", data={"token": "r" * 24}, verify=False)
    assert made.status_code == 303
    assert "Secure" in made.headers["set-cookie"]
