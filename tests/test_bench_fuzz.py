"""Bytes from strangers, in short: what `python -m benchmarks.fuzz` sends for minutes."""

import re
import subprocess
import sys
from pathlib import Path

from benchmarks.fuzz import Mutator, decoders

ROOT = Path(__file__).resolve().parent.parent


def test_strangers_at_every_door_disturb_nobody() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fuzz", "--minutes", "0.05", "--seed", "7"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    counts = re.search(r"(\d+) questions answered, (\d+) refused", done.stdout)
    assert counts
    assert min(map(int, counts.groups())) > 0


def test_what_is_sent_is_nearly_good_and_seldom_good() -> None:
    good = decoders(Mutator(1), 1000)
    assert 20 < good < 1000
