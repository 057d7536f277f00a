"""What cameras send that cannot be shown, or not as before: rows 25 to 31 and 59, in one run."""

import pytest

from tests.faults.rows_dial import MEDIA
from tests.faults.rows_stream import PICTURES
from tests.faults.scene import Played, run_scene

ROWS = (*MEDIA, *PICTURES)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, model_path: object) -> Played:
    return run_scene("strange pictures", ROWS, tmp_path_factory.mktemp("media"))


@pytest.mark.parametrize("row", [row.number for row in ROWS])
def test_row(row, played, judge):
    judge(played.rows[row])


@pytest.mark.parametrize("promise", ["O1", "O2", "O3", "O4"])
def test_the_rest_is_not_disturbed(promise, played, judge):
    judge(played.oracle[promise])
