"""Runs on a CPU: the network as it is and, for the sizes that matter, rewritten to be quicker.

Whether a rewritten network (quicken.py) is quicker depends on the processor, so it is tried: once
for each size, at the warm-up, against the network as it is and on the same numbers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np

from streamer.cores import on_core
from streamer.types import Floats

BLOCKS: Final = (16, 8)
"""Channels at a time for which the network is rewritten: those of AVX-512, and of AVX2."""

SIZES: Final = 4
"""Input sizes that are rewritten; each takes about 20 MB. Cameras of one kind share one."""

STEADY: Final = 4
"""Rounds in a row in which no time became less by :data:`BETTER`: then it is known."""

MOST_ROUNDS: Final = 25

BETTER: Final = 0.02

WORTH: Final = 0.97
"""A rewritten network must take less than this of the time, or it is not worth its memory."""

SAME: Final = 1e-3
"""Largest difference of an output, in units of the network's own; 1e-5 is usual. A box is off by
a fifth of it, times its anchor's side: 0.1 pixels for the largest of 512."""

_ON_CORE: Final = threading.Lock()
"""Held by the run whose thread is bound to a core."""


class PlainNetwork:
    """An onnxruntime session that is run with arrays, by any number of threads at once."""

    def __init__(
        self, session: Any, image: str, outputs: list[str], core: int | None = None
    ) -> None:
        """``image`` and ``outputs`` are the names of its input and outputs.

        ``core`` is the one on which a thread runs it; None: any.
        """
        self._session = session
        self._image = image
        self._outputs = outputs
        self._core = core

    def batch_size(self, pictures: int) -> int:
        """As many as there are."""
        return pictures

    def ready(self, shape: tuple[int, ...]) -> bool:  # noqa: ARG002 - every shape is alike
        """Always."""
        return True

    def run(self, batch: Floats, options: Any) -> list[Floats]:
        """The outputs, as new arrays. Raises what onnxruntime raises."""
        # Of two runs at once only one is bound: both on one core would take twice as long.
        if self._core is None or not _ON_CORE.acquire(blocking=False):
            return self._here(batch, options)
        try:
            with on_core(self._core):
                return self._here(batch, options)
        finally:
            _ON_CORE.release()

    def _here(self, batch: Floats, options: Any) -> list[Floats]:
        found: list[Floats] = self._session.run(self._outputs, {self._image: batch}, options)
        return found

    def free(self) -> None:
        """Nothing is kept."""


class Trial(NamedTuple):
    """What a rewritten network did: its block of channels, and its share of the plain time."""

    block: int
    share: float


class QuickNetwork(PlainNetwork):
    """A plain network that runs sizes it was prepared for by a quicker one, where there is one.

    ``rewrite`` makes a network for a height, a width and a block of channels, or None where that
    cannot be done. ``chosen`` is what was chosen for each (height, width); None is the plain one.
    """

    def __init__(
        self,
        session: Any,
        image: str,
        outputs: list[str],
        core: int | None,
        rewrite: Callable[[int, int, int], PlainNetwork | None],
    ) -> None:
        """Nothing is rewritten yet."""
        super().__init__(session, image, outputs, core)
        self._rewrite = rewrite
        self._quick: dict[tuple[int, int], PlainNetwork] = {}
        self.chosen: dict[tuple[int, int], Trial | None] = {}

    def run(self, batch: Floats, options: Any) -> list[Floats]:
        """The outputs, by the network that was chosen for this size."""
        quick = self._quick.get(batch.shape[2:])
        return super().run(batch, options) if quick is None else quick.run(batch, options)

    def prepare(self, batch: Floats, new_options: Callable[[], Any]) -> None:
        """Choose for the size of ``batch``, which takes about a second; once for each size.

        One thread at a time prepares; others may run meanwhile. Raises what onnxruntime raises.
        """
        _, _, height, width = batch.shape
        if (height, width) in self.chosen or len(self.chosen) >= SIZES:
            return
        self.chosen[height, width] = None  # if this fails, it is not tried again
        # Real pictures are not all alike: noise reaches every part of the network.
        noise = np.random.default_rng(0).uniform(-120, 140, batch[:1].shape).astype(np.float32)
        wanted = super().run(noise, new_options())
        networks: dict[int, PlainNetwork] = {}
        for block in BLOCKS:
            network = self._rewrite(height, width, block)
            if network is not None and _agree(network.run(noise, new_options()), wanted):
                networks[block] = network
        best = None
        if networks:
            plain = PlainNetwork(self._session, self._image, self._outputs, self._core)
            tried = {0: plain, **networks}
            runs = [partial(_run, network, noise, new_options) for network in tried.values()]
            times = dict(zip(tried, least_seconds(*runs), strict=True))
            block = min(networks, key=lambda block: times[block])
            if times[block] < WORTH * times[0]:
                best = Trial(block, times[block] / times[0])
                self._quick[height, width] = networks[block]
        self.chosen[height, width] = best


def _agree(found: list[Floats], wanted: list[Floats]) -> bool:
    """Whether two networks gave the same, to :data:`SAME`."""
    return all(
        a.shape == b.shape and bool(np.abs(a - b).max(initial=0.0) <= SAME)
        for a, b in zip(found, wanted, strict=True)
    )


def _run(network: PlainNetwork, batch: Floats, new_options: Callable[[], Any]) -> None:
    network.run(batch, new_options())


def least_seconds(*runs: Callable[[], object]) -> list[float]:
    """The least seconds of each, in turn: what else the machine does only adds.

    On a quiet machine five rounds tell; on a busy one it takes more of them.
    """
    times = [float("inf")] * len(runs)
    steady = 0
    for _ in range(MOST_ROUNDS):
        before = list(times)
        for n, run in enumerate(runs):
            began = time.perf_counter()
            run()
            times[n] = min(times[n], time.perf_counter() - began)
        news = any(now < (1 - BETTER) * was for now, was in zip(times, before, strict=True))
        steady = 0 if news else steady + 1
        if steady == STEADY:
            break
    return times
