"""Many cameras by Roboflow's InferencePipeline with uniface's detector as its logic.

``inference_cameras.py CLIP FPS CAMERAS MODEL CACHE WIDTH HEIGHT``. It is told that its sources are
live, and its own mode for the least latency is on (``freshest``). It is kept off the network: what
it would report to its maker is switched off by its own settings.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from importlib.metadata import version
from typing import Any

# Read when it is imported.
os.environ["OFFLINE_MODE"] = "True"
os.environ["TELEMETRY_OPT_OUT"] = "True"
os.environ["METRICS_ENABLED"] = "False"
os.environ["OTEL_METRICS_ENABLED"] = "False"
os.environ["DISABLE_VERSION_CHECK"] = "True"
os.environ["MODEL_CACHE_DIR"] = sys.argv[5]

import cv2
import numpy as np
from inference import InferencePipeline
from recorded import Schedule, end_with_parent, say_begun, say_looked
from streamvision.camera.entities import SourceProperties, VideoFrameProducer
from uniface_detector import open_uniface


class Camera(VideoFrameProducer):
    """The clip as a live camera: its next frame comes when it is due."""

    def __init__(self, clip: str, fps: float, schedule: Schedule, number: int) -> None:
        self._capture = cv2.VideoCapture(clip)
        self._fps = fps
        self._schedule = schedule
        self._number = number
        self._next = 0

    def isOpened(self) -> bool:  # noqa: N802 - its name
        """Whether the clip can be read."""
        return bool(self._capture.isOpened())

    def grab(self) -> bool:
        """Wait for the next frame and decode it."""
        time.sleep(self._schedule.wait_s(self._number, self._next))
        self._next += 1
        if self._capture.grab():
            return True
        self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)  # a camera has no end
        return bool(self._capture.grab())

    def retrieve(self) -> tuple[bool, Any]:
        """The picture that was decoded last, BGR."""
        return self._capture.retrieve()

    def discover_source_properties(self) -> SourceProperties:
        """What a network camera says of itself: no length."""
        width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        return SourceProperties(
            width=width, height=height, total_frames=-1, is_file=False, fps=self._fps
        )

    def release(self) -> None:
        """Close the clip."""
        self._capture.release()


def main() -> None:
    clip, fps, cameras, model, cache, width, height = sys.argv[1:]
    end_with_parent()
    detect, about = open_uniface(model, cache, (int(width), int(height)))
    detect(np.zeros((720, 1280, 3), np.uint8))
    schedule = Schedule(int(cameras), float(fps))

    def look(frames: list[Any]) -> list[dict[str, Any]]:
        return [{"faces": detect(frame.image)} for frame in frames]

    def take(_found: Any, frames: Any) -> None:
        # One source: the frame itself; more: one for each source, None where there was none.
        for frame in frames if isinstance(frames, list) else [frames]:
            if frame is not None:
                say_looked(frame.source_id, frame.frame_id - 1)

    sources = [
        partial(Camera, clip, float(fps), schedule, number) for number in range(int(cameras))
    ]
    pipeline = InferencePipeline.init_with_custom_logic(
        video_reference=sources,
        on_video_frame=look,
        on_prediction=take,
        video_processing_mode="freshest",
    )
    schedule.begin()
    say_begun(schedule, about=f"inference {version('inference')} with {about}, freshest")
    pipeline.start(use_main_thread=True)
    pipeline.join()


if __name__ == "__main__":
    main()
