"""The house keeps its rules, and each rule can fail."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import architecture
from tests.architecture import DOORS, FLOORS, RULES, Module

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "streamer"
NAMES = frozenset(path.stem if path.suffix == ".py" else path.name for path in PACKAGE.iterdir())

UNMIRRORED = {
    "inference/network.py": "test_quicken.py rewrites real and made-up graphs with it",
    "config_sections.py": "test_config.py reads whole configurations, good and bad",
    "protocols.py": "only shapes; mypy checks who has them",
    "__init__.py": "the public names: tests/test_exports.py",
    "capture/av_picture.py": "test_pyav.py looks at the pictures of real sources",
    "inference/entries.py": "hostile registries are in test_registry.py, which reads them",
    "inference/origins.py": "real and failing origins are in test_fetch.py, which asks them",
}
"""Modules with logic that have no test file of their own, and why."""


def modules() -> list[Module]:
    return [
        Module(path.relative_to(PACKAGE).as_posix(), path.read_text(), NAMES)
        for path in sorted(PACKAGE.rglob("*.py"))
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps(rule):
    found = [complaint for module in modules() for complaint in rule(module)]
    assert not found, "\n" + "\n".join(found)


def test_every_module_with_logic_has_its_tests():
    missing = [
        f"streamer/{module.path} has no tests/{architecture.test_of(module)}"
        for module in modules()
        if module.path not in UNMIRRORED
        and architecture.has_logic(module)
        and not (TESTS / architecture.test_of(module)).is_file()
    ]
    assert not missing, "\n" + "\n".join(missing)


def test_every_exception_is_still_needed():
    paths = {module.path for module in modules()}
    assert set(UNMIRRORED) | set(architecture.WALL_CLOCK) <= paths
    for module in modules():
        if module.path in architecture.WALL_CLOCK:
            elsewhere = Module("elsewhere.py", module.text)
            assert architecture.wall_clock(elsewhere), f"{module.path} no longer asks for the time"


def test_no_room_is_on_two_floors():
    rooms = [room for floor in FLOORS for room in floor]
    assert len(rooms) == len(set(rooms))


HEAVY = sorted(set(DOORS) - {"h11", "pydantic_core"})
LIGHT = {
    "streamer": HEAVY,
    "streamer.errors, streamer.resources": HEAVY,
    "streamer.entry": HEAVY,
    "streamer.types, streamer.protocols": sorted(set(HEAVY) - {"numpy"}),
    "streamer.client": sorted(set(HEAVY) - {"zmq", "msgspec"}),
    # What the process of an isolated camera loads, at each start anew.
    "streamer.capture.ring, streamer.capture.schemes": sorted(
        {*HEAVY, "asyncio", "ssl"} - {"av", "numpy"}
    ),
}


@pytest.mark.parametrize("names", LIGHT)
def test_importing_what_is_light_loads_nothing_heavy(names):
    program = f"import sys, {names}\nprint(*sorted({set(LIGHT[names])!r} & set(sys.modules)))"
    loaded = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PACKAGE.parent, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert loaded.stdout.split() == []


BAD = [
    ("floors", "capture/pyav.py", "from streamer.app import App", "capture may not import"),
    ("floors", "capture/pyav.py", "from streamer import app", "streamer.app"),
    ("floors", "capture/pyav.py", "from streamer.inference import session", "inference"),
    ("floors", "publish/zeromq.py", "import streamer.client.subscribe", "streamer.client"),
    ("floors", "capture/pyav.py", "from .. import app", "streamer.app"),
    ("floors", "capture/pyav.py", "from ..web.live import LiveView", "streamer.web.live"),
    ("floors", "flow/fan.py", "def f():\n    from streamer.status import Status", ":2:"),
    ("floors", "errors.py", "import streamer.types", "streamer.types"),
    ("floors", "types.py", "import streamer.resources", "streamer.resources"),
    ("floors", "app.py", "import streamer.cli.commands", "streamer.cli.commands"),
    ("floors", "app.py", "import streamer.novelty", "streamer.novelty"),
    ("floors", "novelty.py", "", "has no floor"),
    ("doors", "stages.py", "import cv2", "cv2 is imported by"),
    ("doors", "capture/reconnect.py", "def f():\n    import av.error", ":2: av"),
    ("doors", "config.py", "from msgspec import Struct", "msgspec"),
    ("doors", "client/subscribe.py", "import numpy as np", "numpy"),
    ("doors", "app.py", "import requests", "has no door"),
    ("banned_names", "flow/utils.py", "", "'utils'"),
    ("banned_names", "common/lane.py", "", "'common'"),
    ("banned_names", "app.py", "class HTTPHandler: ...", "'handler'"),
    ("banned_names", "app.py", "class CameraManager: ...", "'manager'"),
    ("banned_names", "app.py", "class A:\n    async def _frame_helper(self): ...", ":2:"),
    ("wall_clock", "stages.py", "import time\nx = time.time()", ":2: time.time()"),
    ("wall_clock", "stages.py", "import time as t\nx = t.time_ns()", "time.time_ns"),
    ("wall_clock", "stages.py", "from time import time as now\nx = now()", "time.time()"),
    ("wall_clock", "stages.py", "import time\nx = time.localtime()", "localtime"),
    ("wall_clock", "web/live.py", "from datetime import UTC, datetime\ndatetime.now(UTC)", "now"),
    ("wall_clock", "web/live.py", "import datetime\ndatetime.datetime.utcnow()", "utcnow"),
    ("secrets", "app.py", "print(url.reveal())", "only capture"),
    ("environment", "app.py", "import os\nos.environ['HOME']", "command line"),
    ("environment", "flow/fan.py", "from os import getenv\ngetenv('HOME')", "command line"),
    ("docstrings", "flow/fan.py", "x = 1", "no docstring"),
    ("length", "flow/fan.py", "x = 1\n" * 351, "351 lines"),
]


@pytest.mark.parametrize(("rule", "path", "text", "complaint"), BAD)
def test_each_rule_sees_what_breaks_it(rule, path, text, complaint):
    found = getattr(architecture, rule)(Module(path, text, NAMES | {"app"}))
    assert len(found) == 1
    assert complaint in found[0]


GOOD = [
    ("floors", "app.py", "import streamer.capture.pyav\nfrom streamer import __version__"),
    ("floors", "capture/pyav.py", "from streamer.capture import urls\nfrom . import resolve"),
    ("floors", "cli/commands.py", "from streamer.console import Watch\nimport av"),
    ("floors", "status.py", "from streamer.flow.channel import ChannelStats"),
    ("floors", "__init__.py", "from streamer.app import App"),
    ("doors", "vision/boxes.py", "import os.path, numpy, cv2\nfrom collections import abc"),
    ("doors", "client/subscribe.py", "import zmq, msgspec"),
    ("banned_names", "app.py", "def manage(): ...\nclass Commoner: ...\nhandlers = 1"),
    ("wall_clock", "capture/pyav.py", "import time\ndef f(wall_clock=time.time): wall_clock()"),
    ("wall_clock", "app.py", "import time\ntime.monotonic()\ntime.gmtime(0)"),
    ("wall_clock", "web/live.py", "from datetime import datetime\ndatetime.fromtimestamp(0)"),
    ("secrets", "capture/pyav.py", "url.reveal()"),
    ("environment", "cli/commands.py", "import os\nos.environ"),
    ("environment", "app.py", "import os\nenviron = {}\nenviron['HOME']\nos.getpid()"),
    ("docstrings", "flow/fan.py", '"""Fans."""'),
    ("docstrings", "flow/__init__.py", ""),
    ("length", "flow/fan.py", "x = 1\n" * 350),
]


@pytest.mark.parametrize(("rule", "path", "text"), GOOD)
def test_no_rule_complains_of_what_is_good(rule, path, text):
    assert getattr(architecture, rule)(Module(path, text, NAMES)) == []


@pytest.mark.parametrize(
    ("text", "logic"),
    [
        ("X = 1", False),
        ("class A:\n    def f(self):\n        'Says.'\n    def g(self): ...", False),
        ("def f():\n    'Says.'\n    return True", False),
        ("def f(x):\n    return x + 1", True),
        ("class A:\n    async def f(self):\n        await self.g()", True),
    ],
)
def test_logic_is_told_from_shapes(text, logic):
    assert architecture.has_logic(Module("flow/fan.py", text)) is logic
    assert architecture.test_of(Module("flow/fan.py", text)) == "flow/test_fan.py"
    assert architecture.test_of(Module("app.py", text)) == "test_app.py"
