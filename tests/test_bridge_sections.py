"""The sections of bridges are asked in tests/test_bridges.py; here is what they all share."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from streamer.bridge_sections import Mqtt


def test_defaults_are_those_of_a_home() -> None:
    mqtt = Mqtt(host="broker")
    assert (mqtt.topic, mqtt.discovery, mqtt.when, mqtt.tls) == (
        "streamer", "homeassistant", "changes", False,
    )  # fmt: skip


@pytest.mark.parametrize("topic", ["", "/a", "a/", "a//b", "a/+", "$SYS/a", "a b"])
def test_a_topic_that_mqtt_would_not_take(topic: str) -> None:
    with pytest.raises(ValidationError):
        Mqtt(host="broker", topic=topic)
