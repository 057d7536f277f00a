"""Writes docs/reliability.md from docs/reliability.json; `--check` only looks.

``make faults`` leaves what it measured in ``build/faults/results.json``. With ``--take`` that
file (and ``build/soak/soak.json``, where it is there) becomes ``docs/reliability.json`` first.
``--again FILE`` puts the lines of another such file, of some rows run again by themselves, in the
place of theirs; the page says which.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build" / "faults" / "results.json"
SOAK = ROOT / "build" / "soak" / "soak.json"
KEPT = ROOT / "docs" / "reliability.json"
PAGE = ROOT / "docs" / "reliability.md"

HEAD = """# Reliability

*Cameras fail; streamer does not. Every line below is a test: `make faults` runs them all and prints
this table, `make test` runs the fast ones, `make soak MINUTES=20` runs the last section.*

The program under test is the real one, started as you start it. Beside the camera that fails run
two that are well. The camera is an RTSP server of our own (`tests/faults/server.py`) that can
misbehave at any moment, and a proxy (`tests/faults/proxy.py`) that is a bad wire. What is
measured is read from outside: from the status, the metrics, the events, the log and the kernel,
ten times a second; half a second is allowed on top of each bound for that and for a busy machine.
The promises of the last table are judged in every scene of several cameras; the rows on stopping,
on 100 cameras and on a hanging detector judge their own ledgers, rates and secrets.
"""

GROUPS = {
    "A stream that was live": ("1", "2", "3", "4", "4b", "5", "6", "23", "24", "F2"),
    "A camera that does not answer": (
        "7",
        "8",
        "9",
        "10",
        "11",
        "12",
        "13",
        "14",
        "15",
        "16",
        "17",
    ),
    "A camera that goes and comes": ("18", "19", "20", "21"),
    "What a camera sends": ("22", "25", "26", "27", "28", "29", "30", "31", "32", "F1", "59"),
    "More than can be looked at": ("33", "34", "35"),
    "Being stopped": ("46", "49"),
    "Faults at random": ("3.12",),
}
"""Headings, and the rows under them by the beginning of their number."""

ORACLE = {
    "O1": "The other cameras' rate moves less than 5 %",
    "O2": "Every ledger closes, in every reading and at the end, with nothing in flight",
    "O3": "Memory, open files and threads are back where they were",
    "O4": "The password and the user name, raw or encoded, show nowhere",
}
"""What holds in every run, whatever fails."""


def stem(row: str) -> str:
    """The number a row is sorted under: ``30`` for ``30b``, ``3.12`` and ``F1`` as they are."""
    return row if row in ("F1", "4b") else row.rstrip("abcdefgh")


def cell(text: str) -> str:
    """``text`` fit for a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


def table(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| row | fault | required | measured | |", "|---|---|---|---|---|"]
    for row in rows:
        verdict = "pass" if row["pass"] else "**FAIL**"
        cells = (row["row"], row["fault"], row["bound"], row["measured"], verdict)
        lines.append("| " + " | ".join(map(cell, cells)) + " |")
    return lines


def page(kept: dict[str, Any]) -> str:
    """The whole document. Raises ``LookupError`` when a row stands under no heading."""
    rows: list[dict[str, Any]] = kept["rows"]
    passed = sum(row["pass"] for row in rows)
    lines = [
        HEAD,
        f"Run of {kept['date']} on {kept['machine']}: **{passed} of {len(rows)} lines pass**. "
        "A letter behind the number of a row marks a variant."
        + (" **The soak fails**; see the end." if (kept.get("soak") or {}).get("faults") else "")
        + _again(kept.get("again")),
    ]
    left = [row for row in rows if row["row"] not in ORACLE]
    for heading, stems in GROUPS.items():
        mine = [row for row in left if stem(row["row"]) in stems]
        left = [row for row in left if row not in mine]
        if mine:
            lines += ["", f"## {heading}", "", *table(mine)]
    if left:
        raise LookupError(f"no heading for {', '.join(row['row'] for row in left)}; see GROUPS")
    lines += ["", "## In every run", ""]
    lines += ["| promise | run | measured | |", "|---|---|---|---|"]
    for name, promise in ORACLE.items():
        for row in (row for row in rows if row["row"] == name):
            verdict = "pass" if row["pass"] else "**FAIL**"
            cells = (promise, row["fault"], row["measured"], verdict)
            lines.append("| " + " | ".join(map(cell, cells)) + " |")
    failed = [row for row in rows if not row["pass"]]
    if failed:
        lines += ["", "## What fails", ""]
        lines += [
            f"* **{row['row']}**, {row['fault']}: {cell('; '.join(row['failures']))[:400]}"
            for row in failed
        ]
    return "\n".join([*lines, *soak(kept.get("soak")), ""])


def _again(lines: list[str] | None) -> str:
    if not lines:
        return ""
    return (
        " These had failed and were run again by themselves, once a fault was mended or other "
        f"programs used less of the machine: {', '.join(lines)}."
    )


def _resident(result: dict[str, Any]) -> str:
    if "resident_mb_per_hour" not in result:
        return ""
    slope = result["resident_mb_per_hour"]
    return (
        f" (with the pages of files, which the kernel drops and reads again as it likes, "
        f"{slope['middle']:+.2f}, {slope['low']:+.2f} to {slope['high']:+.2f})"
    )


def soak(result: dict[str, Any] | None) -> list[str]:
    """The section on the soak; nothing without a result."""
    if result is None:
        return []
    slope = result["slope_mb_per_hour"]
    verdict = "pass" if not result["faults"] else f"**FAIL**: {'; '.join(result['faults'])}"
    environ = " ".join(f"`{name}={value}`" for name, value in result.get("environ", {}).items())
    told = f", with {environ} so that freed pictures go back to the kernel at once" * bool(environ)
    return [
        "",
        "## The soak",
        "",
        f"{result['minutes']:g} minutes in {result['rounds']} rounds; in each, every fault of "
        "`tests/faults/schedule.py` befalls a camera, and all but one are taken out of the "
        f"configuration file and put back. Cameras were lost {result['losses']} times. Memory (the "
        f"least of each quiet part{told}, after the warm-up): {slope['middle']:+.2f} MB an hour by "
        f"Theil-Sen, 95 % interval {slope['low']:+.2f} to {slope['high']:+.2f}, at most 1 allowed"
        f"{_resident(result)}; "
        f"{result['files']:+d} files, {result['threads']:+d} threads. {verdict}.",
    ]


def replaced(
    rows: list[dict[str, Any]], again: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """``rows`` with those of ``again`` in their places, and which these are.

    Raises ``LookupError`` for one that was not run the first time.
    """
    newer = {(row["row"], row["fault"]): row for row in again}
    missing = newer.keys() - {(row["row"], row["fault"]) for row in rows}
    if missing:
        raise LookupError(f"not in the first run: {sorted(missing)}")
    return [newer.get((row["row"], row["fault"]), row) for row in rows], sorted(
        {fault for _, fault in newer}
    )


def taken(again: Path | None) -> dict[str, Any]:
    """What the last runs left in build/. Raises ``SystemExit`` when there is nothing."""
    if not RESULTS.is_file():
        raise SystemExit(f"{RESULTS.relative_to(ROOT)} is missing; run `make faults` first")
    kept: dict[str, Any] = {
        "date": datetime.fromtimestamp(RESULTS.stat().st_mtime, UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "rows": json.loads(RESULTS.read_text(encoding="utf-8")),
    }
    if again is not None:
        kept["rows"], kept["again"] = replaced(kept["rows"], json.loads(again.read_text("utf-8")))
    if SOAK.is_file():
        result = json.loads(SOAK.read_text(encoding="utf-8"))
        if not result["leaky"]:
            del result["points"]
            kept["soak"] = result
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--take", action="store_true", help="take the last run's results first")
    parser.add_argument("--check", action="store_true", help="fail when the page would change")
    parser.add_argument("--again", type=Path, metavar="FILE", help="rows that were run again")
    arguments = parser.parse_args()
    if arguments.take:
        KEPT.write_text(json.dumps(taken(arguments.again), indent=1) + "\n", encoding="utf-8")
    if not KEPT.is_file():
        sys.exit("docs/reliability.json is missing; run `make faults`, then this with --take")
    text = page(json.loads(KEPT.read_text(encoding="utf-8")))
    if arguments.check and (not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text):
        sys.exit("docs/reliability.md does not agree with docs/reliability.json; run `make docs`")
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
