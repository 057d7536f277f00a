"""Runs trackers of the ``trackers`` package over saved detections. Needs that package only.

Usage: python tracking_peer.py DETECTIONS.npz OUTPUT.npz

``rows`` of the input are run, frame, x1, y1, x2, y2, score; ``instants`` are run, frame, seconds.
``NAME`` of the output are run, frame, id, x1, y1, x2, y2 of one tracker, and its milliseconds a
frame are in ``NAME_ms``. Each has its own defaults. "fixed" counts frames and is not told that
time passed; "timed" is told the instants.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import supervision as sv
from trackers import ByteTrackTracker, OCSORTTracker, SORTTracker

FPS = 25.0
TRACKERS: dict[str, tuple[Callable[..., object], bool]] = {
    "ByteTrack, fixed": (ByteTrackTracker, False),
    "ByteTrack, timed": (ByteTrackTracker, True),
    "SORT, timed": (SORTTracker, True),
    "OC-SORT, timed": (OCSORTTracker, True),
}


def main() -> None:
    warnings.simplefilter("ignore")
    with np.load(sys.argv[1]) as given:
        rows, instants = given["rows"], given["instants"]
    starts = np.searchsorted(rows[:, 0] * 1e6 + rows[:, 1], instants[:, 0] * 1e6 + instants[:, 1])
    ends = [*starts[1:], len(rows)]
    found = {}
    for name, (make, timed) in TRACKERS.items():
        outputs, run, tracker, used = [], -1.0, None, 0.0
        for (number, frame, at), start, end in zip(instants, starts, ends, strict=True):
            if number != run:
                run, tracker = number, make(frame_rate=FPS)
            given_faces = sv.Detections(
                xyxy=rows[start:end, 2:6].reshape(-1, 4), confidence=rows[start:end, 6]
            )
            began = time.perf_counter()
            told = tracker.update(given_faces, **({"timestamp": float(at)} if timed else {}))
            used += time.perf_counter() - began
            if told.tracker_id is not None:
                for identity, box in zip(told.tracker_id, told.xyxy, strict=True):
                    if identity >= 0:
                        outputs.append([number, frame, identity, *box])
        found[name] = np.array(outputs, np.float64).reshape(-1, 7)
        found[f"{name}_ms"] = np.array(used / len(instants) * 1e3)
    np.savez_compressed(sys.argv[2], **found)


if __name__ == "__main__":
    main()
