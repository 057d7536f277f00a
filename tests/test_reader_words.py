"""What a reader is told between the blocks: commands, names, addresses and codes that are there."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import yaml

from streamer import terminal
from streamer.config import parse_config
from tests.e2e.program import ROOT
from tests.test_reader import PAGES, assert_command_exists

BY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
ELSEWHERE = {"frigate_skipped_fps"}
"""Names that are of other programs."""

FOLDERS = ("streamer", "scripts", "tests", "benchmarks", "deploy")


def spans(page: Path) -> list[str]:
    """What stands in backticks, outside of blocks."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


@cache
def words_of_the_code() -> frozenset[str]:
    """Every word of the sources but for the pages' own, which are written from them."""
    found: set[str] = set()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.samefile(__file__):
                continue  # it has wrong words of its own
            if path.suffix in (".py", ".js", ".yml", ".yaml", ".toml", ".sh") and path.is_file():
                found.update(re.findall(r"\w+", path.read_text(errors="ignore")))
    return frozenset(found)


@cache
def addresses() -> tuple[re.Pattern[str], ...]:
    """The paths that the HTTP door knows."""
    texts = [path.read_text() for path in (ROOT / "streamer" / "web").rglob("*.py")]
    literals = {each for text in texts for each in re.findall(r'"(/[\w/{}.-]*)"', text)}
    of_one = {each for text in texts for each in re.findall(r'f"\{one\}(/\w+)"', text)}
    literals |= {"/api/v1/cameras/{name}" + each for each in of_one}
    return tuple(
        re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(literal))) for literal in literals
    )


@BY_PAGE
def test_commands_in_a_sentence_are_there(page: Path) -> None:
    for span in spans(page):
        if re.match(r"(\S*/)?streamer [a-z]", span):
            assert_command_exists(shlex.split(span.replace("…", "x"))[1:])


@BY_PAGE
def test_names_in_a_sentence_are_names_of_the_code(page: Path) -> None:
    for span in spans(page):
        if re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", span):
            assert span in words_of_the_code() | ELSEWHERE, f"{page.name}: nothing is named {span}"


@BY_PAGE
def test_addresses_are_those_of_the_door(page: Path) -> None:
    text = page.read_text()
    asked = re.findall(r"(?<![\w.])(/api/v\d[\w/{}.-]*)", text)
    asked += re.findall(r"//(?:HOST|127\.0\.0\.1):8080(/[\w/.-]*)", text)
    for path in {each.rstrip(".") for each in asked}:
        path = re.sub(r"\{\w+\}|CAMERA|NAME", "x", path).rstrip("/") or "/"
        whole = any(known.fullmatch(path) for known in addresses())
        begins = any(known.pattern.startswith(re.escape(path) + "/") for known in addresses())
        assert whole or begins, f"{page.name}: {path}"


@BY_PAGE
def test_variables_are_keys_of_a_configuration_or_the_readers_own(page: Path) -> None:
    text = page.read_text()
    ours = text + (ROOT / "docker-compose.yml").read_text()
    for name in set(re.findall(r"\bSTREAMER_\w+", text)):
        if name.startswith("STREAMER__"):
            key = name.removeprefix("STREAMER__").lower().split("__")
            wrong = _problems(name)
            assert not any("unknown" in each for each in wrong), f"{page.name}: {key}: {wrong}"
        else:
            assert re.search(rf"\${{{name}\b", ours), f"{page.name}: nothing reads {name}"


def _problems(name: str) -> tuple[str, ...]:
    try:
        parse_config({"cameras": {"a": {"source": "demo:"}}}, {name: "x"})
    except ValueError as error:
        return (str(error),)
    except Exception as error:  # ConfigError: a sentence for each problem
        return tuple(getattr(error, "problems", ()))
    return ()


@BY_PAGE
def test_profiles_and_services_of_compose_are_there(page: Path) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    profiles = {each for service in services.values() for each in service.get("profiles", ())}
    for profile in re.findall(r"--profile (\w+)", page.read_text()):
        assert profile in profiles, f"{page.name}: {profile}"


@BY_PAGE
def test_exit_codes_are_those_of_the_program(page: Path) -> None:
    ours = {v for name, v in vars(terminal).items() if name.startswith("EXIT_")}
    text = " ".join(page.read_text().split())
    told = set(map(int, re.findall(r"\b[Cc]ode (\d+)", text)))
    if page.name == "README.md":
        (section,) = re.findall(r"## Exit codes (.*?) A second signal", text)
        told = set(map(int, re.findall(r"(?:^|, )(\d+) ", section)))
        assert told == ours
    if page.name == "runbook.md":
        told |= set(
            map(int, re.findall(r"exit code (\d+) .*? (\d+) .*? (\d+) .*? (\d+) ", text)[0])
        )
    assert told <= ours, f"{page.name}: {told - ours}"


def test_wrong_words_would_be_found() -> None:
    assert "not_fund" not in words_of_the_code()
    assert not any(known.fullmatch("/api/v2/cameras") for known in addresses())
    assert any(known.fullmatch("/api/v1/cameras/x") for known in addresses())
    assert _problems("STREAMER__MODLE__CONFIDENCE")
