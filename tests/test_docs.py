"""The documents say what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from streamer.config import Config, config_schema, parse_config
from streamer.events import decode
from streamer.publish.metric_table import METRICS
from tests.e2e.program import readme_block, streamer

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("script", ["write_docs", "write_performance"])
def test_generated_parts_agree_with_what_they_are_written_from(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"scripts.{script}", "--check"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_metrics_of_the_documents_exist() -> None:
    known = {metric.name for metric in METRICS}
    for page in [ROOT / "README.md", *ROOT.glob("docs/*.md")]:
        for name in re.findall(r"`(streamer_[a-z_]+)", page.read_text()):
            assert re.sub(r"_(sum|count|bucket)$", "", name) in known, f"{page.name}: {name}"


def test_the_configuration_of_the_readme_is_good_and_complete() -> None:
    values = yaml.safe_load(readme_block("Your own cameras", "yaml"))
    config = parse_config(values, {"DOOR_PASSWORD": "x"})
    assert set(config.cameras) == {"door", "yard", "desk"}
    assert config.model == parse_config({"cameras": {"a": {"source": "demo:"}}}, {}).model
    assert set(values) | {"inference"} == set(Config.model_fields)


def test_the_event_of_the_readme_is_one() -> None:
    event = decode(readme_block("Subscribe", "json").encode())
    assert event.camera == "door"
    assert event.faces is not None
    assert event.faces[0].id == 7


def test_every_command_of_the_readme_exists() -> None:
    text = (ROOT / "README.md").read_text()
    verbs = set(re.findall(r"streamer ((?:models |config |keys )?[a-z]+)\b", " ".join(
        re.findall(r"`[^`]+`|```sh\n.*?```", text, re.DOTALL)
    )))  # fmt: skip
    known = {"run", "demo", "check", "watch", "detect", "doctor", "models list", "models pull",
             "config schema", "keys new", "version", "bench", "tune", "models bench",
             "replay"}  # fmt: skip
    assert verbs
    assert verbs <= known, verbs - known
    for verb in verbs:
        assert streamer(*verb.split(), "--help").returncode == 0


def test_links_of_the_documents_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "models" / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_key_of_a_configuration_is_on_its_page() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    schema = config_schema()
    keys = [key for section in schema["$defs"].values() for key in section["properties"]]
    sections = ("cameras", "model", "inference", "publish", "http")
    keys += set(schema["properties"]) - set(sections)
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(keys)
