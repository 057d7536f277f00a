"""Which session, how many workers, what batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamer.config import Config, parse_config
from streamer.engine import cores, open_engine

ROOT = Path(__file__).resolve().parent.parent


def config(cameras: dict[str, Any], **sections: Any) -> Config:
    return parse_config({"cameras": cameras, "device": "cpu", **sections}, {})


@pytest.fixture(autouse=True)
def the_model(model_path: Path) -> None:
    """Every test here needs the real model."""


def test_workers_follow_cores_and_cameras() -> None:
    one = config({"a": {"source": "synthetic:"}})
    alone = open_engine(one, base_folder=ROOT, environ={}, cameras=1)
    assert (alone.workers, alone.max_batch, alone.model) == (1, 1, "retinaface_mnet025")
    assert open_engine(one, base_folder=ROOT, environ={}, cameras=50).workers == cores()
    asked = config({"a": {"source": "synthetic:"}}, inference={"workers": 3, "max_batch": 2})
    engine = open_engine(asked, base_folder=ROOT, environ={}, cameras=50)
    assert (engine.workers, engine.max_batch) == (3, 2)


def test_a_model_of_ones_own_keeps_its_name(tmp_path: Path, model_bytes: bytes) -> None:
    (tmp_path / "mine.onnx").write_bytes(model_bytes)
    settings = config({"a": {"source": "synthetic:"}}, model={"path": "mine.onnx"})
    engine = open_engine(settings, base_folder=tmp_path, environ={}, cameras=1)
    assert engine.model == "retinaface_mnet025"  # known by its hash, whatever the file is called
