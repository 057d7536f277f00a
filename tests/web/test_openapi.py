"""What /openapi.json says, and the page made of it."""

from __future__ import annotations

import json

import httpx

from streamer.config_sections import Camera
from streamer.web.openapi import camera_body
from streamer.web.told import Told
from tests.web.clients import serve
from tests.web.pictures import Looking
from tests.web.test_cameras_api import Door


def test_every_path_of_the_api_is_there_and_every_reference_leads_somewhere(live, machine):
    told = Told(boot_id="b", model="net", clock=lambda: 0.0)
    parts = {"detecting": Looking().detecting(), "cameras": Door(machine), "told": told}
    with serve(live, machine, **parts) as server:
        text = httpx.get(f"{server.url}openapi.json").text
        page = httpx.get(f"{server.url}docs")
        script = httpx.get(f"{server.url}static/docs.js").text
    spec = json.loads(text)
    assert {(path, method) for path, methods in spec["paths"].items() for method in methods} == {
        ("/healthz", "get"),
        ("/readyz", "get"),
        ("/metrics", "get"),
        ("/api/v1/cameras/{name}/snapshot.jpg", "get"),
        ("/api/v1/cameras/{name}/live.mjpg", "get"),
        ("/detect", "post"),
        ("/api/v1/detect", "post"),
        ("/api/v1/status", "get"),
        ("/api/v1/ledger", "get"),
        ("/api/v1/events", "get"),
        ("/api/v1/cameras", "get"),
        ("/api/v1/cameras", "post"),
        ("/api/v1/cameras/{name}", "get"),
        ("/api/v1/cameras/{name}", "post"),
        ("/api/v1/cameras/{name}", "put"),
        ("/api/v1/cameras/{name}", "delete"),
        ("/api/v1/cameras/{name}/pause", "post"),
        ("/api/v1/cameras/{name}/resume", "post"),
    }
    names = spec["components"]["schemas"]
    assert all(part.split('"')[0] in names for part in text.split("#/components/schemas/")[1:])
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "innerHTML" not in script
    assert "http" not in page.text.replace("over HTTP", "")


def test_the_body_of_a_camera_is_the_section_of_the_configuration_without_files():
    body = camera_body(named=False)["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == set(Camera.model_fields) - {"ca_file"}
    assert body["additionalProperties"] is False
    named = camera_body(named=True)["requestBody"]["content"]["application/json"]["schema"]
    assert named["required"] == ["name", "source"]
