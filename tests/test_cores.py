"""Quotas and memory limits are read as Docker, Kubernetes and systemd write them."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer import cores
from streamer.cores import Memory, affinity, cpu_quota, memory, usable_cores, whole

V2 = "30 29 0:26 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "31 29 0:27 {root} /sys/fs/cgroup/{name} rw shared:5 - cgroup cgroup rw,{name}"
NOTHING = 9223372036854771712
GIB = 1 << 30


class Machine:
    """Files of a machine under a folder that stands for "/"."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/meminfo", f"MemTotal: 99 kB\nMemAvailable:   {8 << 20} kB\n")

    def write(self, name: str, text: object) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(text))

    def groups(self, cgroup: str, *mounts: str) -> None:
        self.write("proc/self/cgroup", cgroup)
        self.write("proc/self/mountinfo", "\n".join(mounts) + "\n")


@pytest.fixture
def box(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_machine_without_groups_has_no_quota(box: Machine) -> None:
    assert cpu_quota(box.root) is None
    assert usable_cores(box.root) == affinity() == len(os.sched_getaffinity(0))
    assert memory(box.root) == Memory(8 * GIB, None)


@pytest.mark.parametrize(
    ("text", "quota"),
    [("150000 100000", 1.5), ("max 100000", None), ("50000 100000\n", 0.5), ("", None),
     ("nonsense", None), ("100000 0", None), ("-1 100000", None), ("1 2 3", None)],
)  # fmt: skip
def test_cpu_max_of_a_container(box: Machine, text: str, quota: float | None) -> None:
    box.groups("0::/\n", V2.format(root="/"))
    box.write("sys/fs/cgroup/cpu.max", text)
    assert cpu_quota(box.root) == quota


def test_the_least_of_the_groups_above_counts(box: Machine) -> None:
    """As in a systemd service: no namespace, and the limit may stand higher up."""
    box.groups("0::/system.slice/streamer.service\n", V2.format(root="/"))
    box.write("sys/fs/cgroup/system.slice/streamer.service/cpu.max", "400000 100000")
    box.write("sys/fs/cgroup/system.slice/cpu.max", "120000 100000")
    assert cpu_quota(box.root) == 1.2


def test_cgroup_1_with_both_controllers_on_one_mount(box: Machine) -> None:
    name = "cpu,cpuacct"
    mount = V1.format(root="/docker/abc", name=name)
    box.groups(f"5:memory:/docker/abc\n4:{name}:/docker/abc\n0::/\n", mount)
    box.write(f"sys/fs/cgroup/{name}/cpu.cfs_quota_us", "250000\n")
    box.write(f"sys/fs/cgroup/{name}/cpu.cfs_period_us", "100000\n")
    assert cpu_quota(box.root) == 2.5
    box.write(f"sys/fs/cgroup/{name}/cpu.cfs_quota_us", "-1\n")
    assert cpu_quota(box.root) is None


def test_a_group_outside_of_the_mount_is_the_mount_itself(box: Machine) -> None:
    box.groups("0::/../../elsewhere\n", V2.format(root="/docker/abc"))
    box.write("sys/fs/cgroup/cpu.max", "100000 100000")
    assert cpu_quota(box.root) == 1.0


@given(quota=st.floats(0.01, 4096), have=st.integers(1, 512))
def test_usable_cores_are_never_none_and_never_more_than_there_are(quota: float, have: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cores, "cpu_quota", lambda root: quota)
        patch.setattr(cores, "affinity", lambda: have)
        assert usable_cores() == max(1, min(have, math.ceil(quota)))


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_text_in_proc_raises(cgroup: str, mounts: str) -> None:
    texts = {"cgroup": cgroup, "mountinfo": mounts}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cores, "_read", lambda path: texts.get(path.name, ""))
        assert cpu_quota() is None
        assert memory() == Memory(0, None)


def test_memory_of_a_container_counts_what_can_be_thrown_away(box: Machine) -> None:
    box.groups("0::/\n", V2.format(root="/"))
    box.write("sys/fs/cgroup/memory.max", 2 * GIB)
    box.write("sys/fs/cgroup/memory.current", GIB)
    box.write("sys/fs/cgroup/memory.stat", f"anon 1\ninactive_file {GIB // 2}\n")
    assert memory(box.root) == Memory(3 * GIB // 2, 2 * GIB)
    box.write("sys/fs/cgroup/memory.current", 4 * GIB)
    assert memory(box.root) == Memory(0, 2 * GIB)


def test_memory_of_cgroup_1_without_a_limit(box: Machine) -> None:
    box.groups("4:memory:/\n", V1.format(root="/", name="memory"))
    box.write("sys/fs/cgroup/memory/memory.limit_in_bytes", NOTHING)
    box.write("sys/fs/cgroup/memory/memory.usage_in_bytes", 5)
    assert memory(box.root) == Memory(8 * GIB, None)
    box.write("sys/fs/cgroup/memory/memory.limit_in_bytes", GIB)
    assert memory(box.root) == Memory(GIB - 5, GIB)


def test_this_machine_can_be_read() -> None:
    assert 1 <= usable_cores() <= affinity()
    assert memory().free > 0


def test_all_cores_are_whole_and_fewer_are_not() -> None:
    cores = sorted(os.sched_getaffinity(0))
    assert whole(len(cores)) == tuple(cores)
    assert whole(len(cores) + 1) == whole(len(cores) - 1) == ()
