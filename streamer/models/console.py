"""What `streamer models` prints: the table, the progress of a fetch, what was verified."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from streamer.config_sections import Model
from streamer.inference.entries import load_registry
from streamer.inference.fetch import pull
from streamer.inference.registry import PATH_VARIABLE, model_path, verify


def print_models() -> None:
    """Print every model of the registry, its published figures, and whether it is here."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("name", "here", "licence"):
        table.add_column(name)
    table.add_column("size", justify="right")
    table.add_column("WIDER FACE easy / medium / hard (published)")
    for entry in load_registry().values():
        figures = "; ".join(
            f"{' / '.join(f'{figure:.2f}' for figure in triple)} ({how})"
            for how, triple in entry.wider_face.items()
        )
        size = "unknown" if entry.size is None else f"{entry.size / 1e6:.1f} MB"
        here = "yes" if model_path(entry.name).is_file() else "no"
        table.add_row(entry.name, here, entry.licence, size, figures or "not published")
    Console().print(table)


def pull_with_progress(name: str) -> None:
    """Fetch a model with a bar on standard error, then print its path. Raises ModelError."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
    )  # fmt: skip
    path = ""
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        for step in pull(name):
            bar.update(task, description=step.source, completed=step.done, total=step.total)
            if step.state == "failed":
                console.print(f"{step.source}: {step.detail}", soft_wrap=True)
            if step.state == "ready":
                path = step.detail
    Console().print(f"{name}: {path}", soft_wrap=True, highlight=False)


def pull_if_missing(wanted: Model, *, environ: Mapping[str, str]) -> None:
    """Fetch the model of a configuration where it is one of ours and is not here yet.

    Where a file is named, by the configuration or in RETINAFACE_MODEL_PATH, nothing is fetched.
    Raises ModelError when no source gives it.
    """
    ours = wanted.name in load_registry() and wanted.path is None
    if ours and not environ.get(PATH_VARIABLE) and not model_path(wanted.name).is_file():
        Console(stderr=True).print(f"the model {wanted.name} is fetched, once")
        pull_with_progress(wanted.name)


def print_verified() -> bool:
    """Check every model that is here and print a line for each; True when all are good."""
    console = Console()
    checks = verify()
    if not checks:
        console.print("no models are here; run `streamer models pull`")
    for found in checks:
        console.print(f"{found.name}: {found.problem or 'good'}", soft_wrap=True, highlight=False)
    return all(found.good for found in checks)
