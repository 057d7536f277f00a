"""What a restreamed picture costs, and how much later the RTSP server has it.

    BENCH=1 python -m benchmarks.restream

Plays the demo clip at 25 pictures a second with its true faces drawn, to the server of the tests
(Debian's GStreamer). Cost is CPU time of the one thread that converts, covers, draws, encodes and
sends; the delay is from the moment a picture is handed to the sink until the server has it whole,
so network, player and its buffer come on top.
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from pathlib import Path

import av
import numpy as np

from streamer.publish.restream import drawn
from streamer.publish.rtsp_push import RtspPush
from streamer.resources import resource
from streamer.types import Faces, Frame, Result, SourceUrl, Stamps, Tracks
from streamer.vision.picture import ArrayPicture
from streamer.vision.privacy import Mode, Privacy
from tests.evaluate import load_truth
from tests.rtsp import SYSTEM_PYTHON

TAKER = Path(__file__).resolve().parent.parent / "tests" / "rtsp_taker.py"
PICTURES = 150


def outcomes(mode: Mode) -> list[Result]:
    """The clip's first pictures with their true faces."""
    truth, privacy, found = load_truth(), Privacy(mode), []
    with av.open(str(resource("demo.mp4"))) as clip:
        for n, frame in enumerate(clip.decode(video=0)):
            if n == PICTURES:
                break
            boxes = np.array([face.bbox for face in truth.frames[n]], np.float32).reshape(-1, 4)
            many = len(boxes)
            faces = Faces(boxes, np.full(many, 0.9, np.float32), np.zeros((many, 5, 2), np.float32))
            picture = ArrayPicture(frame.to_ndarray(format="bgr24"))
            shown = privacy.looked(Frame("door", 0, n, n / 25, 0.0, None, picture), faces, n / 25)
            tracks = Tracks(np.arange(many, dtype=np.int64), faces)
            found.append(Result(shown, tracks, Stamps(0.0, 0.0, 0.0)))
    return found


def run(width: int, mode: Mode, folder: Path) -> str:
    """One row of the table."""
    server = subprocess.Popen(
        [SYSTEM_PYTHON, str(TAKER), "0", str(folder), "door", "--times"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    port = int(server.stdout.readline().split()[1])
    came: list[float] = []

    def read() -> None:
        assert server.stdout is not None
        came.extend(float(line.split()[2]) for line in server.stdout if line.startswith("unit"))

    reading = threading.Thread(target=read)
    reading.start()
    height = width * 9 // 16
    url = SourceUrl(f"rtsp://127.0.0.1:{port}/door")
    push = RtspPush(url, width=width, height=height, fps=25, kbps=2000)
    handed, spent = [], []
    begun_at = time.monotonic()
    for n, outcome in enumerate(outcomes(mode)):
        time.sleep(max(0.0, begun_at + n / 25 - time.monotonic()))
        handed.append(time.monotonic())
        before = time.thread_time()
        push.write(drawn(outcome, width, height, old=False), handed[-1])
        spent.append(time.thread_time() - before)
    time.sleep(0.5)
    push.close()
    server.kill()
    reading.join()
    delays = np.array(came[: len(handed)]) - np.array(handed[: len(came)])
    kbps = (folder / "door.h264").stat().st_size * 8 / 1000 / (len(handed) / 25)
    (folder / "door.h264").unlink()
    cost = np.array(spent[5:]) * 1000
    return (
        f"| {width}x{height} | {mode} | {np.median(cost):.1f} | {np.percentile(cost, 95):.1f} | "
        f"{np.median(delays[5:]) * 1000:.0f} | {np.percentile(delays[5:], 95) * 1000:.0f} | "
        f"{kbps:.0f} | {len(came)} of {len(handed)} |"
    )


def main() -> None:
    """Print the table."""
    print("| pictures | privacy | CPU ms p50 | p95 | delay ms p50 | p95 | kbit/s | arrived |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for width in (640, 1280):
            for mode in ("none", "blur"):
                print(run(width, mode, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
