"""Writes what the documentation takes from the code, between its markers; `--check` only looks.

Run it by `make docs`; the tests run it with `--check`.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from streamer.publish.metrics import METRICS

ROOT = Path(__file__).resolve().parent.parent


def metrics_table() -> str:
    """The metrics as a Markdown table."""
    rows = ["| metric | labels | meaning |", "|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{metric.name}` ({metric.type}) | {labels} | {metric.meaning} |")
    return "\n".join(rows)


def filled(text: str, marker: str, content: str) -> str:
    """``text`` with ``content`` between the two comments of ``marker``."""
    begin, end = f"<!-- {marker}: begin -->", f"<!-- {marker}: end -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"there is no {begin} … {end}; put it back")
    return pattern.sub(lambda _: f"{begin}\n{content}\n{end}", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when a file would change")
    check = parser.parse_args().check
    path = ROOT / "README.md"
    before = path.read_text(encoding="utf-8")
    after = filled(before, "metrics", metrics_table())
    if check and before != after:
        sys.exit("README.md does not agree with the code; run `make docs`")
    path.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
