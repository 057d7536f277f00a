"""Pictures of 8192x8192: row 30 of the matrix, in a run of its own."""

import pytest

from tests.faults.rows_giant import GIANTS
from tests.faults.scene import Played, run_scene


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, model_path: object) -> Played:
    return run_scene("giant pictures", GIANTS, tmp_path_factory.mktemp("giant"))


@pytest.mark.parametrize("row", [row.number for row in GIANTS])
def test_row(row, played, judge):
    judge(played.rows[row])


@pytest.mark.parametrize("promise", ["O1", "O2", "O3", "O4"])
def test_the_rest_is_not_disturbed(promise, played, judge):
    judge(played.oracle[promise])
