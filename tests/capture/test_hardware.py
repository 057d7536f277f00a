"""A camera is decoded by a GPU where that works, and always decoded.

There is no GPU here: what refuses is real, and what works is FFmpeg's software in a GPU's dress.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from av.codec.hwaccel import hwdevices_available
from structlog.testing import capture_logs

from streamer.capture import hardware
from streamer.capture import pyav as module
from streamer.capture.av_picture import AvPicture, ColourConverter
from streamer.capture.ffmpeg import LIVE_CODECS
from streamer.capture.hardware import FAILURES, Decoding, GpuRefused, gpu_of
from streamer.capture.planes import MOST_BYTES, Developer, write_picture
from streamer.capture.pyav import PyAvSource, gpu_context
from streamer.types import Frame, SourceUrl
from tests.capture.clips import access_units, bar_of, make_clip, picture
from tests.capture.lives import life
from tests.capture.scripted_rtsp import Script, ScriptedRtsp

HAS_CUDA = "cuda" in hwdevices_available()
HAS_GPU = Path("/dev/nvidiactl").exists()
no_gpu = pytest.mark.skipif(not HAS_CUDA or HAS_GPU, reason="needs FFmpeg with CUDA and no GPU")


# The choice


@pytest.mark.parametrize(
    ("text", "gpu"),
    [("auto", None), ("software", None), ("cuda", "0"), ("cuda:0", "0"), ("cuda:12", "12")],
)
def test_what_a_decoder_is_called(text: str, gpu: str | None) -> None:
    assert gpu_of(text) == gpu


@pytest.mark.parametrize("text", ["", "gpu", "cuda:", "cuda:x", "cuda:123", "CUDA", "nvdec"])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="use auto, software, cuda or cuda:N"):
        gpu_of(text)
    with pytest.raises(ValueError, match="use auto, software, cuda or cuda:N"):
        PyAvSource(SourceUrl("rtsp://127.0.0.1/a"), camera="a", live=True, decoder=text)


class Gpu:
    """Gives contexts, or refuses for a reason; says what it was asked."""

    def __init__(self) -> None:
        self.refuses: str | None = None
        self.asked: list[str] = []
        self.context = SimpleNamespace(pix_fmt="cuda")

    def __call__(self, own: object, gpu: str) -> Any:
        self.asked.append(gpu)
        if self.refuses is not None:
            raise GpuRefused(self.refuses)
        return self.context


@pytest.mark.parametrize("decoder", ["auto", "software"])
def test_software_asks_no_gpu(decoder: str) -> None:
    decoding = Decoding("door", decoder, gpu := Gpu())
    for _ in range(2):
        decoding.begin(object())
        for _ in range(2 * FAILURES):
            decoding.failed()
        decoding.worked()
        assert (decoding.name, decoding.instead) == ("software", None)
    assert not gpu.asked


def test_each_life_asks_anew_and_a_reason_is_told_when_it_is_news() -> None:
    decoding = Decoding("door", "cuda:1", gpu := Gpu())
    reasons = ["no driver", "no driver", None, "no driver", "no memory"]
    names = []
    with capture_logs() as said:
        for gpu.refuses in reasons:
            decoding.begin(object())
            names.append(decoding.name)
            assert (decoding.instead is None) == (gpu.refuses is not None)
    assert gpu.asked == ["1"] * 5
    assert names == ["software", "software", "cuda", "software", "software"]
    assert [line["reason"] for line in said] == ["no driver", "no memory"]
    assert {(line["event"], line["log_level"], line["camera"]) for line in said} == {
        ("hardware_decoding_unavailable", "warning", "door")
    }


def test_a_stream_that_ffmpeg_itself_gave_to_software_is_called_so() -> None:
    decoding = Decoding("door", "cuda", gpu := Gpu())
    with capture_logs() as said:
        decoding.begin(object())
        assert decoding.name == "cuda"  # as far as is known
        gpu.context.pix_fmt = "yuv422p"
        decoding.worked()
        assert decoding.name == "software"
        assert decoding.instead is gpu.context  # it is the one that has the stream's past
        gpu.context.pix_fmt = "cuda"
        decoding.begin(object())
        decoding.worked()
        assert decoding.name == "cuda"
    [line] = said
    assert "does not decode this kind of stream" in line["reason"]


def test_a_gpu_that_fails_and_fails_is_given_up_for_good() -> None:
    decoding = Decoding("door", "cuda", gpu := Gpu())
    with capture_logs() as said:
        decoding.begin(object())
        for _ in range(3):  # damage now and then is no reason
            for _ in range(FAILURES - 1):
                decoding.failed()
            decoding.worked()
        assert decoding.name == "cuda"
        for _ in range(FAILURES):
            decoding.failed()
        assert (decoding.name, decoding.instead) == ("software", None)
        decoding.begin(object())
        assert (decoding.name, decoding.instead) == ("software", None)
    assert len(gpu.asked) == 1
    [line] = said
    assert "failed to decode 50 packets in a row" in line["reason"]


# FFmpeg on this machine


@pytest.mark.skipif(not HAS_CUDA, reason="needs FFmpeg with CUDA")
@pytest.mark.parametrize("codec", sorted(LIVE_CODECS))
def test_ffmpeg_knows_a_gpu_decoder_for_every_codec_of_cameras(codec: str) -> None:
    configs = av.Codec(codec, "r").hardware_configs
    assert "cuda" in {config.device_type.name for config in configs}


@no_gpu
@pytest.mark.parametrize("codec", ["h264", "libdav1d"])
def test_without_a_gpu_it_refuses_in_words(codec: str) -> None:
    own = av.CodecContext.create(codec, "r")
    with pytest.raises(GpuRefused, match="GPU 3 or its driver is not there or does not answer"):
        gpu_context(own, "3")


@pytest.mark.skipif(not HAS_CUDA, reason="needs FFmpeg with CUDA")
def test_a_codec_that_no_gpu_decodes_is_named() -> None:
    with pytest.raises(GpuRefused, match="no GPU decodes flv1"):
        gpu_context(av.CodecContext.create("flv", "r"), "0")


def test_a_build_of_ffmpeg_without_cuda_uses_no_other_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "hwdevices_available", lambda: ["vaapi"])
    with pytest.raises(GpuRefused, match="knows no CUDA"):
        gpu_context(av.CodecContext.create("h264", "r"), "0")


# Live


@pytest.fixture(scope="module")
def units() -> list[bytes]:
    return list(access_units(40))


def camera(port: int, decoder: str) -> PyAvSource:
    url = SourceUrl(f"rtsp://127.0.0.1:{port}/live")
    return PyAvSource(
        url, camera="door", live=True, decoder=decoder,
        open_timeout_s=2, read_timeout_s=1.5, first_frame_s=4,
    )  # fmt: skip


def bars(frames: list[Frame]) -> list[int]:
    return [bar_of(frame.picture.bgr()) for frame in frames]


@no_gpu
def test_a_camera_lives_without_the_gpu_it_asked_for(units: list[bytes]) -> None:
    with ScriptedRtsp(Script(units)) as server, capture_logs() as said:
        source = camera(server.port, "cuda")
        for _ in range(2):
            assert bars(life(source, 20)) == [n % 10 for n in range(20)]
            assert source.decoder == "software"
        assert server.connections == 2  # it was not dialled once more for it
    [line] = said
    assert line["event"] == "hardware_decoding_unavailable"
    assert line["camera"] == "door"


class Dressed:
    """A codec context of software that looks like one on a GPU, and gives NV12 as that does."""

    is_hwaccel = True
    broken = False

    def __init__(self, real: Any, made: list[Dressed]) -> None:
        made.append(self)
        self.real, self.pix_fmt, self.packets, self.told = real, "cuda", 0, {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name in ("extradata", "thread_type", "thread_count", "options"):
            self.told[name] = value
            setattr(self.real, name, value)
        else:
            super().__setattr__(name, value)

    def decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        self.packets += 1
        if self.broken:
            raise av.error.ExternalError(-542398533, "cuvid says no")
        return [frame.reformat(format="nv12") for frame in self.real.decode(packet)]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Dressed]]:
    """What was opened on the GPU that seems to be there."""
    made: list[Dressed] = []

    def create(codec: str, mode: str, accelerated: Any) -> Dressed:
        assert accelerated.device_id == 2
        assert not accelerated.is_hw_owned  # pictures are brought down
        assert accelerated.options == {"primary_ctx": "1"}
        return Dressed(av.CodecContext.create(codec, mode), made)

    dressed = SimpleNamespace(open=av.open, CodecContext=SimpleNamespace(create=create))
    monkeypatch.setattr(module, "av", dressed)
    monkeypatch.setattr(module, "hwdevices_available", lambda: ["cuda"])
    return made


def test_what_the_gpu_decodes_is_seen_like_what_software_decodes(
    units: list[bytes], gpus: list[Dressed]
) -> None:
    with ScriptedRtsp(Script(units)) as server, capture_logs() as said:
        source, usual = camera(server.port, "cuda:2"), camera(server.port, "auto")
        assert source.decoder == "software"  # nothing is open
        found, expected = life(source, 20), life(usual, 20)
    assert (source.decoder, usual.decoder) == ("cuda", "software")
    assert {frame.picture._frame.format.name for frame in found} == {"nv12"}
    assert bars(found) == bars(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.index, ours.picture.width) == (theirs.index, theirs.picture.width)
        one, other = ours.picture.bgr(160, 96), theirs.picture.bgr(160, 96)
        assert np.abs(one.astype(int) - other).max() <= 2
    stamps = [frame.pts for frame in found if frame.pts is not None]
    assert stamps
    assert stamps == sorted(stamps)
    assert not said
    [context] = gpus
    assert context.packets >= 20
    assert context.told["thread_count"] == 1
    assert context.told["options"] == {"max_pixels": str(4096 * 2160)}


def test_a_gpu_that_cannot_decode_it_costs_pictures_and_not_the_camera(
    units: list[bytes], gpus: list[Dressed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "FAILURES", 5)
    monkeypatch.setattr(Dressed, "broken", True)
    with ScriptedRtsp(Script(units)) as server, capture_logs() as said:
        source = camera(server.port, "cuda:2")
        shown = bars(life(source, 15))
        assert source.decoder == "software"
        assert source.decode_errors >= 5
        assert shown == [(shown[0] + n) % 10 for n in range(15)]  # all since the next key frame
        assert bars(life(source, 5)) == list(range(5))
    assert len(gpus) == 1
    [line] = said
    assert "failed to decode 5 packets in a row" in line["reason"]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.webm", "libvpx-vp9"),
     ("a.avi", "mjpeg")],
)  # fmt: skip
def test_a_context_apart_knows_all_that_the_stream_s_own_knows(
    tmp_path: Path, gpus: list[Dressed], name: str, codec: str
) -> None:
    """Cameras send such containers over HTTP: parameter sets may be in their header only."""
    shown = []
    with av.open(str(make_clip(tmp_path / name, codec=codec, frames=12))) as container:
        stream = container.streams.video[0]
        context = gpu_context(stream.codec_context, "2")
        for packet in container.demux(stream):
            shown += [bar_of(AvPicture(f, ColourConverter()).bgr()) for f in context.decode(packet)]
    assert shown == [n % 10 for n in range(12)]
    assert len(gpus) == 1


def test_files_are_decoded_by_software(tmp_path: Path, gpus: list[Dressed]) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=5)
    source = PyAvSource(SourceUrl(str(path)), camera="a", live=False, decoder="cuda:2")
    assert len(list(source.frames(threading.Event()))) == 5
    assert source.decoder == "software"
    assert not gpus


# What a GPU gives


@pytest.mark.parametrize("form", ["nv12", "p010le"])
@pytest.mark.parametrize(("colorspace", "color_range"), [(2, 0), (1, 1), (6, 2), (9, 1)])
def test_its_forms_of_pictures_have_the_same_colours_here_and_from_another_process(
    form: str, colorspace: int, color_range: int
) -> None:
    source = av.VideoFrame.from_ndarray(picture(3, 640, 360), "bgr24").reformat(format="yuv420p")
    frames = [source, source.reformat(format=form)]
    for frame in frames:
        frame.colorspace, frame.color_range = colorspace, color_range
    usual, ours = (AvPicture(frame, ColourConverter()) for frame in frames)
    target = np.zeros(MOST_BYTES * 640 * 360 + 64, np.uint8)
    copied = Developer().picture(write_picture(ours, target), target)
    for size in ((320, 192), (97, 54)):  # scaled, as for the model
        assert np.array_equal(ours.bgr(*size), usual.bgr(*size))
    whole = ours.bgr().astype(int)  # FFmpeg takes another way for yuv420p as it is
    assert np.abs(whole - usual.bgr()).mean() < 0.2
    for size in ((640, 360), (320, 192)):
        gaps = np.abs(ours.bgr(*size).astype(int) - copied.bgr(*size))
        assert gaps.mean() < 1 if form == "p010le" else not gaps.any()  # that travels as BGR
