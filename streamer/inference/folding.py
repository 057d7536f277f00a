"""Chooses for each input size between the plain network and the folded one (graph.py).

A folded network takes a quarter of the bytes to the device and brings a tenth back. Whether that
is quicker depends on the device, so it is tried: once for each size, at the warm-up, against the
plain one, on the same picture. It is used where it is quicker and says the same.

On a GPU none of this has been run yet; the CPU stood in for one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from types import ModuleType
from typing import Any, Final

import numpy as np

from streamer.errors import DetectionFailed, DeviceError, ModelError
from streamer.inference.contract import Network
from streamer.inference.cpu import WORTH, least_seconds
from streamer.inference.cuda import BoundNetwork, GpuOptions, batch_sizes
from streamer.inference.graph import FOLDED, Ports, fold
from streamer.inference.providers import Device, open_device
from streamer.log import get_logger
from streamer.types import Floats, Image
from streamer.vision.folded import farthest
from streamer.vision.retinaface import MEAN_BGR

SIZES: Final = 8
"""Input sizes that are tried; each that is folded has a session, with weights, of its own."""

SAME: Final = 1e-3
"""Largest difference, input pixels, between what the two say. Both are run by one device, so that
what its arithmetic rounds away is the same in both."""

Run = Callable[[Network[Any], Any], list[Floats]]
"""Runs a network on a batch; raises :class:`DetectionFailed` and :class:`DeviceError`."""


def opener(
    ort: ModuleType,
    model: bytes,
    device: Device,
    *,
    threads: int,
    gpu: GpuOptions,
    opening: AbstractContextManager[object],
) -> Callable[[Ports, int, int], BoundNetwork]:
    """What opens ``model`` folded, on the GPU where it was opened with these as it is.

    It takes the model's names, and the height and width of the input. Sessions are opened within
    ``opening``. It raises :class:`ModelError` where the model cannot be folded, and
    :class:`DeviceError` where this device does not take it folded.
    """

    def open_folded(ports: Ports, height: int, width: int) -> BoundNetwork:
        content = fold(model, ports, height=height, width=width)
        options = replace(gpu, pixels=(height, width))
        with opening:
            opened = open_device(ort, content, device, threads=threads, gpu=options)
        return BoundNetwork(
            ort, opened.session, image=FOLDED.image, outputs=FOLDED[1:],
            sizes=batch_sizes(gpu.max_batch), number=device.number,
            graphs=gpu.cuda_graphs and opened.kind == "cuda",
        )  # fmt: skip

    return open_folded


class Folding:
    """Which input sizes are run by a folded network, and those networks.

    ``plain`` runs every size; ``open_folded`` opens a folded network for a height and a width,
    and raises :class:`ModelError` or :class:`DeviceError` where that cannot be done.
    """

    def __init__(
        self, plain: Network[Floats], open_folded: Callable[[int, int], Network[Image]]
    ) -> None:
        """Nothing is folded yet."""
        self._plain = plain
        self._open = open_folded
        self._networks: dict[tuple[int, int], Network[Image] | None] = {}
        self._lock = threading.Lock()

    def network(self, height: int, width: int) -> Network[Image] | None:
        """The folded network of this input size; None where the plain one is to be used."""
        return self._networks.get((height, width))

    def choose(self, height: int, width: int, run: Run) -> None:
        """Choose for this input size, once; others may run meanwhile.

        The log says what was chosen. Whatever goes wrong leaves the plain network, but for a GPU
        that is lost: raises the :class:`DeviceError` of ``run``.
        """
        size = (height, width)
        with self._lock:
            if size not in self._networks and len(self._networks) < SIZES:
                self._networks[size] = None  # if this fails, it is not tried again
                self._networks[size] = self._tried(height, width, run)

    def free(self) -> None:
        """Give back memory that folded networks keep to be quick."""
        for network in list(self._networks.values()):
            if network is not None:
                network.free()

    def _tried(self, height: int, width: int, run: Run) -> Network[Image] | None:
        """The folded network, if it is to be used."""
        log = get_logger("infer").bind(width=width, height=height)
        try:
            folded = self._open(height, width)
        except ModelError as error:
            log.info("not_folded", detail=_because(error))
            return None
        except DeviceError as error:
            log.warning("folding_failed", detail=_because(error))
            return None
        # Real pictures are not all alike: noise reaches every part of the network.
        pixels = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
        planes = (pixels - np.array(MEAN_BGR, np.float32)).transpose(0, 3, 1, 2).copy()
        try:
            wanted = run(self._plain, planes)
            candidates, extremes = run(folded, pixels)
            off = farthest(wanted, candidates, extremes, height=height, width=width)
            if not off <= SAME:  # NaN neither
                words = f"the plain network is used, because the folded one is {off:.2g} pixels off"
                log.warning("folding_failed", detail=words)
                return None
            plain_s, folded_s = least_seconds(
                lambda: run(self._plain, planes), lambda: run(folded, pixels)
            )
        except DetectionFailed as error:
            folded.free()
            log.warning("folding_failed", detail=_because(error))
            return None
        worth = folded_s < WORTH * plain_s
        log.info(
            "folded" if worth else "not_folded",
            ms=round(folded_s * 1e3, 2),
            plain_ms=round(plain_s * 1e3, 2),
            differs=off,
        )
        return folded if worth else None


def _because(error: Exception) -> str:
    reason, _, _ = str(error).rpartition("; ")  # the rest is advice for who has no other network
    return f"the plain network is used, because {reason}"
