"""What a subscription says besides events: what was lost, who began anew, who is silent."""

from __future__ import annotations

import msgspec


class Gap(msgspec.Struct, frozen=True, tag_field="notice", tag="gap"):
    """Messages that were published and will not come.

    They are ``first_seq`` to ``last_seq``, both inclusive, of ``topic`` (``faces/door/``) in the
    run ``boot_id``. It stands in the topic's order, where they would have stood.
    """

    topic: str
    boot_id: str
    first_seq: int
    last_seq: int

    @property
    def camera(self) -> str:
        """Whose messages they were."""
        return self.topic.split("/")[1]

    @property
    def count(self) -> int:
        """How many they were, 1 or more."""
        return self.last_seq - self.first_seq + 1


class Restarted(msgspec.Struct, frozen=True, tag_field="notice", tag="restarted"):
    """streamer began anew: every ``seq`` counts from 1 again, and faces have new ids.

    Nothing of the run ``old_boot_id`` comes after it. Messages that the old run published last
    and that nobody here heard of are not counted: nobody knows of them any more.
    """

    old_boot_id: str
    new_boot_id: str


class Stale(msgspec.Struct, frozen=True, tag_field="notice", tag="stale"):
    """Nothing at all was heard for ``silent_s`` seconds, not even a heartbeat.

    What was known of the cameras is old now. It is said once for each silence;
    :class:`Resumed` or :class:`Restarted` ends it. ``boot_id`` is the run that fell silent, None
    when none was ever heard.
    """

    silent_s: float
    boot_id: str | None


class Resumed(msgspec.Struct, frozen=True, tag_field="notice", tag="resumed"):
    """The run ``boot_id`` is heard again, if only its heartbeat, after ``silent_s`` seconds.

    What was missed meanwhile comes next or is told as a gap.
    """

    silent_s: float
    boot_id: str


class Stopped(msgspec.Struct, frozen=True, tag_field="notice", tag="stopped"):
    """The run ``boot_id`` has ended as it should, and all that is known of it was told before.

    Silence after it is not told; when streamer runs again, :class:`Restarted` says so.
    """

    boot_id: str


Notice = Gap | Restarted | Stale | Resumed | Stopped
"""What a subscription may say besides events."""
