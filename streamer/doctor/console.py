"""What `streamer doctor` prints: a progress bar while it looks, then a table or lines or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from streamer.doctor.checks import (
    CONFIGURATION,
    VERDICTS,
    Check,
    Finding,
    Verdict,
    checks,
    worst,
)
from streamer.doctor.checks import as_json as document
from streamer.terminal import EXIT_CONFIG, EXIT_FAILED, EXIT_OK

_STYLES: Final[dict[Verdict, str]] = {"good": "green", "warning": "yellow", "bad": "bold red"}
_TABLE_WIDTH: Final = 80


def examine(
    config: Path | None,
    *,
    environ: Mapping[str, str],
    as_json: bool = False,
    print_line: Callable[[str], None] = print,
) -> int:
    """Look at everything and print what was found; the exit code to end with.

    That is 0 where nothing is bad, 2 where only the configuration is, else 1.

    ``config`` is a configuration file or None. With ``as_json`` one JSON document goes out
    by ``print_line``; else a table on a terminal of 80 columns or more, and lines elsewhere.
    Progress goes to standard error, and only to a terminal.
    """
    findings = gather(checks(config, environ=environ))
    if as_json:
        print_line(json.dumps(document(findings), indent=2))
    else:
        show(findings, Console(highlight=False))
    bad = {finding.name for finding in findings if finding.verdict == "bad"}
    return EXIT_CONFIG if bad == {CONFIGURATION} else EXIT_FAILED if bad else EXIT_OK


def gather(parts: Sequence[Check], console: Console | None = None) -> list[Finding]:
    """Run the checks one after the other, with a bar on ``console`` (standard error)."""
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn())
    findings = []
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as p:
        task = p.add_task("", total=sum(part.count for part in parts))
        expected = 0
        for part in parts:
            p.update(task, description=f"looking at {part.title}")
            for finding in part.run():
                findings.append(finding)
                p.update(task, advance=1)
            expected += part.count  # a check may find more or less than is usual
            p.update(task, completed=expected)
    return findings


def show(findings: Sequence[Finding], console: Console) -> None:
    """Print the findings in order, and how many there are of each verdict."""
    if console.is_terminal and console.width >= _TABLE_WIDTH:
        console.print(_table(findings))
    else:
        for finding in findings:
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            line = f"{finding.verdict:<7}  {finding.name}: {finding.detail}{remedy}"
            console.print(line, markup=False, soft_wrap=True)
    console.print(_summary(findings))


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("found, and what to do", overflow="fold")
    for finding in findings:
        words = Text(finding.detail)
        if finding.remedy:
            words.append(f"\n{finding.remedy}", style="bold")
        table.add_row(Text(finding.verdict, _STYLES[finding.verdict]), Text(finding.name), words)
    return table


def _summary(findings: Sequence[Finding]) -> Text:
    counts = [
        f"{sum(finding.verdict == verdict for finding in findings)} {verdict}"
        for verdict in VERDICTS
    ]
    return Text(", ".join(counts), _STYLES[worst(findings)])
