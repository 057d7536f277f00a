"""Records what uniface 4.2.1 finds in fixed pictures, for tests/inference/test_parity.py.

uniface is an independent implementation around the same weights. It is not a dependency of
streamer; make an environment of its own for this script:

    python -m venv /tmp/reference
    /tmp/reference/bin/pip install 'uniface[cpu]==4.2.1' scikit-image==0.26.0 av==18.1.0
    /tmp/reference/bin/python scripts/record_reference.py models/retinaface_mnet025.onnx \
        tests/data/uniface-4.2.1.json

The model file is copied into a fresh cache folder under the name that uniface expects, so it
downloads nothing, and checks its SHA-256 itself. ``tests/inference/pictures.py`` makes the
pictures from arrays alone: the astronaut of scikit-image cropped, enlarged by repeating pixels
or reduced by taking every n-th, padded with black; and frames of the demo clip, padded with
black. No filter of any library takes part, so the same pixels come out everywhere. uniface runs
with ``dynamic_size=True``, which resizes nothing, once at streamer's own confidence and once so
low that many overlapping boxes are left to suppress.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

CONFIDENCES, NMS = (0.6, 0.05), 0.4


def main(model: Path, output: Path) -> None:
    root = Path(__file__).resolve().parent.parent
    sys.path.insert(0, str(root))
    from tests.inference.pictures import reference_pictures

    with tempfile.TemporaryDirectory() as cache:
        shutil.copy(model, Path(cache) / "retinaface_mnet025.onnx")
        os.environ["UNIFACE_CACHE_DIR"] = cache
        from uniface.constants import RetinaFaceWeights
        from uniface.detection import RetinaFace

        pictures = {}
        for confidence in CONFIDENCES:
            detector = RetinaFace(
                model_name=RetinaFaceWeights.MNET_025,
                confidence_threshold=confidence,
                nms_threshold=NMS,
                dynamic_size=True,
                providers=["CPUExecutionProvider"],
            )
            for name, pixels in reference_pictures(root / "streamer" / "assets" / "demo.mp4"):
                faces = sorted(detector.detect(pixels), key=lambda f: -float(f.confidence))
                points = [f.landmarks.round(4).tolist() for f in faces]
                pictures[f"{name} over {confidence}"] = {
                    "shape": list(pixels.shape),
                    "sha256": hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest(),
                    "confidence": confidence,
                    "nms": NMS,
                    "boxes": [[round(float(v), 4) for v in f.bbox] for f in faces],
                    "scores": [round(float(f.confidence), 7) for f in faces],
                    "landmarks": [[[round(v, 4) for v in p] for p in five] for five in points],
                }
                margin = min((float(f.confidence) - confidence for f in faces), default=1.0)
                print(f"{name} over {confidence}: {len(faces)} faces, the last by {margin:.5f}")
    record = {
        "note": "Written by scripts/record_reference.py; do not edit. Pixels, x1 y1 x2 y2, x y.",
        "reference": "uniface 4.2.1, RetinaFace MNET_025, dynamic_size=True, CPU",
        "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "pictures": pictures,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(_compact(record) + "\n")


def _compact(record: dict[str, object]) -> str:
    """JSON with one line for each list of numbers."""
    text = json.dumps(record, indent=1)
    return re.sub(r"\[[-\d.,\s\[\]]*\]", lambda m: re.sub(r"\s+", " ", m[0]), text)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: record_reference.py MODEL.onnx OUTPUT.json")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
