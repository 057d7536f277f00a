"""The demo clip: is it what the rest of the suite relies on, and is its truth true?"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from scripts import make_demo_clip as maker
from streamer.inference.detector import RetinaFace
from streamer.inference.session import open_session
from streamer.types import LANDMARKS, Image
from streamer.vision.picture import ArrayPicture
from tests.evaluate import Score, load_truth, score_frames, truth_of

ASSETS = maker.ROOT / "streamer" / "assets"
CLIP = ASSETS / "demo.mp4"
PERSONS = {person.name for person in maker.PEOPLE}


def slices(packet: bytes, length_size: int = 4) -> list[int]:
    """slice_type of every slice NAL unit in an AVCC packet (H.264 tables 7-1 and 7-6)."""
    found, at = [], 0
    while at < len(packet):
        length = int.from_bytes(packet[at : at + length_size], "big")
        at += length_size
        nal = packet[at : at + length]
        at += length
        assert nal[0] & 0x1F not in (2, 3, 4), "data partitions"
        if nal[0] & 0x1F in (1, 5):
            bits = "".join(f"{byte:08b}" for byte in nal[1:12])
            values, bit = [], 0
            for _ in range(2):  # first_mb_in_slice, slice_type: exp-Golomb
                zeros = bits.index("1", bit) - bit
                values.append(int(bits[bit + zeros : bit + 2 * zeros + 1], 2) - 1)
                bit += 2 * zeros + 1
            found.append(values[1] % 5)
    return found


def luma_psnr(one: Image, other: Image) -> float:
    error = np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else np.inf


def decoded(clip: Path) -> Iterator[Image]:
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray()[: maker.HEIGHT].astype(np.uint8)


@pytest.fixture(scope="module")
def truth() -> Any:
    return json.loads((ASSETS / "demo.json").read_text(encoding="utf-8"))


def test_the_clip_is_plain_h264() -> None:
    assert CLIP.stat().st_size <= 1_400_000
    with av.open(str(CLIP)) as container:
        (stream,) = container.streams
        assert isinstance(stream, av.VideoStream)
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.width, context.height) == (1280, 720)
        assert stream.average_rate == 25
        assert not context.has_b_frames
        extradata = context.extradata
        assert extradata is not None
        packets = [p for p in container.demux(stream) if p.size]
    assert len(packets) == 250
    assert all(p.pts == p.dts for p in packets)
    kinds = [slices(bytes(p), (extradata[4] & 3) + 1) for p in packets]
    assert all(len(kind) == 1 for kind in kinds), "exactly one slice a picture"
    assert {kind[0] for kind in kinds} == {0, 2}, "P and I slices only"
    keys = [i for i, p in enumerate(packets) if p.is_keyframe]
    assert keys[0] == 0
    assert max(b - a for a, b in zip(keys, [*keys[1:], 250], strict=True)) <= 25


def test_the_index_stands_first_so_that_a_browser_starts_at_once() -> None:
    data, at, order = CLIP.read_bytes(), 0, []
    while at < len(data):
        order.append(data[at + 4 : at + 8])
        at += int.from_bytes(data[at : at + 4], "big")
    assert order.index(b"moov") < order.index(b"mdat")


def test_every_frame_decodes_at_its_own_time() -> None:
    with av.open(str(CLIP)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([i / 25 for i in range(250)])


def test_the_json_says_what_it_should(truth: Any) -> None:
    assert {k: truth[k] for k in ("clip", "width", "height", "fps")} == {
        "clip": "demo.mp4",
        "width": 1280,
        "height": 720,
        "fps": 25,
    }
    assert [frame["frame"] for frame in truth["frames"]] == list(range(250))
    assert {source["licence"] for source in truth["sources"]} == {"public domain", "CC0"}
    limit = truth["rule"]["listed_when_visible_at_least"]
    for frame in truth["frames"]:
        names = [face["person"] for face in frame["faces"]]
        assert 4 <= len(names) <= 5
        assert set(names) <= PERSONS
        assert len(set(names)) == len(names)
        for face in frame["faces"]:
            assert set(face) == {"person", "bbox", "visible", "keypoints"}
            x1, y1, x2, y2 = face["bbox"]
            assert 0 <= x1 < x2 <= 1280
            assert 0 <= y1 < y2 <= 720
            assert limit <= face["visible"] <= 1
            assert tuple(face["keypoints"]) == LANDMARKS
            points = np.array([face["keypoints"][name] for name in LANDMARKS])
            assert points[0, 0] < points[1, 0], "left eye is left in the picture"
            assert points[3, 0] < points[4, 0]
            assert points[:2, 1].max() < points[2, 1] < points[3:, 1].min()
            if face["visible"] == 1:
                assert (points > (x1, y1)).all()
                assert (points < (x2, y2)).all()


def test_the_json_is_what_the_script_computes(truth: Any) -> None:
    for frame in truth["frames"]:
        now = maker.truth(frame["frame"])
        assert [face["person"] for face in now] == [face["person"] for face in frame["faces"]]
        for new, old in zip(now, frame["faces"], strict=True):
            assert new["bbox"] == pytest.approx(old["bbox"], abs=0.02)
            assert new["visible"] == pytest.approx(old["visible"], abs=0.002)
            for name in LANDMARKS:
                assert new["keypoints"][name] == pytest.approx(old["keypoints"][name], abs=0.02)


def test_faces_have_many_sizes_and_most_are_whole(truth: Any) -> None:
    faces = [face for frame in truth["frames"] for face in frame["faces"]]
    heights = np.array([face["bbox"][3] - face["bbox"][1] for face in faces])
    assert heights.min() < 95
    assert heights.max() > 250
    assert np.mean([face["visible"] < 1 for face in faces]) < 0.03


@pytest.mark.parametrize("person", maker.PEOPLE, ids=lambda person: person.name)
def test_motion_is_smooth_even_over_the_seam_of_the_loop(person: maker.Person) -> None:
    boxes = np.array([maker.place(person, i % 250, False).box for i in range(253)])
    hidden = (boxes[:, 2] < -60) | (boxes[:, 0] > 1340)
    speed = np.abs(np.diff(boxes, axis=0)).max(axis=1)
    seen = ~(hidden[1:] | hidden[:-1])
    assert speed[seen].max() < 30
    jerk = np.abs(np.diff(boxes, n=2, axis=0)).max(axis=1)
    assert jerk[seen[1:] & seen[:-1]].max() < 4
    assert np.ptp(boxes[:, :2], axis=0).max() > 60, "everybody moves"
    assert np.ptp(boxes[:, 3] - boxes[:, 1]) > 10, "everybody grows and shrinks"


def test_somebody_enters_on_the_right_and_leaves_on_the_left() -> None:
    person = next(p for p in maker.PEOPLE if p.lap)
    centres = [np.mean(maker.place(person, i, False).box[::2]) for i in range(250)]
    assert centres[0] > 1280 + 150, "the whole portrait starts outside"
    assert min(centres) < -150
    listed = [person.name in {f["person"] for f in maker.truth(i)} for i in range(250)]
    assert not listed[0]
    assert not listed[-1]
    assert 90 < sum(listed) < 200


def test_two_crossings_hide_a_face_behind_another_for_a_short_while() -> None:
    for back, front in (("astronaut-2", "astronaut-3"), ("astronaut-3", "astronaut-1")):
        people = {p.name: p for p in maker.PEOPLE}
        gone = []
        for i in range(250):
            behind = maker.place(people[back], i, False)
            before = maker.place(people[front], i, False)
            if maker.visible(behind, []) == 1 and maker.visible(behind, [before]) < 0.05:
                gone.append(i)
                assert back not in {f["person"] for f in maker.truth(i)}
        assert 3 <= len(gone) <= 25
        assert gone == list(range(gone[0], gone[-1] + 1))


def test_the_committed_clip_shows_what_the_script_draws() -> None:
    for i, shown in zip(range(20), decoded(CLIP), strict=False):
        drawn = maker.planes(maker.picture(i))[: maker.HEIGHT]
        assert luma_psnr(shown, drawn) > 40
        for face in maker.truth(i):
            x1, y1, x2, y2 = map(int, face["bbox"])
            # One frame off gives 27 at most, whole frames off 17.
            assert luma_psnr(shown[y1:y2, x1:x2], drawn[y1:y2, x1:x2]) > 34


def test_colours_come_back_as_they_were_drawn() -> None:
    with av.open(str(CLIP)) as container:
        frame = next(container.decode(video=0))
        assert frame.colorspace == av.video.reformatter.Colorspace.ITU709
        shown = frame.to_ndarray(format="bgr24").astype(np.float64)
    drawn = maker.picture(0)
    for face in maker.truth(0):
        x1, y1, x2, y2 = map(int, face["bbox"])
        error = (shown - drawn)[y1:y2, x1:x2].mean(axis=(0, 1))
        assert np.abs(error).max() < 2.5, face["person"]
        # Rounding darkens all colours alike; the matrix of BT.601 would give a spread of 4.
        assert np.ptp(error) < 2, face["person"]


def test_drawing_and_encoding_give_the_same_bytes_again(tmp_path: Path) -> None:
    first = [maker.picture(i) for i in (5, 100)]
    maker.card.cache_clear()
    maker.backdrop.cache_clear()
    assert all(
        np.array_equal(maker.picture(i), one) for i, one in zip((5, 100), first, strict=True)
    )
    for name in ("a.mp4", "b.mp4"):
        maker.encode(tmp_path / name, iter(first * 5))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_truth_moves_with_the_pixels() -> None:
    """The truth is where the picture says it is, without the code that computes truth.

    A face of one frame, found again in a later frame by plain correlation over places and sizes,
    must lie where the later truth has it.
    """
    import cv2

    before, after = (
        {face["person"]: np.array(face["bbox"]) for face in maker.truth(i)} for i in (60, 66)
    )
    old, new = maker.picture(60), maker.picture(66)
    for person in ("astronaut-1", "camera-1", "camera-2", "astronaut-3"):
        x1, y1, x2, y2 = np.rint(before[person]).astype(int)
        left, top = max(x1 - 130, 0), max(y1 - 130, 0)
        around = new[top : y2 + 130, left : x2 + 130]
        best: tuple[float, Any] = (-1.0, None)
        for zoom in np.linspace(0.9, 1.1, 21):
            size = (round((x2 - x1) * zoom), round((y2 - y1) * zoom))
            patch = cv2.resize(old[y1:y2, x1:x2], size)
            _, fit, _, (x, y) = cv2.minMaxLoc(
                cv2.matchTemplate(around, patch, cv2.TM_CCOEFF_NORMED)
            )
            place = (left + x, top + y, left + x + size[0], top + y + size[1])
            best = max(best, (fit, place), key=lambda one: one[0])
        assert best[0] > 0.95
        assert np.abs(np.array(best[1]) - after[person]).max() < 2.5


def detector(model: bytes, size: int) -> RetinaFace:
    return RetinaFace(open_session(model, device="cpu", threads=2, spin=False), input_size=size)


def found_in(clip: Path, truth_file: Path, find: RetinaFace, step: int = 1) -> Score:
    truth, predicted, expected = load_truth(truth_file), [], []
    with av.open(str(clip)) as container:
        for i, frame in enumerate(container.decode(video=0)):
            if i % step == 0:
                (faces,) = find.detect(
                    [ArrayPicture(frame.to_ndarray(format="bgr24").astype(np.uint8))]
                )
                predicted.append(list(zip(faces.boxes, faces.scores.tolist(), strict=True)))
                expected.append([face.bbox for face in truth_of(truth, i)])
    return score_frames(predicted, expected)


def test_retinaface_finds_nearly_every_face_and_no_other(model_bytes: bytes) -> None:
    score = found_in(CLIP, ASSETS / "demo.json", detector(model_bytes, 640))
    assert score.recall >= 0.985, score
    assert score.precision >= 0.985, score
    assert score.mean_iou >= 0.85, score


def test_small_faces_need_a_larger_input(model_bytes: bytes) -> None:
    clip = maker.small_clip()
    truth_file = clip.with_suffix(".json")
    small, main = load_truth(truth_file), load_truth()
    for i in range(250):
        large = {face.person: face for face in truth_of(main, i)}
        for face in truth_of(small, i):
            if face.person in large and face.visible == large[face.person].visible == 1:
                a, b = face.bbox, large[face.person].bbox
                assert 0.25 <= (a[3] - a[1]) / (b[3] - b[1]) <= 0.71
                middles = [[(x1 + x2) / 2, (y1 + y2) / 2] for x1, y1, x2, y2 in (a, b)]
                assert middles[0] == pytest.approx(middles[1], abs=0.02)
    recalls = [
        found_in(clip, truth_file, detector(model_bytes, size), step=10).recall
        for size in (640, 960, 1280)
    ]
    assert recalls[0] < 0.7 < 0.8 < recalls[1] < recalls[2]
    assert recalls[2] >= 0.97


def test_the_small_clip_is_built_once_for_each_version_of_the_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []

    def build(folder: Path, small_faces: bool) -> None:
        assert small_faces
        folder.mkdir(exist_ok=True)
        built.append(folder)

    monkeypatch.setattr(maker, "build", build)
    folder = tmp_path / "small"
    assert maker.small_clip(folder) == maker.small_clip(folder) == folder / "demo.mp4"
    assert len(built) == 1
    (folder / "script.sha256").write_text("another script")
    maker.small_clip(folder)
    assert len(built) == 2


def test_the_script_explains_itself() -> None:
    script = maker.ROOT / "scripts" / "make_demo_clip.py"
    shown = subprocess.run(
        [sys.executable, script, "--help"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert "--output" in shown
    assert "--small-faces" in shown
