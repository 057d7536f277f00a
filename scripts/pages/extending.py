"""docs/extending.md: parts of one's own, with the programs of examples/ as they are."""

from __future__ import annotations

from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"

HEAD = """\
# Extending

Written by `make docs`; the programs are those of `examples/`, which the tests run.

Four things may be replaced: a source, a detector, a tracker, a sink. Each is a class with one method that
matters (`streamer/protocols.py`); there is nothing to inherit and nothing to register. `streamer.testing`
has stand-ins for each, to try yours with.

What to keep to:

- Instants are `time.monotonic()`, pixels are those of the frame, pictures are BGR in `uint8`.
- A part runs on a thread of its own and may block; what it raises ends the program with its name.
- A detector that cannot look at a picture raises `DetectionFailed`: an empty answer means "nobody there".
- A source ends by returning, and raises `SourceLost` when a camera is lost; `Reconnecting` around it
  (`streamer.capture.reconnect`) dials again.

`streamer run` takes its sources by their address and its detector by the model's name; parts of your own are
put together in Python, as below. `streamer.line.run_line` is the whole machine for one source.
"""


def program(name: str) -> str:
    """The text of an example as a code block."""
    return f"```python\n{(EXAMPLES / name).read_text(encoding='utf-8')}```\n"


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, name, words in (
        ("A detector", "own_detector.py", "Try it: `python examples/own_detector.py clip.mp4`."),
        ("A source", "own_source.py", "Try it: `python examples/own_source.py folder`."),
        (
            "A sink", "own_sink.py",
            "Beside the sinks of a configuration, whose cameras and events go on as they are: "
            "`python examples/own_sink.py configs/demo.yaml 10`.",
        ),
    ):  # fmt: skip
        parts.append(f"## {title}\n\n{words}\n\n{program(name)}")
    return "\n".join(parts)
