"""Every error streamer raises on purpose.

::

    StreamerError
    ├── ConfigError            the configuration cannot be used            (exit code 2)
    │   └── Unreadable         … since its file cannot be read, now (in yaml_file.py)
    ├── MissingDependency      an optional package is not installed        (exit code 1)
    ├── ModelError             a model cannot be found, fetched or trusted (exit code 1)
    ├── DeviceError            the device asked for is not there, or is lost    (exit code 1; 70)
    ├── BindError              an address cannot be listened on            (exit code 1)
    ├── Exposed                others could reach what has no lock         (exit code 78)
    ├── BadKey                 a file of keys that is none (in keys.py)    (exit code 2)
    ├── MalformedEvent         bytes that are no event (in events.py)      (counted)
    ├── CannotSubscribe        an endpoint that cannot be (in client/)     (exit code 1)
    ├── NotAdmitted            the other end wants another key (in client/) (exit code 1)
    ├── NothingHeard           silence beyond a limit (in client/)         (exit code 1)
    ├── DetectionFailed        one picture could not be looked at          (counted)
    │   ├── PictureFailed      … because its pixels cannot be read
    │   └── OutOfMemory        … because the device has no room for it
    ├── SourceLost             one life of a camera ended                  (reconnects)
    ├── StageFailure           a stage raised (an ExceptionGroup)          (exit code 1)
    └── StageStuck             a stage did not end in time                 (exit code 1)

Their text is one sentence for a person, ends in what to do next, and holds no secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

LossReason: TypeAlias = Literal[
    "stall", "reset", "eof", "open_timeout", "no_video", "no_frames", "auth", "not_found", "dns",
    "unreachable", "refused", "unsupported_codec", "too_large", "flood", "error",
]  # fmt: skip
"""Why a camera was lost: a closed set, used as a metric label."""


class StreamerError(Exception):
    """Root of the errors a user can meet; ``str()`` is a sentence fit to print."""


class ConfigError(StreamerError):
    """The configuration cannot be used; ``problems`` lists every fault as "path: what to do"."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep all the problems; ``str()`` joins them, one a line."""
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[object, ...]:
        """Travel whole to another process."""
        return type(self), (self.problems,)


class MissingDependency(StreamerError):
    """An optional package is missing; the text names the extra that brings it."""


class ModelError(StreamerError):
    """A model cannot be found, fetched, or is not the file it should be."""


class DeviceError(StreamerError):
    """The device asked for is not really usable; nothing fell back in silence."""


class BindError(StreamerError):
    """An address cannot be listened on, most often because it is taken."""


class Exposed(StreamerError):
    """An address beyond this machine would be open to everybody; the text says how to lock it."""


class DetectionFailed(StreamerError):
    """One picture could not be looked at. The frame is counted as failed, never as empty."""


class PictureFailed(DetectionFailed):
    """The picture itself cannot be read: its camera is at fault and not the detector."""


class OutOfMemory(DetectionFailed):
    """The device had no room for these pictures, not even one at a time and smaller."""


class SourceLost(StreamerError):
    """One life of a source ended. ``reason`` is of a closed set; ``str()`` explains it."""

    def __init__(self, reason: LossReason, detail: str) -> None:
        """Keep the reason; ``detail`` is for people and holds no secret."""
        self.reason: LossReason = reason
        super().__init__(detail)

    def __reduce__(self) -> tuple[object, ...]:
        """Travel whole to another process."""
        return type(self), (self.reason, str(self))


class StageFailure(ExceptionGroup[Exception], StreamerError):
    """One or more stages raised. Each member carries a note "in stage 'name'"."""


class StageStuck(StreamerError):
    """Stages that did not end in time; ``names`` are their thread names."""

    def __init__(self, names: Sequence[str]) -> None:
        """Name the threads that are still running."""
        self.names = tuple(names)
        super().__init__(
            f"{', '.join(self.names)} did not end in time; the process ends without waiting for it"
        )

    def __reduce__(self) -> tuple[object, ...]:
        """Travel whole to another process."""
        return type(self), (self.names,)
