"""Names that cannot be looked up, or mean another address: rows 11 to 13, in one run."""

import time

import pytest

from tests.faults import names
from tests.faults.names import HANG, NameServer
from tests.faults.rows_stream import FIRST_WAIT_S, SEEN_S
from tests.faults.scene import Played, Row, Take, run_scene
from tests.faults.server import Script, ScriptedCamera

RESOLVE_S = 3.0
_server = NameServer({f"row-{n}.cam.test": "127.0.0.1" for n in (11, 12, 13)})


def _lost_by_name(take: Take, bound_s: float) -> None:
    before = take.program.now.losses(take.name, "dns")
    began_at = time.monotonic()
    take.camera.cut("reset")
    take.not_live()
    lost_at = take.lost("dns", bound_s + 5.0, before=before)
    take.record.measure("seen after", lost_at - began_at, at_most=bound_s + FIRST_WAIT_S + SEEN_S)


def row_11(take: Take) -> None:
    del _server.table["row-11.cam.test"]
    _lost_by_name(take, 0.5)
    asked = len([1 for _, name in _server.asked if name == "row-11.cam.test"])
    take.program.rest(6.0)
    again = len([1 for _, name in _server.asked if name == "row-11.cam.test"]) - asked
    take.record.require(again >= 1, "the name was not asked for again")
    _server.table["row-11.cam.test"] = "127.0.0.1"


def row_12(take: Take) -> None:
    _server.table["row-12.cam.test"] = HANG
    _lost_by_name(take, RESOLVE_S)
    take.program.rest(4.0)
    _server.table["row-12.cam.test"] = "127.0.0.1"


def row_13(take: Take) -> None:
    other = ScriptedCamera(Script(), host="127.0.0.2")
    other.port = take.camera.port
    with other:
        _server.table["row-13.cam.test"] = "127.0.0.2"
        began_at = time.monotonic()
        take.camera.down()
        take.not_live()
        take.record.measure("live at the new address after", take.live() - began_at, at_most=5.0)
        take.record.require(bool(other.dials), "the new address was never dialled")
        _server.table["row-13.cam.test"] = "127.0.0.1"
        take.heal()
    take.live()


NAMES = (
    Row("11", "name does not exist", "dns, asked again", row_11, host="row-11.cam.test"),
    Row("12", "name server never answers", "dns in 3 s", row_12, host="row-12.cam.test"),
    Row("13", "name means another address", "live there in 5 s", row_13, host="row-13.cam.test"),
)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, model_path: object) -> Played:
    if not names.can_run():
        pytest.skip("needs root: a name server at port 53 and a resolv.conf of our own")
    folder = tmp_path_factory.mktemp("names")
    with _server:
        return run_scene("names", NAMES, folder, wrap=names.wrap(folder))


@pytest.mark.parametrize("row", [row.number for row in NAMES])
def test_row(row, played, judge):
    judge(played.rows[row])


@pytest.mark.parametrize("promise", ["O1", "O2", "O3", "O4"])
def test_the_rest_is_not_disturbed(promise, played, judge):
    judge(played.oracle[promise])
