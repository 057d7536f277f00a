"""The door to onnxruntime: it is imported here, when it is first needed, and says nothing home."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Final

from streamer.errors import MissingDependency

_INSTALL: Final = "install it with: pip install 'streamer[cpu]' or 'streamer[gpu]', not both"

NO_TELEMETRY: Final = "ORT_DISABLE_TELEMETRY"
"""The variable that keeps onnxruntime (1.32 on Linux, found by tracing it) from writing a number
for this machine to ``~/.cache/Microsoft`` and from sending events to Microsoft. It must be set
before the import: ``onnxruntime.disable_telemetry_events()`` comes too late, both were tried."""


def onnxruntime() -> ModuleType:
    """The module, whichever build is installed, with nothing but errors in its own log.

    Raises :class:`MissingDependency` where it is missing or damaged.
    """
    os.environ.setdefault(NO_TELEMETRY, "1")
    try:
        import onnxruntime as module
    except ImportError:
        raise MissingDependency(f"onnxruntime is not installed; {_INSTALL}") from None
    # Removing one of the two builds leaves an empty folder of the other, which still imports.
    if not hasattr(module, "InferenceSession"):
        raise MissingDependency(
            "onnxruntime is damaged, as happens when its CPU and GPU builds were both installed; "
            f"uninstall both, then {_INSTALL}"
        )
    module.set_default_logger_severity(3)  # errors only: no warnings about strange hardware
    found: ModuleType = module
    return found
