"""`streamer models bench` on stand-in networks: table, JSON, plot, and models that fail."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from streamer.errors import ModelError
from streamer.inference.entries import ModelEntry
from streamer.inference.measure import MEASURED, load
from streamer.models import bench as models_bench
from streamer.models.bench import Trial, bench_models, document, present, table, trials
from tests.inference.standin import standin, standin_registry
from tests.inference.test_measure import ONE

SMALL, LARGE, GONE = "retinaface_mnet025", "retinaface_resnet50", "retinaface_mnet100"


@pytest.fixture
def registry(tmp_path: Path) -> dict[str, ModelEntry]:
    """Two models whose files are in ``tmp_path``, and one that was never fetched."""
    made = standin_registry(tmp_path, {SMALL: standin(), LARGE: standin(channels=32, layers=1)})
    made[GONE] = dataclasses.replace(made[SMALL], name=GONE)
    return made


def test_the_whole_command(
    registry: dict[str, ModelEntry], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"{LARGE}.onnx").write_bytes(b"damaged")
    plot = tmp_path / "plot.svg"
    good = bench_models(
        plot=plot, input_sizes=(64, 96), seconds=0.01, cache=tmp_path, registry=registry,
        device="cpu",
    )  # fmt: skip
    assert good is False
    shown = capsys.readouterr()
    assert shown.err == ""  # no bar where nobody watches
    assert shown.out.count("failed") == 2
    assert f"{LARGE} at 64, 96: " in shown.out
    assert f"not measured: {GONE}" in shown.out
    assert "64x64" in shown.out
    assert [one.input_size for one in load(tmp_path / MEASURED)] == [64, 96]
    assert ET.parse(plot).getroot().tag.endswith("svg")


def test_json_is_the_only_output(registry: dict[str, ModelEntry], tmp_path: Path) -> None:
    lines: list[str] = []
    assert bench_models(
        as_json=True, input_sizes=(64,), seconds=0.01, cache=tmp_path, registry=registry,
        device="cpu", print_line=lines.append,
    )  # fmt: skip
    told = json.loads("".join(lines))
    assert told["schema"] == 1
    assert [one["model"] for one in told["measurements"]] == [SMALL, LARGE]
    assert (told["problems"], told["absent"]) == ([], [GONE])


def test_a_device_that_is_not_there_is_a_problem_of_each_trial(
    registry: dict[str, ModelEntry], tmp_path: Path
) -> None:
    done = list(
        trials([SMALL], device="toaster", input_sizes=(64,), cache=tmp_path, registry=registry)
    )
    assert done[0].measured is None
    assert "toaster" in done[0].problem
    assert document(done, [])["problems"][0]["model"] == SMALL


def test_figures_that_nobody_has_are_a_dash() -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    gpu = dataclasses.replace(ONE, device="cuda", per_second=None, gpu_memory=5 << 20)
    console.print(table([Trial("a", 640, ONE), Trial("a", 640, gpu)]))
    rows = [line.split() for line in console.export_text().splitlines() if "640x384" in line]
    assert rows[0][-3:] == ["60", "1", "-"]
    assert rows[1][-3:] == ["-", "1", "5"]


def test_what_cannot_be_is_said_before_anything_is_measured(
    registry: dict[str, ModelEntry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models_bench, "trials", None)
    with pytest.raises(ModelError, match=r"end it in \.svg$"):
        bench_models(plot=tmp_path / "plot.png", cache=tmp_path, registry=registry)
    with pytest.raises(ModelError, match="folder"):
        bench_models(plot=tmp_path / "no" / "plot.svg", cache=tmp_path, registry=registry)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ModelError, match="streamer models pull"):
        bench_models(cache=empty, registry=registry)
    assert present(empty, registry) == ([], [SMALL, LARGE, GONE])


def test_a_cache_that_cannot_be_written_costs_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, registry: dict[str, ModelEntry],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(models_bench, "save", refuse)
    assert bench_models(
        input_sizes=(64,), seconds=0.01, cache=tmp_path, registry=registry, device="cpu"
    )
    assert "not kept for `model: auto`" in capsys.readouterr().out
