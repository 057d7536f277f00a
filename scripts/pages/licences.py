"""docs/licences.md: what an installed streamer consists of, and under which licences."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

HEAD = """\
# Licences

Written by `make docs` from what is installed; change `scripts/pages/licences.py`, not this page.

streamer is under the [Apache Licence 2.0](https://www.apache.org/licenses/LICENSE-2.0). The weights
and the pictures of the demo have their own, see the file NOTICE. With it come, always or with one of
its extras (the tools of `dev`, which no wheel and no image has, are left out):

| package | comes with | licence, as it says itself |
|---|---|---|
"""

ROOT = Path(__file__).resolve().parent.parent.parent
NOT_READ = "not read: not installed where this page was written"
LOCKED = {"gpu": "constraints.txt", "gpu-cu12": "constraints-cu12.txt"}
"""Where the names of NVIDIA's libraries stand that come with an extra."""

TAIL = """

Some wheels have more inside than their own code. **PyAV** brings FFmpeg with x264 and x265, which
are under the GPL version 2 or later, though FFmpeg itself reports LGPL version 3;
**opencv-python-headless** brings FFmpeg under LGPL 2.1 and other libraries, listed in its
LICENSE-3RD-PARTY.txt; **pyzmq** brings libzmq (MPL 2.0) and libsodium (ISC). That matters for who
ships an image with them, not for who runs it. The GPU builds bring NVIDIA's libraries under
NVIDIA's own terms. An image's exact contents are in its `/opt/streamer/sbom.cdx.json`.
"""


def licence_of(package: Distribution) -> str:
    """What the package says of its licence: an expression, a short name or its classifiers."""
    told = package.metadata
    if expression := told.get("License-Expression"):
        return str(expression)
    classifiers = [
        line.rsplit(" :: ", 1)[-1]
        for line in told.get_all("Classifier") or ()
        if line.startswith("License :: ") and not line.endswith("OSI Approved")
    ]
    short = str(told.get("License") or "").strip()
    if short and "\n" not in short and len(short) < 60:
        return short
    return ", ".join(classifiers) or "not said"


def needed(name: str = "streamer", extra: str = "cpu") -> dict[str, Distribution]:
    """The packages that ``name[extra]`` needs and that are installed here, by their names."""
    found: dict[str, Distribution] = {}
    todo = [(name, extra)]
    while todo:
        current, wanted = todo.pop()
        try:
            package = distribution(current)
        except PackageNotFoundError:  # for another Python, or the other build of onnxruntime
            continue
        for line in package.requires or ():
            requirement, _, marker = line.partition(";")
            if "win" in marker.lower():
                continue
            asked = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
            if asked is None or asked[1] == wanted:
                match = re.match(r"([\w.-]+)(?:\[([\w-]+)\])?", requirement)
                assert match
                other = re.sub(r"[-_.]+", "-", match[1]).lower()
                if other not in found and other != name:
                    todo.append((other, match[2] or ""))
        if current != name:
            found[current] = package
    return found


def extras() -> dict[str, list[str]]:
    """The packages that each extra but ``dev`` asks for by itself, installed or not."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found = {
        extra: [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in lines]
        for extra, lines in asked.items()
        if extra != "dev"
    }
    for extra, file in LOCKED.items():
        found[extra] += re.findall(r"^(nvidia-[\w-]+)==", (ROOT / file).read_text(), re.MULTILINE)
    return found


def page() -> str:
    """The whole page."""
    always = needed(extra="")
    licences = {name: licence_of(package) for name, package in always.items()}
    comes_with: dict[str, list[str]] = {name: [] for name in always}
    for extra, names in extras().items():
        installed = needed(extra=extra)
        for name in {*installed, *names} - always.keys():
            package = installed.get(name)
            licences[name] = NOT_READ if package is None else licence_of(package)
            comes_with.setdefault(name, []).append(f"`{extra}`")
    rows = [
        f"| {name} | {', '.join(comes_with[name]) or 'always'} | {licences[name]} |"
        for name in sorted(licences)
    ]
    return HEAD + "\n".join(rows) + "\n" + TAIL
