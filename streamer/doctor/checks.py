"""`streamer doctor`: looks at all that streamer needs of this machine, and says what to mend.

Pure gathering: every check is a generator of findings and prints nothing. Heavy libraries are
tried in processes of their own, so that one that crashes is a finding and not the end.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from streamer import __version__
from streamer.apart import Crashed, run_apart
from streamer.config import Config, load_config
from streamer.doctor.cameras import camera_findings
from streamer.doctor.finding import VERDICTS, Finding, Verdict, from_sentence, worst
from streamer.doctor.gpu import driver_version, gpu_findings, gpu_present
from streamer.doctor.machine import (
    IN_USE,
    cache_finding,
    cores_finding,
    files_finding,
    memory_finding,
    port_finding,
)
from streamer.doctor.probe import probe_cuda, probe_library
from streamer.doctor.running import streamer_answers
from streamer.errors import ConfigError, StreamerError
from streamer.inference.choose import Choice, auto_model
from streamer.inference.entries import DEFAULT_MODEL
from streamer.inference.measure import measure_apart
from streamer.inference.registry import LoadedModel, load_model, verify
from streamer.resources import cache_folder

__all__ = ["CONFIGURATION", "VERDICTS", "Check", "Finding", "Verdict", "as_json", "checks", "worst"]

SCHEMA: Final = 1
"""Version of the JSON of `streamer doctor --json`."""

CONFIGURATION: Final = "configuration"
"""The name of the findings about the file itself."""

AUTO: Final = "auto"
PROBE_S: Final = 30.0
"""A library has so long to be imported."""

_LIBRARIES: Final = {
    "numpy": "numpy", "av": "av", "cv2": "opencv", "zmq": "zmq", "onnxruntime": "onnxruntime",
}  # fmt: skip
_FROM: Final = (3, 11)


@dataclass(frozen=True, slots=True)
class Check:
    """A part of the examination: ``title`` for people, ``run`` looks, ``count`` lines are usual."""

    title: str
    run: Callable[[], Iterator[Finding]]
    count: int = 1


@dataclass(slots=True)
class _Patient:
    """What checks learn that later ones need."""

    config: Config | None
    base_folder: Path
    environ: Mapping[str, str]
    cache: Path | None
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    gpu_free: int | None = None
    model: LoadedModel | None = None

    @property
    def device(self) -> str:
        return AUTO if self.config is None else self.config.device

    @property
    def cuda_major(self) -> str | None:
        """The release of CUDA that onnxruntime was built for; None when it was for none."""
        built = self.facts.get("onnxruntime", {}).get("cuda")
        return str(built).partition(".")[0] if built else None


def checks(
    config: Path | None, *, environ: Mapping[str, str], cache: Path | None = None
) -> list[Check]:
    """What is to be looked at, in order; run each, and iterate over what it finds.

    ``config`` is a configuration file, or None: then its model, ports and cameras are left out,
    and the default model stands in. A file that cannot be used is a finding. ``cache`` is the
    folder of models, by default the usual one. A check that breaks is a finding, too.
    """
    problems: list[Finding] = []
    loaded = None
    if config is not None:
        try:
            loaded = load_config(config, environ)
        except ConfigError as error:
            for problem in error.problems:
                found = from_sentence(CONFIGURATION, "bad", problem)
                remedy = found.remedy or f"correct {config}"
                problems.append(Finding(found.name, "bad", found.detail, remedy))
        else:
            problems = [Finding(CONFIGURATION, "good", f"{config} can be used")]
    folder = Path.cwd() if config is None else config.absolute().parent
    patient = _Patient(loaded, folder, environ, cache)
    parts = [
        Check("versions", lambda: _versions(patient), 2 + len(_LIBRARIES)),
        Check("codecs", lambda: _codecs(patient), 6),
        Check("GPU", lambda: _gpu(patient), 5),
        Check("machine", lambda: _machine(patient), 4),
        Check("models", lambda: _models(patient)),
        Check("session", lambda: _session(patient), 2),
    ]
    if problems:
        parts.insert(0, Check(CONFIGURATION, lambda: iter(problems), len(problems)))
    if loaded is not None:
        cameras = loaded.cameras
        parts.append(Check("ports", lambda: _ports(loaded), 2))
        parts.append(Check("cameras", lambda: camera_findings(cameras, folder), len(cameras)))
    return [Check(check.title, _unbroken(check), check.count) for check in parts]


def as_json(findings: list[Finding]) -> dict[str, Any]:
    """What ``--json`` prints: plain values, ``schema`` first."""
    return {
        "schema": SCHEMA,
        "streamer": __version__,
        "verdict": worst(findings),
        "findings": [asdict(finding) for finding in findings],
    }


def _unbroken(check: Check) -> Callable[[], Iterator[Finding]]:
    """``check.run``, where an error of any kind is the last finding."""

    def run() -> Iterator[Finding]:
        try:
            yield from check.run()
        except Exception as error:  # noqa: BLE001 - a doctor looks at the rest, whatever happens
            yield Finding(
                check.title,
                "bad",
                f"this check broke ({type(error).__name__})",
                "this is a fault of streamer, please report it",
            )

    return run


def _versions(patient: _Patient) -> Iterator[Finding]:
    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info >= _FROM:
        yield Finding("python", "good", python)
    else:
        yield Finding("python", "bad", python, "install Python 3.11 or later")
    yield Finding("streamer", "good", __version__)
    for library, name in _LIBRARIES.items():
        try:
            facts = run_apart(probe_library, timeout_s=PROBE_S, name=library)
        except Crashed as crash:
            facts = {"problem": str(crash)}
        patient.facts[library] = facts
        yield _version(name, library, facts)


def _version(name: str, library: str, facts: Mapping[str, Any]) -> Finding:
    builds = sorted(set(metadata.packages_distributions().get(library, [])))
    remedy = "make a new environment and install streamer into it"
    if library == "onnxruntime":
        remedy = "uninstall every onnxruntime, then pip install 'streamer[cpu]' or 'streamer[gpu]'"
    if facts["problem"]:
        return Finding(name, "bad", f"cannot be used: {facts['problem']}", remedy)
    parts = [f"{build} {metadata.version(build)}" for build in builds] or [facts["version"]]
    if library == "av":
        parts.append(f"FFmpeg {facts['ffmpeg']}")
    elif library == "zmq":
        parts.append(f"libzmq {facts['libzmq']}")
    elif library == "onnxruntime" and facts["cuda"]:
        parts.append(f"built for CUDA {facts['cuda']}")
    detail = ", ".join(parts)
    if len(builds) > 1:  # they overwrite each other's files
        verdict: Verdict = "bad" if library == "onnxruntime" else "warning"
        keep = "uninstall all of them, and install one"
        return Finding(name, verdict, detail, remedy if library == "onnxruntime" else keep)
    return Finding(name, "good", detail)


def _codecs(patient: _Patient) -> Iterator[Finding]:
    for codec, decoder in patient.facts.get("av", {}).get("decoders", {}).items():
        if decoder is None:
            yield Finding(
                f"codec {codec}",
                "warning",
                "this FFmpeg cannot decode it",
                "pip install --force-reinstall av, or set the camera to another codec",
            )
        else:
            yield Finding(f"codec {codec}", "good", f"decoded by {decoder}")


def _gpu(patient: _Patient) -> Iterator[Finding]:
    wanted = patient.device.startswith(("cuda", "tensorrt"))
    number = patient.device.partition(":")[2]
    major = patient.cuda_major
    try:
        facts = run_apart(
            probe_cuda,
            timeout_s=PROBE_S,
            major=major,
            number=int(number) if number.isdecimal() else 0,
        )
    except Crashed as crash:
        ill: Verdict = "bad" if wanted else "warning"
        yield Finding("gpu", ill, str(crash), "look at nvidia-smi and at the kernel log")
        return
    if major is not None:  # without CUDA in onnxruntime the GPU is not used, whatever is free
        patient.gpu_free = facts["free"]
    yield from gpu_findings(
        facts,
        driver=driver_version(),
        wanted=wanted,
        present=gpu_present() or major is not None,
        major=major,
    )


def _machine(patient: _Patient) -> Iterator[Finding]:
    yield cores_finding()
    yield memory_finding()
    yield files_finding()
    yield cache_finding(_cache(patient))


def _cache(patient: _Patient) -> Path:
    return cache_folder() if patient.cache is None else patient.cache


def _models(patient: _Patient) -> Iterator[Finding]:
    """The configured model, or the default; then every other that is here."""
    config = patient.config
    name = DEFAULT_MODEL if config is None else config.model.name
    if name == AUTO:
        choice = _choice(patient)
        yield Finding("model: auto", "good", choice.reason)
        name = choice.model
    own = config.model.path if config is not None else None
    try:
        patient.model = load_model(
            name,
            path=None if own is None else patient.base_folder.absolute() / own,
            sha256=None if config is None else config.model.sha256,
            environ=patient.environ,
            cache=patient.cache,
        )
    except StreamerError as error:
        yield from_sentence(f"model {name}", "warning" if config is None else "bad", str(error))
    else:
        model = patient.model
        yield Finding(f"model {model.name}", "good", f"SHA-256 {model.sha256[:12]}…, {model.path}")
    used = None if patient.model is None else patient.model.path
    for check in verify(cache=patient.cache):
        if check.name == name or check.path == used:
            continue
        if check.good:
            yield Finding(f"model {check.name}", "good", f"its hash is right, {check.path}")
        else:
            yield from_sentence(f"model {check.name}", "warning", check.problem)


def _choice(patient: _Patient) -> Choice:
    """What ``model: auto`` takes on this machine for these cameras, and why."""
    config = patient.config
    cameras = [] if config is None else list(config.cameras.values())
    sizes = [camera.input_size for camera in cameras if camera.input_size]
    return auto_model(
        gpu_free=None if patient.device == "cpu" else patient.gpu_free,
        input_size=max([*sizes, config.model.input_size if config else 640]),
        cameras=[(camera.every, camera.max_fps) for camera in cameras],
        cache=patient.cache,
    )


def _session(patient: _Patient) -> Iterator[Finding]:
    """The providers onnxruntime lists, and the one that really ran."""
    if providers := patient.facts.get("onnxruntime", {}).get("providers"):
        yield Finding("providers", "good", f"onnxruntime lists {', '.join(providers)}")
    name = f"device {patient.device}"
    if patient.model is None:
        yield Finding(
            name, "warning", "not tried without a model", "run `streamer models pull`, then again"
        )
        return
    size = 640 if patient.config is None else patient.config.model.input_size
    try:
        ran = measure_apart(
            patient.model.content,
            model=patient.model.name,
            input_size=size,
            device=patient.device,
            seconds=0.3,
            throughput=False,
        )
    except StreamerError as error:
        found = from_sentence(name, "bad", str(error))
        yield (
            found
            if found.remedy
            else Finding(
                name, "bad", found.detail, "set the device to cpu, and see what the lines above say"
            )
        )
        return
    detail = (
        f"ran on {ran.device}: {ran.ms_median:.1f} ms for a picture of {ran.width}x{ran.height}"
        + (f" on {ran.threads} threads" if ran.threads > 1 else "")
        + f", the first {ran.first_ms:.0f} ms"
    )
    if ran.warning is not None:
        warning = from_sentence(name, "warning", ran.warning)
        yield Finding(name, "warning", f"{detail}; {warning.detail}", warning.remedy)
    else:
        yield Finding(name, "good", detail)


def _ports(config: Config) -> Iterator[Finding]:
    """The doors. Those of a streamer that runs already are in use, as they should be."""
    runs = False
    if (http := config.http) is not None:
        found = port_finding("http.bind", http.bind)
        if IN_USE in found.detail and streamer_answers(http.bind, tls=http.tls is not None):
            runs = True
            found = Finding("http.bind", "good", f"{http.bind}: a streamer runs there")
        yield found
    if config.publish.zeromq is not None:
        bind = config.publish.zeromq.bind
        found = port_finding("publish.zeromq.bind", bind)
        if runs and IN_USE in found.detail:
            detail = f"{bind} {IN_USE}, by the streamer that runs, it seems"
            found = Finding("publish.zeromq.bind", "good", detail)
        yield found
