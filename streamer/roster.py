"""Which cameras there are: changed one by one over HTTP, and by edits of the configuration file.

Both live side by side. What is asked for over HTTP holds until the program ends and is never
written to the file. An edit of the file changes the cameras whose entries changed in it, and no
others: a camera that was added over HTTP stays, one that was removed over HTTP comes back when
its entry changes or when the program is started again, and one whose entry changed becomes what
the file says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from streamer.cameras import Cameras
from streamer.capture.reach import Reach
from streamer.config import MAX_CAMERAS, Camera, Config
from streamer.errors import ConfigError


class Roster:
    """Adds, removes, replaces and pauses cameras, from any thread; the others do not notice."""

    def __init__(
        self, cameras: Cameras, config: Config, *, show: Callable[[Sequence[str]], None]
    ) -> None:
        """The cameras of ``config`` are there already. ``show`` is told all names of now."""
        self._cameras = cameras
        self._config = config
        self._show = show
        self._changing = threading.Lock()

    def add(
        self, name: str, camera: Camera, reach: Reach | None = None, *, retune: bool = True
    ) -> None:
        """Begin to watch a camera, which may have the addresses of ``reach`` (None: any).

        Without ``retune`` the caller does that himself, since it may take seconds. Raises
        ConfigError when the name is taken or there are as many as may be.
        """
        with self._changing:
            if len(self._cameras.lines()) >= MAX_CAMERAS:
                raise ConfigError([f"cameras: there are {MAX_CAMERAS}; remove one first"])
            self._cameras.add(name, camera, reach)
            self._tell()
        if retune:
            self.retune()

    def remove(self, name: str, *, retune: bool = True) -> None:
        """Stop watching a camera and forget it; ``retune`` as of :meth:`add`.

        Raises ConfigError when there is none.
        """
        with self._changing:
            self._cameras.remove(name)
            self._tell()
        if retune:
            self.retune()

    def replace(self, name: str, camera: Camera, reach: Reach | None = None) -> None:
        """Watch ``camera`` under a name in use; its frame numbers go on, its epoch grows.

        ``reach`` as of :meth:`add`. Raises ConfigError when there is no camera of this name.
        """
        with self._changing:
            self._cameras.replace(name, camera, reach)

    def retune(self) -> None:
        """Fit the engine to the number of cameras; meanwhile everything else goes on."""
        self._cameras.retune()

    def pause(self, name: str) -> None:
        """Stop reading a camera and keep it, as stopped. Raises ConfigError when there is none."""
        with self._changing:
            self._cameras.pause(name)

    def resume(self, name: str) -> None:
        """Read a paused camera again. Raises ConfigError when there is none."""
        with self._changing:
            self._cameras.resume(name)

    def apply(self, config: Config) -> dict[str, list[str]]:
        """Follow the edit that made the file ``config``; returns names added, removed, replaced.

        Raises ConfigError, and changes nothing, when ``config`` differs in anything but cameras:
        the rest is decided at the start.
        """
        fixed = [name for name in Config.model_fields if name != "cameras"]
        changed = [name for name in fixed if getattr(config, name) != getattr(self._config, name)]
        if changed:
            raise ConfigError(
                [f"{name}: cannot change while streamer runs; start it again" for name in changed]
            )
        done: dict[str, list[str]] = {"added": [], "removed": [], "replaced": []}
        with self._changing:
            now = {line.name: line.camera for line in self._cameras.lines()}
            before = self._config.cameras
            for name in sorted(before.keys() - config.cameras.keys()):
                if name in now:
                    self._cameras.remove(name)
                    done["removed"].append(name)
            for name, camera in sorted(config.cameras.items()):
                if before.get(name) == camera or now.get(name) == camera:
                    continue
                if name in now:
                    self._cameras.replace(name, camera)
                    done["replaced"].append(name)
                else:
                    self._cameras.add(name, camera)
                    done["added"].append(name)
            self._config = config
            self._tell()
        self._cameras.retune()
        return done

    def _tell(self) -> None:
        self._show([line.name for line in self._cameras.lines()])
