"""The promises, all at once: whatever comes and however long it takes, in simulated time.

Pacer, lanes, fan and order are the real ones. Frames that pacing or the gate leave out go along
as they do in the program.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.flow.order import FREE, Terms
from streamer.inference.pacing import Pacer
from streamer.inference.scheduling import PUBLISH_MARGIN_S, FairShare
from tests.inference.simulate import Item, Simulation

UNTIL = 12.0
WINDOW_S = 6.0
"""A camera waits for its turn at most: five others of eight times its weight, 0.12 s each."""

CAMERAS = st.lists(
    st.fixed_dictionaries(
        {
            "gaps": st.lists(st.floats(0.004, 0.4), min_size=1, max_size=6),
            "every": st.integers(1, 3),
            "max_fps": st.sampled_from([None, 5.0, 15.0]),
            "still": st.lists(st.booleans(), min_size=1, max_size=6),  # of its frames, cycled
            "weight": st.sampled_from([0.5, 1.0, 4.0]),
        }
    ),
    min_size=1,
    max_size=6,
)


def camera(simulation: Simulation, name: str, its: dict[str, Any]) -> list[float]:
    """Add a camera; returns the instants of its frames that are to be looked at."""
    lane = simulation.fan.add_lane(
        name, capacity=1, overflow="drop_oldest",
        terms=Terms(its["weight"], 1.0),
    )  # fmt: skip
    simulation.lanes[name] = lane
    pacer, looked, at, n = Pacer(every=its["every"], max_fps=its["max_fps"]), [], 0.0, 0
    while at < UNTIL:
        gaps, still = its["gaps"], its["still"]
        looks = pacer.wants(at) and not still[n % len(still)]
        if looks:
            looked.append(at)
        item = Item(name, at, None if looks else FREE)
        simulation.at(at, lambda item=item: lane.put(item))
        at += gaps[n % len(gaps)]
        n += 1
    return looked


@settings(max_examples=60)
@given(
    cameras=CAMERAS,
    services=st.lists(st.floats(0.002, 0.12), min_size=1, max_size=30),
    workers=st.integers(1, 3),
    most=st.integers(1, 4),
    delay_s=st.sampled_from([0.0, 0.02]),
)
def test_fresh_fair_and_to_the_end(cameras, services, workers, most, delay_s) -> None:
    turns = iter(range(10**9))

    def service(items: list[Item], now: float) -> float:
        del now
        if all(item.kind is FREE for item in items):
            return 1e-4
        return services[next(turns) % len(services)] * (1 + len(items)) / 2

    order = FairShare(delay_s=delay_s)
    for size in range(1, 5):
        order.times.measured(None, size, max(services) * (1 + size) / 2)
    simulation = Simulation(service, order, workers=workers, most=most)
    looked = {}
    for number, its in enumerate(cameras):
        looked[str(number)] = camera(simulation, str(number), its)
    simulation.run(UNTIL + 5.0)  # each event checks every ledger

    # No deadlock: nothing is left anywhere, and every frame has an end.
    for lane in simulation.lanes.values():
        ledger = lane.ledger()
        assert ledger.closes
        assert ledger.in_flight == 0
        assert set(ledger.dropped) <= {
            ("infer", "queue_full"), ("infer", "deadline"), ("infer", "fill_full"),
        }  # fmt: skip
    worst: dict[str, list[float]] = {name: [] for name in looked}
    for served in simulation.served:
        # The deadline: what was longer than held is all that may be missing.
        unforeseen = max(0.0, served.ended_at - served.began_at - served.expected_s)
        assert served.ended_at <= served.born_at + 1.0 - PUBLISH_MARGIN_S + unforeseen + 1e-9
        if served.born_at in looked[served.camera]:
            worst[served.camera].append(served.ended_at)
    # Nobody starves: who has frames all the time is looked at all the time.
    for name, instants in looked.items():
        ends = worst[name]
        for begin in (0.0, 2.0, 4.0, 6.0):
            if sum(begin <= at < begin + WINDOW_S - 1 for at in instants) >= 10:
                assert any(begin <= at < begin + WINDOW_S for at in ends), (name, begin)
