"""The commands that hear a publisher, and that publish what was heard again."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer

from streamer.errors import BindError, ConfigError, Exposed
from streamer.terminal import print_line

ServerKey = Annotated[str | None, typer.Option(help="The publisher's NAME.key, where it has keys.")]
Key = Annotated[
    Path | None, typer.Option(help="Your own NAME.key_secret; see `streamer keys new`.")
]


def watch(
    endpoint: Annotated[str, typer.Argument(help="Where events are published.")] = (
        "tcp://127.0.0.1:5555"
    ),
    camera: Annotated[list[str] | None, typer.Option(help="Only this camera; repeatable.")] = None,
    replay: Annotated[
        str | None, typer.Option(help="Where to ask for what is missing, if streamer replays.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Whole events, one JSON line each.")] = False,
    record: Annotated[
        Path | None, typer.Option(help="Write all that is heard into this new file.")
    ] = None,
    record_mb: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Most that --record may write, MB.")
    ] = 100,
    server_key: ServerKey = None,
    key: Key = None,
    tracks: Annotated[
        bool, typer.Option("--tracks", help="Also each face that appears, looks best or leaves.")
    ] = False,
) -> None:
    """Hear a publisher: a live table in a terminal, a line for each event elsewhere."""
    from streamer.client.recording import Recorder
    from streamer.watch.console import show

    with ExitStack() as stack:
        recorder = None
        try:
            if record is not None:
                recorder = stack.enter_context(
                    Recorder(
                        record, max_bytes=record_mb * 2**20, began_at=time.monotonic(),
                        wall_clock=time.time,
                    )
                )  # fmt: skip
        except OSError as error:
            raise ConfigError(
                [f"{record}: {error.strerror}; choose another name for the recording"]
            ) from None
        try:
            show(
                endpoint, camera, replay=replay, as_json=json, tracks=tracks, recorder=recorder,
                server_key=server_key, key=key, print_line=print_line,
            )  # fmt: skip
        except ValueError as error:  # an endpoint, a name or a key that cannot be
            raise ConfigError([str(error)]) from None


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `watch --record` wrote.")],
    bind: Annotated[str, typer.Option(help="Where to publish.")] = "tcp://127.0.0.1:5555",
    answers: Annotated[
        str | None, typer.Option(help="Where subscribers ask for what they missed.")
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0.01, max=1000, help="Times as fast as it was.")
    ] = 1.0,
    loop: Annotated[bool, typer.Option("--loop", help="Begin again at the end.")] = False,
    form: Annotated[
        Literal["json", "msgpack"], typer.Option("--format", help="How events are written.")
    ] = "json",
) -> None:
    """Publish a recording again, with its timing."""
    from streamer.publish.endpoint import check_address, is_local, others
    from streamer.republish import replay_file
    from streamer.signals import StopSignals

    for address in (bind, answers):
        if address is None or is_local(address):
            continue
        try:
            check_address(address)
        except BindError as error:
            raise ConfigError([str(error)]) from None
        raise Exposed(f"{address} can be reached by {others(address)}; use 127.0.0.1")
    stop = threading.Event()
    signals = StopSignals()
    signals.end_with(stop.set)
    try:
        count = replay_file(
            file, bind=bind, answers=answers, speed=speed, loop=loop, stop=stop, form=form
        )  # fmt: skip
    except OSError as error:
        raise ConfigError([f"{file}: {error.strerror}; give a recording"]) from None
    print_line(f"published {count} events")
