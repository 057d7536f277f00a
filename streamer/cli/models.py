"""The commands of `streamer models`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from streamer.errors import ConfigError
from streamer.terminal import EXIT_FAILED, print_line

models_cli = typer.Typer(
    help="The detector's models: list, fetch, verify, measure.", no_args_is_help=True
)


@models_cli.command("list")
def models_list() -> None:
    """The models there are, and which are here."""
    from streamer.models.console import print_models

    print_models()


@models_cli.command("pull")
def models_pull(
    name: Annotated[str, typer.Argument(help="A name of `streamer models list`.")] = (
        "retinaface_mnet025"
    ),
) -> None:
    """Fetch a model and check its hash."""
    from streamer.models.console import pull_with_progress

    _must_be_a_model(name)
    pull_with_progress(name)


def _must_be_a_model(name: str) -> None:
    from streamer.inference.entries import load_registry

    if name not in load_registry():
        raise ConfigError([f"there is no model {name!r}; use one of {', '.join(load_registry())}"])


@models_cli.command("verify")
def models_verify() -> None:
    """Check the hash of every model that is here."""
    from streamer.models.console import print_verified

    if not print_verified():
        raise typer.Exit(EXIT_FAILED)


@models_cli.command("path")
def models_path(name: Annotated[str, typer.Argument()] = "retinaface_mnet025") -> None:
    """Print where a model lies."""
    from streamer.inference.registry import locate

    _must_be_a_model(name)
    print_line(str(locate(name, environ=os.environ)))


@models_cli.command("bench")
def models_bench(
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the figures into this SVG file.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:N, tensorrt, tensorrt:N or openvino.")
    ] = "auto",
) -> None:
    """Measure milliseconds and memory of every model that is here, on this machine."""
    from streamer.config import DEVICE, DEVICES
    from streamer.models.bench import bench_models

    if not re.match(DEVICE, device):
        raise ConfigError([f"--device must be {DEVICES}, not {device!r}"])
    if not bench_models(as_json=json, plot=plot, device=device, print_line=print_line):
        raise typer.Exit(EXIT_FAILED)
