"""Faults that show when a camera is dialled: rows 7, 8, 10, 14 to 17 of the matrix, in one run."""

import pytest

from tests.faults.rows_dial import DIAL
from tests.faults.scene import Played, run_scene


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, model_path: object) -> Played:
    return run_scene("cameras that do not answer", DIAL, tmp_path_factory.mktemp("dial"))


@pytest.mark.parametrize("row", [row.number for row in DIAL])
def test_row(row, played, judge):
    judge(played.rows[row])


@pytest.mark.parametrize("promise", ["O1", "O2", "O3", "O4"])
def test_the_rest_is_not_disturbed(promise, played, judge):
    judge(played.oracle[promise])
