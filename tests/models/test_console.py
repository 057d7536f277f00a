"""What `streamer models` prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.config_sections import Model
from streamer.inference.entries import load_registry
from streamer.models import console as models_console


def test_the_table_names_every_model_and_its_figures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    models_console.print_models()
    shown = capsys.readouterr().out
    for entry in load_registry().values():
        row = next(line for line in shown.splitlines() if entry.name in line)
        assert ("1.7 MB" in row) == (entry.size is not None)
        assert ("not published" in row) == (not entry.wider_face)


def test_verify_says_good_only_when_all_are(
    capsys: pytest.CaptureFixture[str], model_path: object
) -> None:
    assert models_console.print_verified() is True
    assert "retinaface_mnet025: good" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "environ", "fetched"),
    [
        (Model(), {}, True),
        (Model(path=Path("mine.onnx")), {}, False),
        (Model(name="auto"), {}, False),
        (Model(), {"RETINAFACE_MODEL_PATH": "/somewhere"}, False),
    ],
)
def test_what_is_missing_is_fetched_unless_a_file_is_named(
    model: Model,
    environ: dict[str, str],
    fetched: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(models_console, "model_path", lambda name: tmp_path / f"{name}.onnx")
    monkeypatch.setattr(models_console, "pull_with_progress", asked.append)
    models_console.pull_if_missing(model, environ=environ)
    assert asked == ([model.name] if fetched else [])
    asked.clear()
    (tmp_path / f"{model.name}.onnx").touch()
    models_console.pull_if_missing(model, environ=environ)
    assert asked == []
