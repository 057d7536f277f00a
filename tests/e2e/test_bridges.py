"""A whole run with all three bridges, real brokers and a web server: everybody is told."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from tests.brokers import mosquitto, nats_server
from tests.e2e.program import free_port, streamer
from tests.publish.test_mqtt import Listener
from tests.publish.test_nats import stored

pytestmark = [pytest.mark.mqtt, pytest.mark.nats]


def test_a_run_tells_everybody_and_ends_well(tmp_path: Path, model_path: Path) -> None:
    posted: list[dict[str, object]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.extend(json.loads(body)["events"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    serving = threading.Thread(target=web.serve_forever, args=(0.05,))
    serving.start()
    brokers = [mosquitto(tmp_path, free_port()), nats_server(tmp_path, free_port())]
    listener = None
    try:
        for broker in brokers:
            broker.start()
        listener = Listener(brokers[0].port)
        config = tmp_path / "c.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "cameras": {"door": {"source": "demo:", "every": 5, "input_size": 320}},
                    "model": {"path": str(model_path)},
                    "http": None,
                    "publish": {
                        "zeromq": None,
                        "mqtt": {"host": "127.0.0.1", "port": brokers[0].port},
                        "nats": {"servers": [f"nats://127.0.0.1:{brokers[1].port}"]},
                        "webhook": {"url": f"http://127.0.0.1:{web.server_address[1]}/"},
                    },
                }
            )
        )
        done = streamer("run", str(config), "--seconds", "6")
        assert done.returncode == 0, done.stderr
        listener.wait(status="offline", door_state="stopped", door_availability="offline")
        told = [value for name, value, _ in listener.heard if name == "streamer/door/presence"]
        assert "ON" in told
        subjects = {subject for subject, _, _ in stored(brokers[1].port)}
        assert subjects == {f"streamer.door.{kind}" for kind in ("camera", "faces", "track")}
        kinds = {event.get("kind") for event in posted}
        assert {"streamer.camera/1", "streamer.track/1"} == {event["schema"] for event in posted}
        assert "appeared" in kinds
        assert posted[-1].get("state") == "stopped"
    finally:
        if listener is not None:
            listener.close()
        for broker in brokers:
            broker.kill()
        web.shutdown()
        web.server_close()
        serving.join()
