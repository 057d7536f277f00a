"""What a reader is told to type or write, in README and docs, is there and is right.

Every fenced block is looked at, by its language, and none is executed here: :data:`LOOKED_AT` says
what is done with each instead, and why. Commands of other programs, which are not even looked up,
are in :data:`NOT_RUN`, each with the reason.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from streamer import events
from streamer.cli.commands import cli
from streamer.config import Config, parse_config
from tests.e2e.program import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

LOOKED_AT = {
    "sh": "not executed: it is for the reader's cameras, files and machine. Each command of "
    "streamer is found with its options, and each target of make; tests/cli and tests/e2e run them",
    "yaml": "not executed: its cameras are the reader's. It is read as streamer reads it",
    "json": "nothing to execute. One reader of events takes it, where it is an event",
    "python": "not executed: it listens without end. It compiles, and what it imports is there; "
    "the one under README's Subscribe is executed by tests/e2e/test_demo.py, examples/ by theirs",
    "html": "not executed: needs a browser; tests/test_reader_words.py looks for its address",
    "text": "nothing to execute: what a program prints",
    "": "nothing to execute: a drawing",
}
"""What is done with a block of each language, and why it is not executed here."""

NOT_RUN = {
    "docker": "needs an engine; tests/deploy looks at what it would run",
    "deploy/make-secrets.sh": "run by tests/deploy/test_compose.py",
    "python3": "makes an environment; tests/test_package.py does",
    "pip": "installs; tests/test_package.py does",
    "install": "writes to the system", "systemctl": "needs systemd as process 1",
    "mkdir": "files of the reader", "cp": "files of the reader", "apt-get": "installs",
    "jq": "another program", "curl": "tests/web ask for the same addresses",
    "openssl": "makes files of the reader",
    "python": "examples, run by tests/test_examples.py", "npm": "another language",
    "nvidia-smi": "needs a GPU", "ffmpeg": "another program", "ffplay": "another program",
    "mosquitto_sub": "another program", "vlc": "another program", "mpv": "another program",
    "source": "the reader's shell", "export": "the reader's shell", "cd": "the reader's shell",
}  # fmt: skip
"""Programs that this test does not look into, and why."""

ROOT_COMMAND = typer.main.get_command(cli)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def blocks(path: Path) -> Iterator[tuple[str, str]]:
    """Language and text of every fenced block."""
    yield from re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def all_blocks(*languages: str) -> list[Any]:
    found = []
    for path in PAGES:
        for number, (language, text) in enumerate(blocks(path)):
            if language in languages:
                found.append(pytest.param(text, id=f"{path.name}-{number}"))
    return found


def commands(text: str) -> Iterator[list[str]]:
    """The simple commands of a shell block, without comments, assignments and what is piped."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        words = shlex.split(line.replace("…", "x"), comments=True)
        command: list[str] = []
        for word in [*words, "&&"]:
            if word in ("&&", "|", ";", "&"):
                if command:
                    yield command
                command = []
            elif command or not re.fullmatch(r"\w+=.*", word):
                command.append(word)


def assert_command_exists(words: list[str]) -> None:
    """Fails where streamer has no such command, or the command no such option."""
    command: Any = ROOT_COMMAND  # of click, whichever copy of it typer uses
    rest = list(words)
    while rest and hasattr(command, "commands"):
        found = command.commands.get(rest[0])
        assert found is not None, f"streamer has no command {rest[0]!r}: {words}"
        command = found
        rest = rest[1:]
    known = {"--help", *(name for option in command.params for name in (
        *option.opts, *option.secondary_opts))}  # fmt: skip
    for word in rest:
        if word.startswith("-") and word != "-":
            assert word.partition("=")[0] in known, f"streamer has no {word}: {words}"


@pytest.mark.parametrize("text", all_blocks("sh", "bash", "shell"))
def test_every_command_of_the_documents_is_there(text: str) -> None:
    for words in commands(text):
        program = words[0].rsplit("/", 1)[-1] if not words[0].startswith("deploy/") else words[0]
        if program == "streamer":
            assert_command_exists(words[1:])
        elif program == "make":
            for word in words[1:]:
                assert "=" in word or word in TARGETS, f"there is no make {word}"
        else:
            assert program in NOT_RUN, f"{program}: run it in a test, or say why not in NOT_RUN"


def not_given(page: str) -> list[str]:
    """The commands of a page that use a file of it without a variable that this file asks for.

    A file is a block of YAML after a sentence that names it. A variable is given before the
    command, or exported in this page before.
    """
    asked: dict[str, set[str]] = {}
    exported: set[str] = set()
    found = []
    for before, language, text in re.findall(
        r"([^\n]*)\n+```(\w*)\n(.*?)^```", page, re.MULTILINE | re.DOTALL
    ):
        named = re.findall(r"`([\w-]+\.yaml)`", before)
        if language == "yaml" and named:
            asked[named[-1]] = set(re.findall(r"\$\{(\w+)\}", text))
        joined = re.sub(r"\\\n\s*", " ", text)
        for line in joined.splitlines() if language == "sh" else ():
            words = shlex.split(line, comments=True)
            given = {word.partition("=")[0] for word in words if re.match(r"\w+=", word)}
            if words[:1] == ["export"]:
                exported |= given
            wanted = set().union(*(asked.get(word, set()) for word in words))
            if any(word.endswith("streamer") for word in words) and wanted - given - exported:
                found.append(line)
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_is_given_the_variables_that_its_file_asks_for(path: Path) -> None:
    assert not_given(path.read_text()) == []


def test_a_variable_that_is_not_given_would_be_found() -> None:
    page = "Write `a.yaml`:\n\n```yaml\nx: ${B}\n```\n\n```sh\n%s\n```\n"
    for line in (
        "streamer run b.yaml",
        "B=… streamer run a.yaml",
        "export B=1\nstreamer run a.yaml",
    ):
        assert not_given(page % line) == []
    for line in ("streamer run a.yaml", "B=… streamer check a.yaml\nstreamer doctor a.yaml"):
        assert not_given(page % line) == [line.splitlines()[-1]]


@pytest.mark.parametrize("text", all_blocks("yaml"))
def test_every_configuration_of_the_documents_is_one(text: str) -> None:
    values = yaml.safe_load(text)
    assert isinstance(values, dict)
    strange = set(values) - set(Config.model_fields)
    assert not strange, f"{strange}: no key; a file of another program needs an exception here"
    values.setdefault("cameras", {"a": {"source": "demo:"}})
    environ = {  # what would be a token, an address or a password
        name: "https://example.test/" if "URL" in name or "HOOK" in name else "a" * 32
        for name in re.findall(r"\$\{(\w+)", text)
    }
    parse_config(values, environ)


@pytest.mark.parametrize("text", all_blocks("json"))
def test_every_json_of_the_documents_is_some(text: str) -> None:
    value = json.loads(text)
    schema = str(value.get("schema", ""))
    if re.match(r"streamer\.(faces|camera|track|heartbeat)/", schema):  # one reader knows it
        modules = [import_module(f"streamer.{path.stem}")
                   for path in (ROOT / "streamer").glob("*events.py")]  # fmt: skip
        found = {id(each): each for module in modules for each in vars(module).values()
                 if isinstance(each, events.Reader)}  # fmt: skip
        known = []
        for reader in found.values():
            try:
                known.append(reader(text.encode()))
            except events.MalformedEvent:
                pass
        assert len(known) == 1, f"{len(known)} readers take this {schema}"


@pytest.mark.parametrize("text", all_blocks("python"))
def test_every_python_of_the_documents_compiles_and_finds_what_it_imports(text: str) -> None:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                import_module(alias.name)


def test_every_block_says_what_it_is_in() -> None:
    for path in PAGES:
        for language, text in blocks(path):
            drawing = re.search(r"[─│►]|^[a-z, |()]+$", text, re.MULTILINE)
            known = language in LOOKED_AT and (language or drawing)
            assert known, f"{path.name}: {language!r} {text[:60]!r}: say in LOOKED_AT what is done"
    told = {language for path in PAGES for language, _ in blocks(path)}
    assert told == LOOKED_AT.keys()


def test_a_command_that_is_not_there_would_be_found() -> None:
    for words in (["run", "--no-such"], ["models", "fetch"], ["nosuch"]):
        with pytest.raises(AssertionError, match="streamer has no"):
            assert_command_exists(words)
    assert list(commands("A=1 make x B=2 && cp a b # c\nd | e")) == [
        ["make", "x", "B=2"], ["cp", "a", "b"], ["d"], ["e"],
    ]  # fmt: skip
