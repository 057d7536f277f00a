"""docs/reliability.md says what docs/reliability.json holds, and hides no failure."""

import subprocess
import sys

import pytest

from scripts.write_reliability import GROUPS, KEPT, page, replaced, stem
from tests.faults.program import ROOT
from tests.faults.record import Record
from tests.faults.rows_dial import DIAL, MEDIA
from tests.faults.rows_giant import GIANTS
from tests.faults.rows_life import LIFE
from tests.faults.rows_stream import PICTURES, STREAM


def kept(*records: Record) -> dict:
    rows = [record.as_json() for record in records]
    return {"date": "2026-01-01", "machine": "x", "rows": rows}


def test_a_failure_is_shown_with_its_reason():
    record = Record("30b", "a | b", "c")
    record.measure("grew by", 51.0, at_most=50.0, unit="MB")
    text = page(kept(record, Record("O1", "some run", "")))
    assert "0 of 2" not in text
    assert "**1 of 2 lines pass**" in text
    assert "| 30b | a \\| b | c | grew by 51 MB | **FAIL** |" in text
    assert "grew by: 51 MB, at most 50 allowed" in text


def test_rows_that_were_run_again_are_named():
    first = [Record("30", "giant", "").as_json(), Record("O1", "giants", "").as_json()]
    first[1]["pass"] = False
    again = Record("O1", "giants", "").as_json()
    rows, named = replaced(first, [again])
    assert (rows, named) == ([first[0], again], ["giants"])
    assert "run again by themselves" in page({**kept(), "rows": rows, "again": named})
    assert "run again" not in page({**kept(), "rows": rows})
    with pytest.raises(LookupError, match="other"):
        replaced(first, [Record("O1", "other", "").as_json()])


def test_a_row_without_a_heading_is_refused():
    with pytest.raises(LookupError, match="99"):
        page(kept(Record("99", "", "")))


def test_every_row_has_a_heading():
    known = {number for numbers in GROUPS.values() for number in numbers}
    for row in (*STREAM, *PICTURES, *DIAL, *MEDIA, *GIANTS, *LIFE):
        assert stem(row.number) in known, row.number


def test_the_page_is_the_one_that_the_results_make():
    if not KEPT.is_file():
        pytest.fail("docs/reliability.json is missing; run `make faults`", pytrace=False)
    done = subprocess.run(
        [sys.executable, "-m", "scripts.write_reliability", "--check"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
