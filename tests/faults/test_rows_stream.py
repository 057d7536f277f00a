"""Faults of a stream that was live: rows 1 to 6 and 23 of the matrix, in one run."""

import pytest

from tests.faults.rows_stream import STREAM
from tests.faults.scene import Played, run_scene


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, model_path: object) -> Played:
    return run_scene("streams that fail", STREAM, tmp_path_factory.mktemp("stream"))


@pytest.mark.parametrize("row", [row.number for row in STREAM])
def test_row(row, played, judge):
    judge(played.rows[row])


@pytest.mark.parametrize("promise", ["O1", "O2", "O3", "O4"])
def test_the_rest_is_not_disturbed(promise, played, judge):
    judge(played.oracle[promise])


def test_the_camera_is_told_goodbye(played):
    """Row 19: every orderly end sends TEARDOWN, so that the camera keeps no dead session."""
    assert all(camera.said("TEARDOWN") for camera in played.cameras.values())
