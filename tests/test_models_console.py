"""What `streamer models` prints."""

from __future__ import annotations

import pytest

from streamer import models_console
from streamer.inference.entries import load_registry


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
