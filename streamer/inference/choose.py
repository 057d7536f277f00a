"""Which model to use: the best that fits, and why, in a sentence. Pure, but for `auto_model`.

``model: auto`` asks two things of a machine: how much GPU memory is free, and how many pictures a
second it was measured to look at (``streamer models bench``). Without a measurement the memory
decides on a GPU, and a CPU gets the smallest model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamer.inference.measure import MEASURED, load, sustained
from streamer.inference.registry import model_path
from streamer.resources import cache_folder

LADDER: Final = (
    "retinaface_mnet025",
    "retinaface_mnet050",
    "retinaface_mnet100",
    "retinaface_mnetv2",
    "retinaface_resnet18",
    "retinaface_resnet34",
    "retinaface_resnet50",
)
"""Models of the registry from the smallest to the largest network."""

GIB: Final = 1 << 30

BY_MEMORY: Final = (
    ("retinaface_resnet50", 2 * GIB),
    ("retinaface_mnet100", 1 * GIB),
)
"""On a GPU: the first whose bytes of memory are free and more; else the smallest."""

SMALLEST: Final = LADDER[0]

LOAD: Final = 0.6
"""Part of what was measured that cameras may ask for: decoding and publishing want theirs, and
a queue that is full most of the time makes every frame late."""

ASSUMED_FPS: Final = 25.0
"""What a camera is thought to send; its real rate is known only once it runs."""


@dataclass(frozen=True, slots=True)
class Choice:
    """``model`` is a name of :data:`LADDER`; ``reason`` a sentence without a full stop."""

    model: str
    reason: str


def demand(cameras: Iterable[tuple[int, float | None]]) -> float:
    """Pictures a second that live cameras ask for, each as its ``every`` and ``max_fps``.

    Cameras are thought to send :data:`ASSUMED_FPS`.
    """
    return sum(
        min(ASSUMED_FPS / every, ASSUMED_FPS if max_fps is None else max_fps)
        for every, max_fps in cameras
    )


def auto_model(
    *,
    gpu_free: int | None,
    input_size: int,
    cameras: Iterable[tuple[int, float | None]],
    device: str = "cuda",
    cache: Path | None = None,
) -> Choice:
    """What ``model: auto`` is here: :func:`choose_model` on what is in the folder of models.

    ``input_size`` is the largest long side of any camera, pixels; ``cameras`` are as
    :func:`demand` takes them; ``device`` names the GPU's provider where there is one; ``cache``
    is the folder of models and of their measurements, by default the usual one.
    """
    folder = cache_folder() if cache is None else cache
    return choose_model(
        gpu_free=gpu_free,
        wanted=demand(cameras),
        rates=sustained(
            load(folder / MEASURED),
            input_size=input_size,
            device="cpu" if gpu_free is None else device,
        ),
        here=[name for name in LADDER if model_path(name, folder).is_file()],
    )


def choose_model(
    *,
    gpu_free: int | None,
    wanted: float,
    rates: Mapping[str, float] | None = None,
    here: Collection[str] = LADDER,
) -> Choice:
    """The model for this machine and these cameras.

    ``gpu_free`` is bytes of free memory of the GPU that will be used, None on a CPU; ``wanted``
    is pictures a second (:func:`demand`); ``rates`` pictures a second that each model was
    measured to do on this device (:func:`streamer.inference.measure.sustained`), without models
    nobody measured; ``here`` are the models whose files are there. A model that is not here is
    never chosen, unless none is; the reason then names the command that fetches it.
    """
    rates = rates or {}
    if gpu_free is None:
        best, reason = _on_cpu(wanted, rates)
    else:
        best, reason = _on_gpu(gpu_free, wanted, rates)
    if best in here or not any(name in here for name in LADDER):
        return Choice(best, f"{best}: {reason}")
    smaller = [name for name in LADDER[: LADDER.index(best)] if name in here]
    larger = [name for name in LADDER[LADDER.index(best) :] if name in here]
    instead = smaller[-1] if smaller else larger[0]
    return Choice(
        instead,
        f"{instead}, which is here; {best} would be the choice ({reason}): "
        f"run `streamer models pull {best}`",
    )


def _on_cpu(wanted: float, rates: Mapping[str, float]) -> tuple[str, str]:
    enough = [name for name in LADDER if _sustains(rates.get(name), wanted)]
    if enough and enough[-1] != SMALLEST:
        return enough[-1], (
            f"on this CPU it was measured at {rates[enough[-1]]:.0f} pictures a second, and the "
            f"cameras ask for {wanted:.0f}"
        )
    if not rates:
        return SMALLEST, (
            "on a CPU the smallest is used until `streamer models bench` has measured that a "
            "larger one keeps up"
        )
    return SMALLEST, (
        f"on this CPU no larger model that was measured keeps up with the {wanted:.0f} pictures "
        "a second that the cameras ask for"
    )


def _on_gpu(free: int, wanted: float, rates: Mapping[str, float]) -> tuple[str, str]:
    fits = next((name for name, least in BY_MEMORY if free > least), SMALLEST)
    limits = dict(BY_MEMORY)
    memory = f"the GPU has {free / GIB:.1f} GiB free"
    if fits in limits:
        reason = f"{memory}, above the {limits[fits] / GIB:.0f} GiB it asks for"
    else:
        reason = f"{memory}, and larger ones ask for more than {limits[BY_MEMORY[-1][0]] / GIB:.0f}"
    rate = rates.get(fits)
    if rate is None or _sustains(rate, wanted):
        return fits, reason
    below = LADDER[: LADDER.index(fits)]
    # A smaller one that nobody measured is at least no slower than one that was.
    lighter = [name for name in below if name not in rates or _sustains(rates[name], wanted)]
    chosen = lighter[-1] if lighter else SMALLEST
    return chosen, (
        f"{memory}, but {fits} was measured at {rate:.0f} pictures a second here and the cameras "
        f"ask for {wanted:.0f}"
    )


def _sustains(rate: float | None, wanted: float) -> bool:
    return rate is not None and rate * LOAD >= wanted
