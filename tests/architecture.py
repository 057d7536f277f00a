"""The rules of the house, each a function from one module to what breaks the rule in it."""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

CLI = {
    "__main__",
    "bench",
    "check",
    "cli",
    "console",
    "detect",
    "doctor",
    "entry",
    "models",
    "reload",
    "republish",
    "signals",
    "terminal",
    "tune",
    "watch",
}
"""Modules and folders of the top floor: they make one room, and may import each other."""

_CLI_PLACES = tuple(place for name in sorted(CLI) for place in (f"{name}.py", f"{name}/"))

FLOORS: tuple[set[str], ...] = (
    {"errors", "changes"},
    {"types", "resources", "cores", "capacity"},
    {"log", "events", "protocols", "yaml_file", "apart", "keys"},
    {"flow", "vision", "track_events", "expected", "heartbeat_events"},
    {"status", "camera_meters"},  # one reading of what flow counts
    {"job"},
    {"stages", "watching", "capture", "inference", "publish", "client"},
    {"section"},
    {"bridge_sections"},
    {"config_sections"},
    {"web", "config", "plugins", "testing"},
    {
        "engine",
        "camera_line",
        "line",
        "steering",
        "asking",
        "exposure",
        "outlets",
        "bridges",
    },
    {"cameras"},
    {"roster"},
    {"camera_door"},
    {"front"},
    {"app"},
    CLI,
)
"""From the ground up. A module imports from its own room and from floors below, no more."""

DOORS: dict[str, tuple[str, ...]] = {
    "av": (
        "capture/pyav.py", "capture/av_picture.py", "capture/planes.py",
        "publish/annotated.py", "publish/rtsp_push.py",
    ),
    "cv2": ("vision/", "capture/opencv.py"),
    "fastapi": ("web/",),
    "python_multipart": ("web/multipart.py",),
    "h11": ("web/",),
    "msgspec": ("events.py", "expected.py", "track_events.py", "heartbeat_events.py", "client/"),
    "onnxruntime": ("inference/runtime.py",),
    "prometheus_client": ("publish/metrics.py",),
    "paho": ("publish/mqtt.py",),
    "nats": ("publish/nats.py",),
    "pydantic": (
        "config.py", "section.py", "bridge_sections.py", "config_sections.py", "bridges.py",
        "front.py", "web/",
    ),
    "pydantic_core": ("config.py", "web/"),
    "pydantic_settings": ("config.py",),
    "rich": _CLI_PLACES,
    "starlette": ("web/",),
    "structlog": ("log.py",),
    "typer": ("cli/", "terminal.py"),
    "uvicorn": ("web/",),
    "websockets": ("web/",),
    "yaml": ("yaml_file.py",),
    "zmq": (
        "publish/zeromq.py", "publish/replay.py", "publish/gate.py", "publish/peers.py",
        "keys.py", "client/",
    ),
    # Arrays travel everywhere but on the ground floors and to subscribers.
    "numpy": (
        "types.py", "testing.py", "app.py", "asking.py", "detect.py", "events.py", "expected.py",
        "stages.py",
        "flow/", "vision/", "capture/", "inference/", "publish/", "web/",
    ),
}  # fmt: skip
"""Where each third-party library may be imported: whole folders end in a slash."""

BANNED = {
    "util", "utils", "helper", "helpers", "common", "manager", "managers", "handler", "handlers",
}  # fmt: skip
"""Words that say nothing about what a thing holds or does."""

WALL_CLOCK = {
    "inference/fetch.py": "the age of an unfinished download: files bear wall time",
    "testing.py": "fakes stamp frames as cameras do",
}
"""Who may ask what time it is. Passing ``time.time`` on as a clock is not asking."""

SECRETS = (
    "capture/",
    "publish/rtsp_push.py",
)
"""Who may call ``.reveal()``."""

ENVIRONMENT = (*_CLI_PLACES, "resources.py", "inference/runtime.py")
"""Who may read the environment; everybody else is given what he needs."""

MAX_LINES = 350

_CLOCK_CALLS = {
    "time.time", "time.time_ns", "time.ctime", "datetime.datetime.now",
    "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today",
}  # fmt: skip
_CLOCK_CALLS_WITHOUT_ARGUMENTS = {"time.localtime", "time.gmtime"}


@dataclass(frozen=True)
class Module:
    """One file of the package: ``path`` is relative to it, such as ``capture/pyav.py``."""

    path: str
    text: str
    packages: frozenset[str] = field(default=frozenset(), repr=False)
    """Names that ``from streamer import name`` takes as modules."""

    @cached_property
    def tree(self) -> ast.Module:
        """The file, parsed."""
        return ast.parse(self.text)

    @property
    def room(self) -> str:
        """``capture`` for ``capture/pyav.py``, ``app`` for ``app.py``."""
        return self.path.split("/")[0].removesuffix(".py")

    def at(self, node: ast.AST, what: str) -> str:
        """A complaint that names the line."""
        return f"streamer/{self.path}:{getattr(node, 'lineno', 1)}: {what}"

    def imports(self) -> Iterator[tuple[ast.AST, str]]:
        """Every module imported anywhere in the file, relative imports made absolute."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    folders = ["streamer", *self.path.split("/")[:-1]]
                    folders = folders[: len(folders) - node.level + 1]
                    base = ".".join([*folders, base] if base else folders)
                if base == "streamer":
                    for alias in node.names:
                        inside = alias.name in self.packages
                        yield node, f"streamer.{alias.name}" if inside else "streamer"
                else:
                    yield node, base


def _within(path: str, places: tuple[str, ...]) -> bool:
    return any(path.startswith(place) if place.endswith("/") else path == place for place in places)


def floor_of(room: str) -> int | None:
    """The floor that ``room`` is on, counted from the ground; None when it is on none."""
    return next((n for n, rooms in enumerate(FLOORS) if room in rooms), None)


def floors(module: Module) -> list[str]:
    """Imports point down only, and rooms on one floor do not know each other."""
    if module.path == "__init__.py":
        return []  # the public names, loaded when they are asked for
    floor = floor_of(module.room)
    if floor is None:
        return [f"streamer/{module.path}:1: {module.room} has no floor; give it one in FLOORS"]
    found = []
    for node, name in module.imports():
        parts = name.split(".")
        if parts[0] != "streamer" or len(parts) == 1 or parts[1] == module.room:
            continue
        below = floor_of(parts[1])
        same_room = module.room in CLI and parts[1] in CLI
        if below is None or (below >= floor and not same_room):
            found.append(module.at(node, f"{module.room} may not import {name}"))
    return found


def doors(module: Module) -> list[str]:
    """A third-party library is imported by the modules that are its door."""
    found = []
    for node, name in module.imports():
        library = name.split(".")[0]
        if library == "streamer" or library in sys.stdlib_module_names:
            continue
        if library not in DOORS:
            found.append(module.at(node, f"{library} has no door; give it one in DOORS"))
        elif not _within(module.path, DOORS[library]):
            found.append(module.at(node, f"{library} is imported by {DOORS[library]} only"))
    return found


def _words(name: str) -> list[str]:
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return [word.lower() for word in split.split("_") if word]


def banned_names(module: Module) -> list[str]:
    """No module, class or function is called by a word that says nothing."""
    found = [
        f"streamer/{module.path}:1: {word!r} says nothing; name what it holds"
        for part in module.path.removesuffix(".py").split("/")
        for word in _words(part)
        if word in BANNED
    ]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found += [
                module.at(node, f"{node.name}: {word!r} says nothing; name what it does")
                for word in _words(node.name)
                if word in BANNED
            ]
    return found


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := _dotted(node.value)):
        return f"{owner}.{node.attr}"
    return ""


def _full_names(module: Module) -> dict[str, str]:
    """What each imported name stands for: ``{"now": "datetime.datetime.now"}``."""
    known = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                known[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return known


def wall_clock(module: Module) -> list[str]:
    """Time that decides is monotonic: nobody asks for the time of day."""
    if module.path in WALL_CLOCK:
        return []
    known = _full_names(module)
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            first, _, rest = _dotted(node.func).partition(".")
            name = ".".join(part for part in (known.get(first, first), rest) if part)
            bare = name in _CLOCK_CALLS_WITHOUT_ARGUMENTS and not node.args
            if name in _CLOCK_CALLS or bare:
                found.append(module.at(node, f"{name}() asks the wall clock; use monotonic time"))
    return found


def secrets(module: Module) -> list[str]:
    """The password in a URL is taken out only where a camera is opened."""
    if _within(module.path, SECRETS):
        return []
    return [
        module.at(node, "only capture may call .reveal(); print the SourceUrl itself")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and node.attr == "reveal"
    ]


def environment(module: Module) -> list[str]:
    """Nobody below the command line reads the environment."""
    if _within(module.path, ENVIRONMENT):
        return []
    known = _full_names(module)
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute | ast.Name):
            first, _, rest = _dotted(node).partition(".")
            name = ".".join(part for part in (known.get(first, ""), rest) if part)
            if name in {"os.environ", "os.getenv", "os.environb"}:
                found.append(module.at(node, "the environment is read at the command line only"))
    return found


def docstrings(module: Module) -> list[str]:
    """Every module says what it is for."""
    if not module.text.strip() or ast.get_docstring(module.tree):
        return []
    return [f"streamer/{module.path}:1: has no docstring"]


def length(module: Module) -> list[str]:
    """A file that nobody can overlook is two files."""
    lines = len(module.text.splitlines())
    if lines <= MAX_LINES:
        return []
    return [
        f"streamer/{module.path}:{lines}: {lines} lines; {MAX_LINES} are enough for one subject"
    ]


def has_logic(module: Module) -> bool:
    """Whether any function in the file does something, other than to give back a constant."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for line in node.body:
                text = isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
                constant = isinstance(line, ast.Return) and isinstance(line.value, ast.Constant)
                if not (text or constant or isinstance(line, ast.Pass)):
                    return True
    return False


def test_of(module: Module) -> str:
    """Where the tests of ``capture/pyav.py`` are: ``capture/test_pyav.py``."""
    folder, slash, name = module.path.rpartition("/")
    return f"{folder}{slash}test_{name}"


RULES = (
    floors, doors, banned_names, wall_clock, secrets, environment, docstrings, length,
)  # fmt: skip
"""The rules that look at one module at a time."""
