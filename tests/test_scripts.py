"""What stands between a fresh machine and a running streamer: the scripts and the lock."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("cat", "cksum", "dirname", "rm", "sed", "sh", "uname", "mkdir", "cp", "chmod", "env")

FAKE_PYTHON = """#!/bin/sh
# Stands for a Python: tells a version, makes a .venv with itself, and notes what pip is asked.
case "$*" in
    *sys.version_info*) echo "{version}" ;;
    *"import venv"*) exit {venv} ;;
    *"-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *"-m pip"*)
        echo "$*" >>pip.log
        case "$*" in *" install "*) exit {pip} ;; esac ;;
esac
"""


@pytest.fixture
def machine(tmp_path):
    """A machine with no Python at all, and a checkout on it."""
    for folder in ("bin", "checkout/scripts"):
        (tmp_path / folder).mkdir(parents=True)
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    for name in ("pyproject.toml", "constraints.txt", "constraints-cu12.txt", "scripts/install.sh"):
        shutil.copy(ROOT / name, tmp_path / "checkout" / name)
    return tmp_path


def add_python(machine: Path, name: str, version: str, *, venv: int = 0, pip: int = 0) -> None:
    program = machine / "bin" / name
    program.write_text(FAKE_PYTHON.format(version=version, venv=venv, pip=pip))
    program.chmod(0o755)


def install(machine: Path, *arguments: str) -> tuple[int, str, list[str]]:
    """Run install.sh; return its exit code, what it printed, and what pip was asked for."""
    log = machine / "checkout" / "pip.log"
    log.write_text("")
    done = subprocess.run(
        [str(machine / "checkout" / "scripts" / "install.sh"), *arguments],
        env={"PATH": str(machine / "bin")}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr, log.read_text().splitlines()


def test_an_old_python_is_refused_in_one_sentence(machine):
    add_python(machine, "python3", "3.10")
    code, said, _ = install(machine, "cpu")
    assert code == 1
    assert said.startswith("streamer: streamer needs Python 3.11 or later, and python3 is 3.10;")
    assert said.endswith("make PYTHON=python3.12.\n")
    assert said.count("\n") == 1


def test_no_python_is_said_too(machine):
    code, said, _ = install(machine, "cpu")
    assert code == 1
    assert "python3 is not to be found" in said
    code, said, _ = install(machine, "cpu", "python3.9")
    assert code == 1
    assert "python3.9 is not to be found" in said


def test_a_missing_venv_module_names_the_debian_package(machine):
    add_python(machine, "python3", "3.12", venv=1)
    code, said, _ = install(machine, "cpu")
    assert code == 1
    assert "apt-get install python3.12-venv" in said
    assert not (machine / "checkout" / ".venv").exists()


def test_a_newer_python_is_found_beside_an_old_python3(machine):
    add_python(machine, "python3", "3.9")
    add_python(machine, "python3.13", "3.13")
    code, said, asked = install(machine, "cpu")
    assert (code, len(asked)) == (0, 2)
    assert "'cpu'" in said
    assert asked[-1].endswith("install -c constraints.txt -e .[cpu]")


def test_a_second_run_does_nothing_until_something_changes(machine):
    add_python(machine, "python3", "3.12")
    assert install(machine, "cpu")[0] == 0
    assert install(machine, "cpu") == (0, "", [])
    # The tools of the developer are added, and stay.
    assert install(machine, "cpu", "", "dev")[2][-1].endswith("-e .[cpu,dev]")
    assert install(machine, "cpu") == (0, "", [])
    # A changed lock or project is installed anew.
    for name in ("constraints.txt", "pyproject.toml"):
        path = machine / "checkout" / name
        path.write_text(path.read_text() + "# changed\n")
        assert install(machine, "cpu")[2][-1].endswith("-e .[cpu,dev]")
        assert install(machine, "cpu") == (0, "", [])


def test_another_build_of_onnx_runtime_replaces_the_first(machine):
    add_python(machine, "python3", "3.12")
    install(machine, "cpu")
    _, said, asked = install(machine, "gpu-cu12")
    assert "1.7 GB" in said
    assert asked[-2].endswith("uninstall --yes onnxruntime onnxruntime-gpu")
    assert asked[-1].endswith("install -c constraints-cu12.txt -e .[gpu-cu12]")


def test_another_python_asked_for_by_name_makes_the_venv_anew(machine):
    add_python(machine, "python3", "3.11")
    add_python(machine, "python3.13", "3.13")
    install(machine, "cpu")
    assert install(machine, "cpu", "python3") == (0, "", [])
    code, said, asked = install(machine, "cpu", "python3.13")
    assert code == 0
    assert "anew for Python 3.13" in said
    assert asked
    assert install(machine, "cpu") == (0, "", [])
    # One that will not do is refused, and what is there stays.
    add_python(machine, "python3.9", "3.9")
    assert install(machine, "cpu", "python3.9")[0] == 1
    assert install(machine, "cpu") == (0, "", [])


def test_a_failed_installation_is_tried_again(machine):
    add_python(machine, "python3", "3.12", pip=1)
    code, said, _ = install(machine, "cpu")
    assert code == 1
    assert said.endswith("make again goes on from here.\n")
    assert install(machine, "cpu")[0] == 1


def test_an_unknown_extra_is_refused(machine):
    code, said, _ = install(machine, "tpu")
    assert code == 1
    assert "cpu, gpu or gpu-cu12, not 'tpu'" in said


def choose_extra(machine: Path, *folders: Path) -> str:
    done = subprocess.run(
        [str(ROOT / "scripts" / "choose_extra.sh"), *map(str, folders)],
        env={"PATH": str(machine / "bin")}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="GPU builds are for x86-64 only")
@pytest.mark.parametrize(
    ("driver", "extra"),
    [
        ("580.65.06", "gpu"),
        ("595.10", "gpu"),
        ("550.54.15\n550.54.15", "gpu-cu12"),
        ("579.99", "gpu-cu12"),
    ],
)
def test_the_driver_chooses_the_build(machine, driver, extra):
    program = machine / "bin" / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{driver}'\n")
    program.chmod(0o755)
    assert choose_extra(machine) == extra
    # The kernel module tells the same where nvidia-smi does not run.
    program.write_text("#!/bin/sh\necho failed\nexit 9\n")
    proc = machine / "proc"
    proc.mkdir()
    first = driver.split("\n")[0]
    for kind in ("NVIDIA UNIX x86_64 Kernel Module ", "NVIDIA UNIX Open Kernel Module for x86_64 "):
        (proc / "version").write_text(f"NVRM version: {kind} {first}  Tue\nGCC version: gcc 12.2\n")
        assert choose_extra(machine, proc, machine) == "cpu"  # no device: a container without it
        (machine / "nvidiactl").touch()
        assert choose_extra(machine, proc, machine) == extra
        (machine / "nvidiactl").unlink()


def test_no_gpu_means_cpu(machine):
    assert choose_extra(machine, machine / "none", machine / "none") == "cpu"


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


@pytest.mark.parametrize(
    ("name", "extras"),
    [("constraints.txt", ("cpu", "gpu", "dev")), ("constraints-cu12.txt", ("gpu-cu12", "dev"))],
)
def test_the_lock_suits_the_project(name, extras):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    pinned = pins(name)
    for requirement in map(Requirement, wanted):
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is not {version}"
    assert all(set(version) <= set("0123456789.") for version in pinned.values())


def test_both_locks_agree_but_for_the_gpu():
    first, second = pins("constraints.txt"), pins("constraints-cu12.txt")
    differ = {name for name in first.keys() & second.keys() if first[name] != second[name]}
    assert differ == {"onnxruntime-gpu"}


def test_what_make_needs_is_there_and_can_run():
    for name in (".ci/run", *(f"scripts/{p.name}" for p in (ROOT / "scripts").glob("*.sh"))):
        assert os.access(ROOT / name, os.X_OK), f"{name} is not executable"
    listed = subprocess.run(
        ["make", "-s"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert "make demo" in listed.stdout
    assert "make test" in listed.stdout
