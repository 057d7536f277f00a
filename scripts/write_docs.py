"""Writes what the documentation takes from the code; `--check` only looks.

Run it by `make docs`; the tests run it with `--check`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from scripts.pages import configuration, dashboards, events, extending, licences, logs, metrics

ROOT = Path(__file__).resolve().parent.parent

PAGES: dict[str, Callable[[], str]] = {
    "docs/configuration.md": configuration.page,
    "docs/events.md": events.page,
    "docs/events.schema.json": events.schema_file,
    "docs/extending.md": extending.page,
    "docs/licences.md": licences.page,
    "docs/logs.md": logs.page,
    "docs/metrics.md": metrics.page,
    "deploy/grafana/dashboards/fleet.json": dashboards.fleet,
    "deploy/grafana/dashboards/camera.json": dashboards.camera,
}
"""Every file that is written from the code, and what writes it."""

DEPENDS = ("docs/licences.md",)
"""Those that depend on what is installed; the tests compare them in a way of their own."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when a file would change")
    check = parser.parse_args().check
    old = []
    for name, page in PAGES.items():
        if check and name in DEPENDS:
            continue
        path, text = ROOT / name, page()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            old.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
    if check and old:
        sys.exit(f"{', '.join(old)}: not what the code says; run `make docs`")


if __name__ == "__main__":
    main()
