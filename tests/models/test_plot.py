"""The plot is an SVG that parses, with every dot inside it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.models.plot import plot_svg
from tests.inference.test_measure import ONE

SVG = "{http://www.w3.org/2000/svg}"


def drawn(svg: str) -> tuple[ET.Element, list[ET.Element]]:
    root = ET.fromstring(svg)
    return root, [dot for dot in root.iter(f"{SVG}circle") if dot.find(f"{SVG}title") is not None]


def test_each_measurement_is_a_dot_in_both_panels() -> None:
    found = [
        dataclasses.replace(ONE, model=model, input_size=size, width=size, ms_median=ms)
        for model, size, ms in (("a", 320, 2.0), ("a", 640, 9.5), ("b<&", 320, 700.0))
    ]
    root, dots = drawn(plot_svg(found, title='x "y" <z> & w'))
    assert len(dots) == 6
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert 'x "y" <z> & w' in words
    assert {"a", "b<&", "2", "9.5", "700", "MiB of memory"} <= set(words)


def test_gpu_memory_is_drawn_where_it_is_known() -> None:
    gpu = dataclasses.replace(ONE, device="cuda", gpu_memory=300 << 20)
    assert "MiB of GPU memory" in plot_svg([gpu], title="t")
    assert ">300<" in plot_svg([gpu], title="t")


def test_nothing_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_svg([], title="t")


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.sampled_from([32, 64, 96, 320, 640, 1280, 2048]),
            st.floats(1e-9, 1e9), st.integers(0, 1 << 50),
        ),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_every_dot_is_inside_and_numbers_do_not_touch(
    rows: list[tuple[str, int, float, int]],
) -> None:
    found = [
        dataclasses.replace(ONE, model=model, input_size=size, ms_median=ms, memory=memory)
        for model, size, ms, memory in rows
    ]
    root, dots = drawn(plot_svg(found, title="t"))
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    for dot in dots:
        x, y = float(dot.get("cx", "nan")), float(dot.get("cy", "nan"))
        assert 0 < x < width
        assert 0 < y < height
        assert math.isfinite(x)
    labels: dict[str, list[float]] = {}
    for text in root.iter(f"{SVG}text"):
        if text.get("font-size") == "11":
            labels.setdefault(text.get("y", ""), []).append(float(text.get("x", "0")))
    for places in labels.values():
        ordered = sorted(places)
        assert all(b - a >= 33.8 for a, b in itertools.pairwise(ordered))
