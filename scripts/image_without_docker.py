"""Builds and runs the Dockerfile's image where there is no Docker: in a chroot on this machine.

    python scripts/image_without_docker.py build/image [--bind PATH …]

Needs root, Linux and Debian's debootstrap. In the place of the official Python image stands a
minimal Debian 12 with its own Python 3.11, the same minor version. Every COPY, RUN, ENV, USER and
WORKDIR of the target `cpu` is done as the Dockerfile says; then the image runs as
docker-compose.yml would have it: as its own user, without capabilities, as process 1, on a
read-only file system. The health check must pass, the demo's faces must be counted, and SIGTERM
must end it with 0.

What is not tried so: BuildKit, layers, the official base image, networks of Docker and the GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = "cpu"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEMO = """\
cameras: {entrance: {source: "demo:", every: 2}}
http: {bind: "127.0.0.1:8080"}
publish: {zeromq: null}
"""


@dataclass
class Stage:
    """One stage of the build: its root folder, and what ENV, USER, … said so far."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"
    command: dict[str, list[str]] = field(default_factory=dict)


def instructions(text: str) -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments, continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.split("\n"))]


def needed(steps: list[tuple[str, str]], target: str) -> set[str]:
    """The stages that ``target`` is made from, itself included."""
    made_from: dict[str, set[str]] = {}
    name = ""
    for word, rest in steps:
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            made_from[name] = {base}
        elif match := re.match(r"--from=(\S+)", rest):
            made_from[name].add(match[1])
    found, todo = set(), [target]
    while todo:
        stage = todo.pop()
        if stage in made_from and stage not in found:
            found.add(stage)
            todo += made_from[stage]
    return found


class Build:
    """Does what the Dockerfile says, one chroot for each stage."""

    def __init__(self, folder: Path, binds: list[str]) -> None:
        self.folder = folder
        self.binds = binds
        self.stages: dict[str, Stage] = {}

    def debian(self) -> Path:
        """A minimal Debian with Python, made once."""
        root = self.folder / "debian"
        if not (root / "usr/bin/python").exists():
            shutil.rmtree(root, ignore_errors=True)
            subprocess.run(
                ["debootstrap", "--variant=minbase",
                 "--include=python3,python3-venv,ca-certificates",
                 "bookworm", str(root)], check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            (root / "usr/bin/python").symlink_to("python3")
        return root

    def run(self, target: str) -> Stage:
        """Build ``target`` and give its stage."""
        steps = instructions((ROOT / "Dockerfile").read_text())
        wanted = needed(steps, target)
        stage: Stage | None = None
        for word, rest in steps:
            if word == "FROM":
                base, _, name = rest.partition(" AS ")
                stage = self.begin(name, base) if name in wanted else None
            elif stage is not None:
                print(f"{word} {rest[:90]}", flush=True)
                self.step(stage, word, rest)
        return self.stages[target]

    def begin(self, name: str, base: str) -> Stage:
        """A new stage: a copy of the one it is made from, or of Debian."""
        before = self.stages.get(base)
        root = self.folder / name
        subprocess.run(["rm", "-rf", str(root)], check=True)
        subprocess.run(
            ["cp", "-a", str(before.root if before else self.debian()), str(root)], check=True
        )
        env = dict(before.env) if before else {"PATH": PATH}
        stage = Stage(root, env, *((before.folder, before.user) if before else ("/", "0:0")))
        stage.command = dict(before.command) if before else {}
        self.stages[name] = stage
        return stage

    def step(self, stage: Stage, word: str, rest: str) -> None:
        """Do one instruction; what says something about the image only is left out."""
        if word == "ENV":
            for pair in shlex.split(rest):
                key, _, value = pair.partition("=")
                stage.env[key] = value.replace("${PATH}", stage.env["PATH"])
        elif word == "WORKDIR":
            stage.folder = rest
            (stage.root / rest[1:]).mkdir(parents=True, exist_ok=True)
        elif word == "USER":
            stage.user = rest
        elif word == "COPY":
            self.copy(stage, rest)
        elif word == "RUN":
            inside(stage, ["/bin/sh", "-c", rest], binds=self.binds)
        elif word in ("ENTRYPOINT", "CMD"):
            stage.command[word] = json.loads(rest)
        elif word == "HEALTHCHECK":
            stage.command[word] = json.loads(rest.partition("CMD ")[2])

    def copy(self, stage: Stage, rest: str) -> None:
        """Do a COPY, from this checkout or from another stage."""
        match = re.match(r"--from=(\S+) (.*)", rest)
        source = self.stages[match[1]].root if match else ROOT
        *names, to = (match[2] if match else rest).split()
        target = stage.root / (Path(stage.folder) / to).as_posix()[1:]
        for name in names:
            place = source / name.lstrip("/")
            if place.is_dir():
                shutil.copytree(
                    place, target, symlinks=True, dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns("__pycache__", "*.pyc"),
                )  # fmt: skip
            else:
                whole = target / place.name if to.endswith("/") else target
                whole.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(place, whole)


def inside(stage: Stage, command: list[str], *, binds: list[str], locked: bool = False) -> None:
    """Run ``command`` in the stage; ``locked`` as docker-compose.yml would, and return its end."""
    subprocess.run(_command(stage, command, binds, locked), check=True)


def _command(stage: Stage, command: list[str], binds: list[str], locked: bool) -> list[str]:
    root = shlex.quote(str(stage.root))
    lines = ["set -eu", f"mount --bind {root} {root}", f"mount -t proc proc {root}/proc",
             f"mount --rbind /dev {root}/dev", f"mount -t tmpfs tmp {root}/tmp"]  # fmt: skip
    for bind in [*binds, "/etc/resolv.conf"]:
        there = stage.root / bind[1:]
        if Path(bind).is_dir():
            there.mkdir(parents=True, exist_ok=True)
        else:
            there.parent.mkdir(parents=True, exist_ok=True)
            there.touch()
        lines.append(f"mount --bind {shlex.quote(bind)} {shlex.quote(str(there))}")
    if locked:
        lines.append(f"mount -o remount,bind,ro {root}")
    env = dict(stage.env)
    if binds:
        env |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    user, _, group = stage.user.partition(":")
    drop = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    if locked:
        drop += ["--bounding-set=-all", "--no-new-privs", "--inh-caps=-all"]
    run = ["env", "-i", *(f"{name}={value}" for name, value in env.items()), *drop,
           "--", "sh", "-c", 'cd "$0" && exec "$@"', stage.folder, *command]  # fmt: skip
    lines.append(f"exec chroot {root} {shlex.join(run)}")
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", "\n".join(lines)]


def children(pid: int) -> list[int]:
    """The processes that ``pid`` started and that still run; none when it has ended."""
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def try_it(stage: Stage) -> None:
    """Run the image as docker-compose.yml does, and end it as Docker does."""
    (stage.root / "etc/streamer/streamer.yaml").write_text(DEMO)
    entry = [*stage.command["ENTRYPOINT"], *stage.command["CMD"]]
    # Process 1 of its own space of numbers is the program; unshare, outside of it, is ours to name.
    process = subprocess.Popen(_command(stage, entry, [], locked=True))
    try:
        check = stage.command["HEALTHCHECK"]
        asked = [*check[:-1], check[-1].replace("healthz", "metrics")]
        seen = asked[-1].rstrip() + (
            "; t = u.urlopen('http://127.0.0.1:8080/metrics').read().decode(); "
            "import re; n = re.search(r'^streamer_faces_detected_total.* ([0-9.e+]+)', t, re.M); "
            "print('faces counted:', n[1]); assert float(n[1]) > 0"
        )
        for attempt in range(60):
            time.sleep(1)
            assert process.poll() is None, f"it ended with {process.returncode}"
            if subprocess.run(_command(stage, check, [], locked=True), check=False,
                              stderr=subprocess.DEVNULL).returncode == 0:  # fmt: skip
                print(f"healthy after {attempt + 1} s")
                break
        else:
            sys.exit("it never became healthy")
        time.sleep(3)
        inside(stage, [*check[:-1], seen], binds=[], locked=True)
        (child,) = children(process.pid)
        status = Path(f"/proc/{child}/status").read_text()
        print(
            *re.findall(r"^(?:Uid|CapEff|CapBnd|NoNewPrivs|NSpid):.*", status, re.MULTILINE),
            sep="\n",
        )
        began = time.monotonic()
        os.kill(child, 15)
        code = process.wait(30)
        print(f"SIGTERM: ended with {code} after {time.monotonic() - began:.1f} s")
        assert code == 0
    finally:
        for child in children(process.pid):  # setpriv takes away the signal at a parent's death
            os.kill(child, 9)
        process.kill()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="where the chroots are made, some 2 GB")
    parser.add_argument(
        "--bind", action="append", default=[], help="what pip needs of this machine"
    )
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    build = Build(arguments.folder.resolve(), arguments.bind)
    stage = build.run(TARGET)
    for name in ("opt/streamer/sbom.cdx.json", "opt/streamer/models/retinaface_mnet025.onnx"):
        print(f"/{name}: {(stage.root / name).stat().st_size} bytes")
    size = subprocess.run(["du", "-sm", str(stage.root / "opt/streamer")], capture_output=True,
                          text=True, check=True)  # fmt: skip
    print(f"/opt/streamer: {size.stdout.split()[0]} MB")
    try_it(stage)


if __name__ == "__main__":
    main()
