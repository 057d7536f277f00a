"""The comparison with peers: what it makes of their figures and of their failures."""

from __future__ import annotations

import os
import sys
from typing import Any
from xml.etree import ElementTree as ET

import av
import pytest

from benchmarks import peers
from benchmarks.peers import FOUR, ONE, PeerFailed, Side
from streamer.resources import resource

BOXES = [[(0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0)], []]
FOUND = [[[*box, 0.9] for box in boxes] for boxes in BOXES]


def result(fps: float, cpu_ms: float, faces: Any = FOUND) -> dict[str, Any]:
    return {"fps": fps, "cpu_ms": cpu_ms, "peak_mib": 1.0, "about": "it 1", "faces": faces}


def test_ratios_are_of_one_round_each() -> None:
    rounds = [
        {ONE: result(40, 30), FOUR: result(60, 20), "it": result(20, 80)},
        {ONE: result(20, 40), FOUR: result(40, 25), "it": result(10, 100)},
    ]
    it = peers.summarize(rounds, BOXES)["it"]
    assert it["four_cameras"]["fps_ratio"] == {"min": 3, "median": 3.5, "max": 4}
    assert it["four_cameras"]["cpu_ratio"] == {"min": 4, "median": 4, "max": 4}
    assert it["one_camera"]["cpu_ratio"] == pytest.approx(
        {"min": 2.5, "median": 2.583, "max": 2.667}, abs=1e-3
    )
    assert (it["faces"], it["recall"], it["precision"], it["same_faces"]) == (2, 1, 1, 1)


def test_faces_missed_and_invented_count() -> None:
    seen = [[[0, 0, 10, 10, 0.9]], [[50, 50, 60, 60, 0.8]]]  # one found, one missed, one invented
    rounds = [{ONE: result(1, 1), FOUR: result(1, 1), "it": result(1, 1, seen)}]
    it = peers.summarize(rounds, BOXES)["it"]
    assert (it["recall"], it["precision"], it["same_faces"]) == (0.5, 0.5, 0.5)


def test_a_clip_of_another_length_is_not_compared() -> None:
    with pytest.raises(ValueError, match="zip"):
        peers.compare(FOUND[:1], BOXES)


def test_a_failure_is_told_in_one_line_without_addresses() -> None:
    output = (
        "Looking in indexes: https://me:secret@example.org/simple\n"
        "ERROR: No matching distribution found, see https://me:secret@example.org/x\n\nnote: bye"
    )
    assert peers.last_error(output) == "ERROR: No matching distribution found, see <address>"
    assert peers.last_error("") == "it said nothing"
    assert peers.last_error("Traceback\n  x\nModuleNotFoundError: No module named 'a'\n") == (
        "ModuleNotFoundError: No module named 'a'"
    )


def test_a_command_that_fails_or_hangs_is_a_peer_that_failed() -> None:
    with pytest.raises(PeerFailed, match=r"exit 1: ValueError: no"):
        peers.call([sys.executable, "-c", "raise ValueError('no')"], 60, os.environ)
    with pytest.raises(PeerFailed, match="not done after"):
        peers.call([sys.executable, "-c", "import time; time.sleep(60)"], 0.2, os.environ)


def test_a_runner_that_measures_nothing_failed(tmp_path, monkeypatch) -> None:
    (tmp_path / "quiet.py").write_text("print('all is well')")
    monkeypatch.setattr(peers, "RUNNERS", tmp_path)
    with pytest.raises(PeerFailed, match="measured nothing: all is well"):
        peers.run(Side("quiet", "quiet.py", ()), peers.Path(sys.executable), {})


def test_every_side_has_its_runner() -> None:
    for side in peers.SIDES:
        assert (peers.RUNNERS / side.runner).is_file()


def test_a_cut_clip_has_so_many_pictures(tmp_path) -> None:
    clip = tmp_path / "clip.mp4"
    peers.cut(resource("demo.mp4"), 7, clip)
    with av.open(str(clip)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 7


def test_the_plot_is_xml_with_both_figures_of_each_side() -> None:
    rounds = [{ONE: result(40, 30), FOUR: result(60, 20), "a <peer>": result(20, 81.25)}]
    svg = peers.plot_svg(peers.summarize(rounds, BOXES), "1 & 2")
    words = [element.text for element in ET.fromstring(svg).iter() if element.text]
    assert "a <peer>" in words
    assert {"60.0", "81.2"} <= set(words)


def test_the_table_shows_errors_as_they_are() -> None:
    rounds = [{ONE: result(40, 30), FOUR: result(60, 20)}]
    shown = peers.table(peers.summarize(rounds, BOXES), {"it": "exit 1: [red]x"}, "title")
    assert shown.row_count == 3
