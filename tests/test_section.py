"""What every section of a configuration refuses."""

from __future__ import annotations

from typing import Any

import pytest

from streamer.config import parse_config
from streamer.errors import ConfigError


@pytest.mark.parametrize(
    ("camera", "problem"),
    [
        ({"every": True}, "cameras.door.every: must be a number, not true"),
        ({"max_fps": True}, "cameras.door.max_fps: must be a number, not true"),
        ({"input_size": False}, "cameras.door.input_size: must be a number, not false"),
        ({"priority": 1e-17}, "cameras.door.priority: must be greater than or equal to 0.01"),
    ],
)
def test_what_is_no_number_or_ends_all_fairness_is_refused(
    camera: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"cameras": {"door": {"source": "demo:", **camera}}}, {})
    assert caught.value.problems == (problem,)


def test_what_takes_true_takes_it_still() -> None:
    door = parse_config({"cameras": {"door": {"source": "demo:", "motion": True}}}, {})
    assert door.cameras["door"].motion is True
