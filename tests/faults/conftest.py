"""Which rows are run, their results in a file, and the table at the end.

``make test`` runs the fast rows. ``pytest tests/faults --every-row`` (``make faults``) runs all
and writes ``build/faults/results.json``, from which ``scripts/write_reliability.py`` writes
``docs/reliability.md``.
"""

import json
import re
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.faults.record import Record

RESULTS = Path(__file__).resolve().parents[2] / "build" / "faults" / "results.json"
_RECORDS = pytest.StashKey[list[Record]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare ``--every-row``; it exists where tests/faults is named on the command line."""
    parser.addoption("--every-row", action="store_true", help="run the slow rows too, and publish")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker of rows that take more than half a minute."""
    config.addinivalue_line("markers", "slow: a row of the fault matrix that only --every-row runs")
    config.stash.setdefault(_RECORDS, [])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow rows out, without a trace: they are not skipped, they are another run's."""
    if config.getoption("--every-row", default=False):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.fixture
def judge(request: pytest.FixtureRequest) -> Callable[[Record], None]:
    """Takes a finished record into the table, and fails the test when the row failed."""

    def judge_record(record: Record) -> None:
        request.config.stash[_RECORDS].append(record)
        if record.failures:
            pytest.fail("\n".join(record.failures), pytrace=False)

    return judge_record


def _order(record: Record) -> tuple[int, str]:
    number = re.match(r"\d+", record.row)
    return (int(number[0]) if number else 1000, record.row + record.fault)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the results, when every row was asked for."""
    records = session.config.stash[_RECORDS]
    if records and session.config.getoption("--every-row", default=False):
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        rows = [record.as_json() for record in sorted(records, key=_order)]
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Generator[None, None, None]:
    """Print the table: row, fault, bound, measured, pass."""
    records = sorted(config.stash[_RECORDS], key=_order)
    if records:
        passed = sum(not record.failures for record in records)
        terminalreporter.section(f"faults: {passed} of {len(records)} rows pass")
        for record in records:
            verdict = "FAIL" if record.failures else "pass"
            measured = "; ".join(record.measured)
            line = f"{verdict}  {record.row:<6} {record.fault} | {record.bound} | {measured}"
            terminalreporter.line(line, red=bool(record.failures))
    return (yield)
