"""Asks libraries what they are. Runs in a process of its own, which may crash: see `apart`.

Libraries are imported by name because the import itself is what is tried. Nothing of them is used
but what they say of themselves, so this is no door.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from streamer.inference.gpu_memory import gpu_memory
from streamer.inference.runtime import NO_TELEMETRY

DECODERS: Final = {
    "h264": ("h264",),
    "hevc": ("hevc",),
    "mjpeg": ("mjpeg",),
    "vp8": ("vp8", "libvpx"),
    "vp9": ("vp9", "libvpx-vp9"),
    # FFmpeg's own "av1" only drives hardware, and gives no picture without it.
    "av1": ("libdav1d", "libaom-av1"),
}
"""For each codec of cameras, FFmpeg's decoders that need no hardware, the best first."""

CUDA_MAJORS: Final = ("13", "12")
"""Releases of CUDA that some published onnxruntime-gpu was built for, the newest first."""


def probe_library(_payload: bytes, *, name: str) -> dict[str, Any]:
    """Import ``name`` and say what it is: ``problem`` (empty when it works) and facts.

    ``version`` is its own word; ``av`` adds ``ffmpeg`` and ``decoders`` (codec to the decoder
    that opened, or None), ``zmq`` adds ``libzmq``, ``onnxruntime`` adds ``providers`` and
    ``cuda`` (the release it was built for, or None).
    """
    os.environ.setdefault(NO_TELEMETRY, "1")
    try:
        module: Any = import_module(name)
    except Exception as error:  # noqa: BLE001 - whatever an import raises is the finding
        return {"problem": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    facts: dict[str, Any] = {"problem": "", "version": str(getattr(module, "__version__", ""))}
    try:
        if name == "av":
            facts["ffmpeg"] = str(module.ffmpeg_version_info)
            facts["decoders"] = {codec: _decoder(module, codec) for codec in DECODERS}
        elif name == "zmq":
            facts["libzmq"] = str(module.zmq_version())
        elif name == "onnxruntime":
            facts["providers"] = list(module.get_available_providers())
            build = import_module("onnxruntime.capi.build_and_package_info")
            facts["cuda"] = getattr(build, "cuda_version", None) or None
    except (AttributeError, ImportError) as error:
        facts["problem"] = f"it is damaged: {' '.join(str(error).split())[:200]}"
    return facts


def _decoder(av: Any, codec: str) -> str | None:
    """The first decoder of ``codec`` that opens."""
    for decoder in DECODERS[codec]:
        try:
            av.CodecContext.create(decoder, "r").open()
        except (av.FFmpegError, ValueError):  # unknown names raise an error that is a ValueError
            continue
        return decoder
    return None


def probe_cuda(_payload: bytes, *, major: str | None, number: int) -> dict[str, Any]:
    """Load what a GPU needs, from where a program would find it, and ask it for its version.

    ``major`` is the release of CUDA that onnxruntime was built for, None when it does not say;
    ``number`` is the GPU. Gives ``libraries`` (name to ``file`` and ``version``, or ``problem``),
    ``started`` (what cuInit answered: 0 is well, None without a driver), ``gpus`` (how many),
    ``free`` and ``total`` (bytes of memory of that GPU, or None).
    """
    majors = CUDA_MAJORS if major is None else (major,)
    libraries = {
        "libcuda": _load(["libcuda.so.1"], "cuDriverGetVersion"),
        "libcudart": _load([f"libcudart.so.{n}" for n in majors], "cudaRuntimeGetVersion"),
        "libcublas": _load([f"libcublas.so.{n}" for n in majors], None, first="libcublasLt.so."),
        "libcudnn": _load(["libcudnn.so.9"], "cudnnGetVersion"),
    }
    facts: dict[str, Any] = {"libraries": libraries, "started": None, "gpus": 0}
    if not libraries["libcuda"]["problem"]:
        cuda, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
        facts["started"] = int(cuda.cuInit(0))
        if facts["started"] == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0:
            facts["gpus"] = count.value
    memory = gpu_memory(number)
    facts["free"], facts["total"] = (None, None) if memory is None else memory
    return facts


def _load(names: Iterable[str], asked: str | None, *, first: str = "") -> dict[str, Any]:
    """Load the first of ``names`` there is; ``asked`` is its function that tells its version.

    ``first`` begins the name of a library that it needs and does not find by itself.
    """
    problem = ""
    for name in names:
        for place in _places(name):
            try:
                if first:
                    needed = first + name.rpartition(".")[2]
                    ctypes.CDLL(str(Path(place).with_name(needed)) if "/" in place else needed)
                library = ctypes.CDLL(place)
            except OSError as error:
                # Of the several reasons the first is about the usual place.
                problem = problem or " ".join(str(error).split())[:200]
                continue
            file = place if "/" in place else _file_of(name)
            return {"problem": "", "file": file, "version": _version(library, asked)}
    return {"problem": problem, "file": None, "version": None}


def _places(name: str) -> list[str]:
    """The loader's own path first, then NVIDIA's wheels, which onnxruntime looks into itself."""
    wheels = [
        str(file)
        for folder in sys.path
        if folder and Path(folder).is_dir()
        for file in sorted(Path(folder).glob(f"nvidia/*/lib/{name}"))
    ]
    return [name, *wheels]


def _file_of(name: str) -> str:
    """Where the loader found the library ``name``, else the name itself (proc(5), maps)."""
    for line in Path("/proc/self/maps").read_text(errors="replace").splitlines():
        file = line.split(maxsplit=5)[-1]
        if Path(file).name == name:
            return file
    return name


def _version(library: Any, asked: str | None) -> int | None:
    """What the library says, such as 13050 for CUDA 13.5 and 92800 for cuDNN 9.28."""
    if asked is None or not hasattr(library, asked):
        return None
    function = getattr(library, asked)
    if asked == "cudnnGetVersion":
        function.restype = ctypes.c_size_t
        return int(function())
    number = ctypes.c_int()
    return number.value if function(ctypes.byref(number)) == 0 else None
