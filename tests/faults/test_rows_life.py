"""Cameras that are away for long: rows 9, 14, 15, 18, 19 and 21 of the matrix, in one run."""

import pytest

from tests.faults.rows_life import LIFE
from tests.faults.scene import Played, run_scene

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, model_path: object) -> Played:
    return run_scene("long absences", LIFE, tmp_path_factory.mktemp("life"))


@pytest.mark.parametrize("row", [row.number for row in LIFE])
def test_row(row, played, judge):
    judge(played.rows[row])


@pytest.mark.parametrize("promise", ["O1", "O2", "O3", "O4"])
def test_the_rest_is_not_disturbed(promise, played, judge):
    judge(played.oracle[promise])
