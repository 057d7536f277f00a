import threading
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.inference.cuda import (
    BoundNetwork,
    GpuOptions,
    batch_sizes,
    cuda_options,
    tensorrt_options,
)
from tests.inference.fake_ort import FakeBuild, FakeSession
from tests.inference.pictures import model_bytes


def noise(n: int, height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 50, (n, 3, height, width)).astype(np.float32)


# Options


def test_sizes_of_batch_are_powers_of_two_and_the_most() -> None:
    assert batch_sizes(16) == (1, 2, 4, 8, 16)
    assert batch_sizes(1) == (1,)
    assert batch_sizes(6) == (1, 2, 4, 6)


@given(st.integers(1, 64))
def test_every_count_has_a_size_that_holds_it(most) -> None:
    sizes = batch_sizes(most)
    assert sizes[-1] == most
    assert all(any(count <= size < 2 * count or size == most for size in sizes)
               for count in range(1, most + 1))  # fmt: skip


def test_options_of_cuda() -> None:
    plain = cuda_options(2, GpuOptions())
    assert plain["device_id"] == "2"
    assert plain["cudnn_conv_algo_search"] == "HEURISTIC"
    assert "gpu_mem_limit" not in plain
    assert "enable_cuda_graph" not in plain
    full = cuda_options(0, GpuOptions(memory_limit=2 << 30, cuda_graphs=True))
    assert (full["gpu_mem_limit"], full["enable_cuda_graph"]) == ("2147483648", "1")


def test_tensorrt_gets_one_profile_in_full_and_a_folder_for_its_engines() -> None:
    gpu = GpuOptions(engines=Path("/cache"), largest_input=640, max_batch=16)
    options = tensorrt_options(1, gpu, image="image", key="abc")
    assert options["trt_profile_min_shapes"] == "image:1x3x32x32"
    assert options["trt_profile_opt_shapes"] == "image:4x3x384x640"
    assert options["trt_profile_max_shapes"] == "image:16x3x640x640"
    assert options["trt_engine_cache_path"] == "/cache/abc"
    assert options["device_id"] == "1"
    folded = tensorrt_options(0, GpuOptions(max_batch=2, pixels=(384, 640)), image="p", key="k")
    assert [folded[f"trt_profile_{name}_shapes"] for name in ("min", "opt", "max")] == [
        f"p:{batch}x384x640x3" for batch in (1, 2, 2)
    ]
    assert not any(
        "cache" in name for name in tensorrt_options(0, GpuOptions(), image="i", key="k")
    )


# Bindings: the real onnxruntime, on CPU memory


def real(
    sizes: tuple[int, ...] = (1, 2, 4, 8, 16),
) -> tuple[BoundNetwork, onnxruntime.InferenceSession]:
    session = onnxruntime.InferenceSession(model_bytes(), providers=["CPUExecutionProvider"])
    outputs = [o.name for o in session.get_outputs()]
    image = session.get_inputs()[0].name
    bound = BoundNetwork(
        onnxruntime, session, image=image, outputs=outputs, sizes=sizes, device="cpu"
    )
    return bound, session


def alone(session: onnxruntime.InferenceSession, batch: np.ndarray) -> list[np.ndarray]:
    return session.run(None, {session.get_inputs()[0].name: batch})


def run(bound: BoundNetwork, batch: np.ndarray) -> list[np.ndarray]:
    return bound.run(batch, onnxruntime.RunOptions())


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_a_padded_batch_gives_what_the_bare_session_gives_and_no_more(count) -> None:
    bound, session = real()
    for seed in range(3):  # the first run binds, the others use what was bound
        batch = noise(count, seed=seed)
        for ours, theirs in zip(run(bound, batch), alone(session, batch), strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_what_was_given_does_not_change_with_the_next_run() -> None:
    bound, _ = real()
    run(bound, noise(2))
    before = run(bound, noise(2, seed=1))
    copies = [a.copy() for a in before]
    run(bound, noise(2, seed=2))
    for now, then in zip(before, copies, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_batch_of_three_is_ready_when_one_of_four_was_run() -> None:
    bound, _ = real()
    assert not bound.ready((3, 3, 64, 96))
    run(bound, noise(4))
    assert bound.ready((3, 3, 64, 96))
    assert not bound.ready((2, 3, 64, 96))
    bound.free()
    assert not bound.ready((3, 3, 64, 96))
    run(bound, noise(3))
    assert [bound.batch_size(n) for n in (1, 2, 3, 5, 16, 17)] == [1, 2, 4, 8, 16, 17]


def test_few_shapes_keep_their_memory() -> None:
    bound, _ = real((1,))
    for blocks in range(1, 41):
        run(bound, noise(1, 32, 32 * blocks))
    assert len(bound._bindings) == 32
    assert bound.ready((1, 3, 32, 32 * 40))
    assert not bound.ready((1, 3, 32, 32))


def test_threads_take_turns() -> None:
    bound, session = real()
    batches = [noise(n % 3 + 1, seed=n) for n in range(8)]
    found: dict[int, list[np.ndarray]] = {}

    def work(n: int) -> None:
        for _ in range(3):
            found[n] = run(bound, batches[n])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, batch in enumerate(batches):
        for ours, theirs in zip(found[n], alone(session, batch), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_no_two_runs_are_in_the_session_at_once() -> None:
    inside, most = [0], [0]

    def fails(batch: np.ndarray) -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.005)
        inside[0] -= 1

    bound = BoundNetwork(
        FakeBuild(), FakeSession(fails=fails), image="image", outputs=["loc"], sizes=(1, 2)
    )
    threads = [threading.Thread(target=run, args=(bound, noise(n % 2 + 1))) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


# CUDA graphs: a stand-in


def graphs() -> tuple[BoundNetwork, FakeSession]:
    inner = FakeSession()
    bound = BoundNetwork(
        FakeBuild(), inner, image="image", outputs=["loc", "conf", "marks"],
        sizes=batch_sizes(16), graphs=True,
    )  # fmt: skip
    return bound, inner


def test_the_first_run_of_a_shape_records_nothing_and_the_others_have_a_graph_each() -> None:
    bound, inner = graphs()
    for count in (1, 1, 4, 3, 1):
        run(bound, noise(count))
    assert inner.graphs == ["-1", "1", "-1", "2", "1"]
    assert [shape[0] for shape in inner.shapes] == [1, 1, 4, 4, 1]
    bound.free()
    assert sorted(inner.released) == [1, 2]


def test_without_graphs_no_run_is_told_of_them() -> None:
    inner = FakeSession()
    bound = BoundNetwork(
        FakeBuild(), inner, image="image", outputs=["loc"], sizes=(1,), graphs=False
    )
    for _ in range(3):
        run(bound, noise(1))
    assert inner.graphs == [None] * 3
