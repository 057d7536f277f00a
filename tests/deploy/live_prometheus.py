"""A real Prometheus that watches a real streamer, with the clock of its rules going faster."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.program import free_port, get

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "streamer.rules.yml"

_DURATION = re.compile(r"(?<=\[)\d+[smh](?=\])|(?<=offset )\d+[smh]|(?<=or: )\d+[smh]"
                       r"|(?<=interval: )\d+[smh]")  # fmt: skip
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def faster(rules: str, factor: int) -> str:
    """``rules`` with every duration divided by ``factor``."""

    def divided(match: re.Match[str]) -> str:
        return f"{1000 * int(match[0][:-1]) * _SECONDS[match[0][-1]] // factor}ms"

    return _DURATION.sub(divided, rules)


class Prometheus:
    """What can be asked of it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, **query: str) -> Any:
        """The data of one answer of its API."""
        asked = urllib.parse.urlencode(query)
        return json.loads(get(f"{self.url}/api/v1/{path}?{asked}"))["data"]

    def query(self, expression: str) -> list[Any]:
        """The series that ``expression`` gives now."""
        found: list[Any] = self.ask("query", query=expression)["result"]
        return found

    def firing(self) -> set[tuple[str, str]]:
        """Names of the alerts that fire now, each with the camera it is about."""
        return {
            (alert["labels"]["alertname"], alert["labels"].get("camera", ""))
            for alert in self.ask("alerts")["alerts"]
            if alert["state"] == "firing"
        }


@contextmanager
def prometheus(folder: Path, target: str, *, token: Path, factor: int) -> Iterator[Prometheus]:
    """Prometheus with our configuration, scraping ``target``, its rules ``factor`` times faster.

    ``token`` is the file of the token that it shows.
    """
    config = yaml.safe_load((RULES.parent / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = ["streamer.rules.yml"]
    job = config["scrape_configs"][0]
    job["static_configs"][0]["targets"] = [target]
    job["authorization"]["credentials_file"] = str(token)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (folder / "streamer.rules.yml").write_text(faster(RULES.read_text(), factor))
    port = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yml",
             f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"],
            stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield Prometheus(port)
        finally:
            process.terminate()
            process.wait(20)


def wait_for(what: str, met: Callable[[], object], seconds: float = 60) -> None:
    """Wait until ``met`` gives something true; an address that does not answer yet is no answer."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if met():
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s: {what}")
