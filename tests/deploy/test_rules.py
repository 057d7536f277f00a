"""The alerts: Prometheus accepts them, each is tried, and each tells what to do."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from streamer.publish.metric_table import METRICS
from tests.deploy.live_prometheus import ROOT, RULES

TRIED = Path(__file__).with_name("rules_test.yml")
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]
}
PROCESS = {
    "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds",
    "process_start_time_seconds",
}  # fmt: skip


def promtool(*arguments: str, cwd: Path = ROOT) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.prometheus
def test_prometheus_accepts_the_rules_and_the_configuration(tmp_path: Path) -> None:
    promtool("check", "rules", str(RULES))
    config = (RULES.parent / "prometheus.yml").read_text()
    assert "/etc/prometheus/streamer.rules.yml" in config
    there = tmp_path / "prometheus.yml"
    (tmp_path / "http_token").write_text("a" * 48)
    config = config.replace("/run/secrets/", f"{tmp_path}/")
    there.write_text(config.replace("/etc/prometheus/", f"{RULES.parent}/"))
    promtool("check", "config", str(there))


@pytest.mark.prometheus
def test_each_alert_fires_when_it_should_and_not_otherwise() -> None:
    promtool("test", "rules", str(TRIED))


def test_each_alert_is_tried_both_ways() -> None:
    cases = [
        case for test in yaml.safe_load(TRIED.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]  # fmt: skip
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == set(ALERTS)
    # The GPU's is silent for two streamers beside the two it fires for.
    silent = {case["alertname"] for case in cases if not case.get("exp_alerts")}
    assert set(ALERTS) - silent == {"StreamerCpuInsteadOfGpu"}


def test_each_alert_has_a_severity_and_a_section_of_the_runbook() -> None:
    sections = dict(
        re.findall(
            r"^## (\S+)\n\n\*(\w+)\.\*", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE
        )
    )
    assert sections == {name: alert["labels"]["severity"] for name, alert in ALERTS.items()}
    for name, alert in ALERTS.items():
        assert alert["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
        assert alert["annotations"]["summary"]


def test_what_is_red_when_something_is_wrong_does_not_say_0_of_nothing() -> None:
    """A streamer that is dead has no series, and a 0 in their place would be green."""
    panels = {p["title"]: p for p in json.loads((DASHBOARDS / "fleet.json").read_text())["panels"]}
    for title in ("Not answering", "Not live", "Cameras live"):
        (target,) = panels[title]["targets"]
        assert "vector(" not in target["expr"], title
    assert 'up{job="streamer"' in panels["Not answering"]["targets"][0]["expr"]
    for name in ("fleet", "camera"):
        first = json.loads((DASHBOARDS / f"{name}.json").read_text())["panels"][1]
        assert first["targets"][0]["expr"].count("ALERTS{") == 1


def test_cameras_of_one_name_of_two_streamers_are_two() -> None:
    fleet, camera = (
        json.loads((DASHBOARDS / f"{name}.json").read_text()) for name in ("fleet", "camera")
    )
    for panel in fleet["panels"]:
        for target in panel["targets"]:
            if "{{camera}}" in target["legendFormat"]:
                assert "{{instance}}" in target["legendFormat"], panel["title"]
            for by in re.findall(r"by \(([^)]*\bcamera\b[^)]*)\)", target["expr"]):
                assert "instance" in by, panel["title"]
    several = {one["name"]: one.get("multi") for one in camera["templating"]["list"]}
    assert several["instance"] is several["camera"] is False


def test_what_stands_in_for_nothing_never_stands_beside_something() -> None:
    for path in DASHBOARDS.glob("*.json"):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                stands_in = re.findall(r"or (on \(\) )?\S*vector\(", target["expr"])
                assert all(stands_in), f"{panel['title']}: {target['expr']}"


def test_every_metric_that_is_asked_for_exists_with_the_labels_it_is_asked_by() -> None:
    known = {metric.name: set(metric.labels) for metric in METRICS}
    texts = [alert["expr"] for alert in ALERTS.values()]
    for path in DASHBOARDS.glob("*.json"):
        dashboard = json.loads(path.read_text())
        texts += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(texts) > 60
    for text in texts:
        for name, chosen in re.findall(r"\b((?:streamer|process)_\w+)(\{[^}]*\})?", text):
            base = re.sub(r"_(sum|count|bucket)$", "", name)
            assert base in known or base in PROCESS, f"{name} in {text}"
            labels = set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", chosen))
            assert labels <= known.get(base, set()) | {"instance", "job"}, f"{name}{chosen}"
