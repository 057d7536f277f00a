"""Roboflow's InferencePipeline with uniface's detector as its logic; no workflow, no key.

``inference_pipeline.py CLIP MODEL CACHE WIDTH HEIGHT``. It is kept off the network: what it would
report to its maker is switched off by its own settings.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Any

# Read when it is imported.
os.environ["OFFLINE_MODE"] = "True"
os.environ["TELEMETRY_OPT_OUT"] = "True"
os.environ["METRICS_ENABLED"] = "False"
os.environ["OTEL_METRICS_ENABLED"] = "False"
os.environ["DISABLE_VERSION_CHECK"] = "True"
os.environ["MODEL_CACHE_DIR"] = sys.argv[3]

import numpy as np
from inference import InferencePipeline
from measured import Row, Stopwatch
from uniface_detector import open_uniface


def main() -> None:
    clip, model, cache, width, height = sys.argv[1:]
    detect, about = open_uniface(model, cache, (int(width), int(height)))
    detect(np.zeros((720, 1280, 3), np.uint8))
    faces: list[list[Row]] = []

    def look(frames: list[Any]) -> list[dict[str, list[Row]]]:
        return [{"faces": detect(frame.image)} for frame in frames]

    def take(found: Any, _frames: Any) -> None:
        # One source: some versions hand over the thing itself, others a list of one.
        one = found[0] if isinstance(found, list) else found
        if one is not None:
            faces.append(one["faces"])

    watch = Stopwatch()
    pipeline = InferencePipeline.init_with_custom_logic(
        video_reference=clip, on_video_frame=look, on_prediction=take
    )
    pipeline.start(use_main_thread=True)
    pipeline.join()
    watch.say(faces, about=f"inference {version('inference')} with {about}")


if __name__ == "__main__":
    main()
