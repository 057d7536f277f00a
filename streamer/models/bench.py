"""`streamer models bench`: what each model costs on this machine, as a table, JSON and a plot."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from streamer import __version__
from streamer.errors import ModelError, StreamerError
from streamer.inference.entries import ModelEntry, load_registry
from streamer.inference.measure import MEASURED, SCHEMA, Measurement, machine, measure_apart, save
from streamer.inference.registry import model_path, read_model
from streamer.models.plot import plot_svg
from streamer.resources import cache_folder

INPUT_SIZES: Final = (320, 640, 1280)
"""Long sides that are measured: a far corridor, the default, and a crowd."""

_MIB: Final = 1 << 20
_COLUMNS: Final = (
    "model", "input", "device", "ms median", "min", "max", "first ms", "pictures/s", "memory MiB",
    "GPU MiB",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trial:
    """One model at one input size: what was measured, or the sentence why it could not be."""

    model: str
    input_size: int
    measured: Measurement | None
    problem: str = ""


def trials(
    names: Sequence[str],
    *,
    device: str = "auto",
    input_sizes: Sequence[int] = INPUT_SIZES,
    seconds: float = 1.5,
    cache: Path | None = None,
    registry: Mapping[str, ModelEntry] | None = None,
) -> Iterator[Trial]:
    """Measure the models ``names`` one by one, each size in a process of its own.

    ``input_sizes`` are multiples of 32, pixels. A model that cannot be read, loaded or run is a
    trial with a problem, and the next one follows.
    """
    known = load_registry() if registry is None else registry
    for name in names:
        for size in input_sizes:
            try:
                content = read_model(name, model_path(name, cache), registry=known).content
                measured = measure_apart(
                    content, model=name, input_size=size, device=device, seconds=seconds
                )
            except StreamerError as error:
                yield Trial(name, size, None, str(error))
            else:
                yield Trial(name, size, measured)


def present(
    cache: Path | None = None, registry: Mapping[str, ModelEntry] | None = None
) -> tuple[list[str], list[str]]:
    """Names of the registry's models whose files are in the cache, and of those that are not."""
    known = load_registry() if registry is None else registry
    here = [name for name in known if model_path(name, cache).is_file()]
    return here, [name for name in known if name not in here]


def document(done: Sequence[Trial], absent: Sequence[str]) -> dict[str, Any]:
    """What ``--json`` prints: plain values, ``schema`` first."""
    return {
        "schema": SCHEMA,
        "streamer": __version__,
        "machine": machine(),
        "measurements": [asdict(trial.measured) for trial in done if trial.measured],
        "problems": [
            {"model": trial.model, "input_size": trial.input_size, "problem": trial.problem}
            for trial in done
            if trial.measured is None
        ],
        "absent": list(absent),
    }


def table(done: Sequence[Trial]) -> Table:
    """The trials as a table; one that failed says why across its row."""
    grid = Table(box=box.SIMPLE_HEAD)
    for name in _COLUMNS:
        grid.add_column(name, justify="left" if name in _COLUMNS[:3] else "right", no_wrap=True)
    for trial in done:
        one = trial.measured
        if one is None:
            grid.add_row(trial.model, str(trial.input_size), Text("failed", style="red"))
            continue
        grid.add_row(
            one.model,
            f"{one.width}x{one.height}",
            one.device,
            f"{one.ms_median:.1f}",
            f"{one.ms_min:.1f}",
            f"{one.ms_max:.1f}",
            f"{one.first_ms:.1f}",
            "-" if one.per_second is None else f"{one.per_second:.0f}",
            f"{one.memory / _MIB:.0f}",
            "-" if one.gpu_memory is None else f"{one.gpu_memory / _MIB:.0f}",
        )
    return grid


def bench_models(
    *,
    as_json: bool = False,
    plot: Path | None = None,
    device: str = "auto",
    input_sizes: Sequence[int] = INPUT_SIZES,
    seconds: float = 1.5,
    cache: Path | None = None,
    registry: Mapping[str, ModelEntry] | None = None,
    print_line: Callable[[str], None] = print,
) -> bool:
    """Measure every model that is here, print it, and keep it for ``model: auto``.

    With ``as_json`` a JSON document is printed by ``print_line`` in place of the table; ``plot``
    is an SVG file to write. Progress goes to standard error, and only to a terminal. True when
    every trial gave figures. Raises ModelError when no model is here or ``plot`` cannot be
    written or is not called ``.svg``.
    """
    if plot is not None:
        _check_plot(plot)
    here, absent = present(cache, registry)
    if not here:
        raise ModelError("no models are here; run `streamer models pull` first")
    done = []
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(here[0], total=len(here) * len(input_sizes))
        for trial in trials(
            here,
            device=device,
            input_sizes=input_sizes,
            seconds=seconds,
            cache=cache,
            registry=registry,
        ):
            done.append(trial)
            bar.update(task, advance=1, description=f"{trial.model} {trial.input_size}")
    measured = [trial.measured for trial in done if trial.measured]
    kept = _keep(measured, cache)
    if plot is not None and measured:
        _write_plot(plot, measured)
    if as_json:
        print_line(json.dumps(document(done, absent), indent=2))
    else:
        _print(done, absent, kept=kept, plot=plot if measured else None)
    return len(measured) == len(done)


def _print(done: Sequence[Trial], absent: Sequence[str], *, kept: str, plot: Path | None) -> None:
    console = Console(highlight=False)
    about = machine()
    console.print(
        f"{about['processor']}, {about['cores']} cores, {about['onnxruntime']}",
        markup=False,
        soft_wrap=True,
    )
    (console if console.is_terminal else Console(width=140)).print(table(done))
    failed: dict[tuple[str, str], list[int]] = {}
    for trial in done:
        if trial.problem:
            failed.setdefault((trial.model, trial.problem), []).append(trial.input_size)
    lines = [
        f"{model} at {', '.join(map(str, sizes))}: {problem}"
        for (model, problem), sizes in failed.items()
    ]
    warnings = {trial.measured.warning for trial in done if trial.measured}
    lines += sorted(warning for warning in warnings if warning)
    if absent:
        lines.append(
            f"not here, so not measured: {', '.join(absent)}; `streamer models pull NAME` brings "
            "one"
        )
    if plot is not None:
        lines.append(f"the plot is in {plot}")
    for line in [*lines, kept]:
        console.print(line, markup=False, soft_wrap=True)


def _keep(measured: Sequence[Measurement], cache: Path | None) -> str:
    """Keep the figures for ``model: auto``; what became of it, in a sentence."""
    if not measured:
        return "nothing was kept for `model: auto`"
    path = (cache_folder() if cache is None else cache) / MEASURED
    try:
        save(path, measured)
    except OSError as error:
        return f"not kept for `model: auto`, since {path} cannot be written ({error.strerror})"
    return f"kept in {path} for `model: auto`"


def _check_plot(plot: Path) -> None:
    """Object before minutes are spent on measuring."""
    if plot.suffix.lower() != ".svg":
        raise ModelError(f"the plot is an SVG and cannot be called {plot.name}; end it in .svg")
    if not plot.absolute().parent.is_dir():
        raise ModelError(f"the folder of {plot} is not there; make it or choose another")


def _write_plot(plot: Path, measured: Sequence[Measurement]) -> None:
    about = machine()
    title = f"RetinaFace models on {about['processor']}, {about['cores']} cores"
    if gpus := sorted({one.device for one in measured} - {"cpu"}):
        title += f", {', '.join(gpus)}"
    try:
        plot.write_text(plot_svg(measured, title=title), encoding="utf-8")
    except OSError as error:
        raise ModelError(
            f"{plot} cannot be written ({error.strerror}); choose another place"
        ) from None
