"""The commands that measure: how many cameras this machine carries, and what suits them."""

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
    from streamer.bench.console import bench as find

    if not find(
        config, environ=os.environ, limit_ms=latency, most=most, seconds=seconds, as_json=json,
        print_line=print_line,
    ):  # fmt: skip
        raise typer.Exit(EXIT_FAILED)


def tune(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file; see configs/.")],
    fps: Annotated[
        float, typer.Option(min=0.1, max=100, help="Frames a second that each camera gives.")
    ] = 15.0,
    face: Annotated[
        float, typer.Option(min=10, max=100, help="Pixels of a face, in a picture 1280 wide.")
    ] = 100.0,
    cameras: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Reckon with so many cameras.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=1, max=3600, help="Look at the demo clip for so long.")
    ] = 20.0,
    check: Annotated[bool, typer.Option(help="Run what is recommended, for some seconds.")] = True,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Find the input size and the rate that suit these cameras on this machine."""
    from streamer.tune.console import tune as find

    if not find(
        config, environ=os.environ, fps=fps, face_px=face, cameras=cameras, look_s=seconds,
        check=check, as_json=json, print_line=print_line,
    ):  # fmt: skip
        raise typer.Exit(EXIT_FAILED)
