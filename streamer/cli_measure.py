"""The command that measures how many cameras this machine carries."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from streamer.terminal import EXIT_FAILED, print_line


def bench(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="Use its model and settings.")
    ] = None,
    latency: Annotated[
        float, typer.Option(min=1, max=5000, help="Milliseconds that the p95 must stay under.")
    ] = 100.0,
    most: Annotated[int, typer.Option(min=1, max=1000, help="Cameras to try at most.")] = 64,
    seconds: Annotated[
        float, typer.Option(min=1, max=600, help="Measure each number of cameras for so long.")
    ] = 5.0,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Find how many cameras this machine carries, and what stands in the way of one more."""
    from streamer.bench_console import bench as find

    if not find(
        config, environ=os.environ, limit_ms=latency, most=most, seconds=seconds, as_json=json,
        print_line=print_line,
    ):  # fmt: skip
        raise typer.Exit(EXIT_FAILED)
