"""A plain OpenCV loop around uniface. ``uniface_loop.py CLIP MODEL CACHE WIDTH HEIGHT``."""

from __future__ import annotations

import sys

from measured import loop
from uniface_detector import open_uniface


def main() -> None:
    clip, model, cache, width, height = sys.argv[1:]
    detect, about = open_uniface(model, cache, (int(width), int(height)))
    loop(clip, detect, about=about)


if __name__ == "__main__":
    main()
