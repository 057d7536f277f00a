"""The command line: arguments in, configuration to app, signals, exit codes.

Exit codes: 0 ended as asked; 1 failed while running; 2 wrong arguments or configuration;
70 the GPU was lost while running; 78 refused to start, since others could reach what has no lock.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamer import __version__
from streamer.capture.memory import keep_for_good, limit_arenas
from streamer.cli.keys import keys_cli
from streamer.cli.measure import bench, tune
from streamer.cli.models import models_cli
from streamer.cli.watch import replay, watch
from streamer.errors import (
    ConfigError,
    DeviceError,
    Exposed,
    StageFailure,
    StageStuck,
    StreamerError,
)
from streamer.log import configure, get_logger
from streamer.signals import StopSignals
from streamer.terminal import (
    EXIT_CONFIG,
    EXIT_DEVICE,
    EXIT_EXPOSED,
    EXIT_FAILED,
    EXIT_OK,
    complain,
    complain_of_stage,
    end,
    leave,
    print_line,
)

if TYPE_CHECKING:
    from streamer.app import App
    from streamer.config import Config
    from streamer.reload import Fingerprint

cli = typer.Typer(
    name="streamer",
    help="Watches live cameras, finds every face and publishes it while it is still true.\n\n"
    "Exit codes: 0 ended as asked, 1 failed while running, 2 wrong arguments or configuration, "
    "70 the GPU was lost, 78 others could reach what has no lock.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
config_cli = typer.Typer(help="The configuration: its schema, and what is in force.")
cli.command()(bench)
cli.command()(tune)
cli.command()(watch)
cli.command()(replay)
cli.add_typer(models_cli, name="models")
cli.add_typer(config_cli, name="config")
cli.add_typer(keys_cli, name="keys")


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@cli.callback()
def streamer(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """What goes before a command."""


ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file; see configs/.")]
Seconds = Annotated[
    float | None, typer.Option("--seconds", min=0.1, max=1e8, help="End after so many seconds.")
]


def main() -> None:
    """Run the command line and leave with an exit code; no traceback for what a user can mend."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed before we began
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    configure()
    try:
        code = cli(standalone_mode=False, prog_name="streamer")  # that of typer.Exit, or None
        end(code or EXIT_OK)
    except ConfigError as error:
        for problem in error.problems:
            complain(problem)
        sys.exit(EXIT_CONFIG)
    except StageFailure as failure:
        for member in failure.exceptions:
            complain_of_stage(member)
        if any(isinstance(member, StageStuck) for member in failure.exceptions):
            leave(EXIT_FAILED)
        lost = any(isinstance(member, DeviceError) for member in failure.exceptions)
        end(EXIT_DEVICE if lost else EXIT_FAILED)
    except StageStuck as error:
        complain(str(error))
        leave(EXIT_FAILED)
    except StreamerError as error:
        complain(str(error))
        end(EXIT_EXPOSED if isinstance(error, Exposed) else EXIT_FAILED)
    except OSError as error:
        # Nothing may be flushed to it at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        complain(f"the output cannot be written ({error.strerror}); give it another place")
        end(EXIT_FAILED)
    except KeyboardInterrupt:
        end(128 + signal.SIGINT)
    except Exception as error:
        if not hasattr(error, "format_message"):  # those of the argument parser have it
            raise
        message = error.format_message().rstrip(".")
        if "\n" in message:  # the help itself: a command was called without its subcommand
            print(message, file=sys.stderr)  # noqa: T201
        else:
            context = getattr(error, "ctx", None)  # of the command whose arguments are wrong
            command = context.command_path if context is not None else "streamer"
            complain(f"{message}; see `{command} --help`")
        sys.exit(EXIT_CONFIG)


@cli.command()
def run(
    config: ConfigFile,
    seconds: Seconds = None,
    reload: Annotated[
        bool, typer.Option(help="Follow the file: cameras change when it does.")
    ] = True,
) -> None:
    """Run cameras as a configuration says, until stopped (Ctrl-C) or the files have ended."""
    signals = StopSignals()
    limit_arenas()
    from streamer.config import load_config
    from streamer.reload import fingerprint

    path = config.absolute()  # links in it may come to lead elsewhere
    seen = fingerprint(path)  # before it is read, so that no later edit is missed
    _run(
        load_config(config, os.environ),
        signals,
        base_folder=path.parent,
        seconds=seconds,
        followed=(path, seen) if reload else None,
    )


@cli.command()
def demo(
    seconds: Seconds = None,
    http: Annotated[
        str, typer.Option(help="host:port of the page and the metrics.")
    ] = "127.0.0.1:8080",
    zeromq: Annotated[str, typer.Option(help="Endpoint of the events.")] = "tcp://127.0.0.1:5555",
    browser: Annotated[bool, typer.Option(help="Open the page, where there is a screen.")] = True,
) -> None:
    """Run the recorded demo cameras: no camera and no GPU needed; the model is fetched once."""
    limit_arenas()
    from streamer.config import load_config
    from streamer.models.console import pull_if_missing
    from streamer.resources import resource

    path = resource("configs/demo.yaml")
    settings = {
        "STREAMER__HTTP__BIND": http,
        "STREAMER__PUBLISH__ZEROMQ__BIND": zeromq,
    }
    config = load_config(path, {**settings, **os.environ})
    pull_if_missing(config.model, environ=os.environ)
    _run(config, StopSignals(), base_folder=path.parent, seconds=seconds, browser=browser)


def _run(
    config: Config,
    signals: StopSignals,
    *,
    base_folder: Path,
    seconds: float | None,
    browser: bool = False,
    followed: tuple[Path, Fingerprint] | None = None,
) -> None:
    from streamer.app import App
    from streamer.console import Watch, print_ledger
    from streamer.reload import follow

    app = App(config, base_folder=base_folder, environ=os.environ)
    signals.end_with(app.stop)
    _say_where(app, browser=browser)
    keep_for_good()
    ended = threading.Event()
    if followed is not None:
        path, seen = followed
        threading.Thread(
            target=follow, args=(path, app.roster.apply, os.environ, ended),
            kwargs={"seen": seen}, name="config", daemon=True,
        ).start()  # fmt: skip
    try:
        with Watch(app.status):
            app.run(seconds=seconds)
    finally:
        ended.set()
        print_ledger(app.status())
    if not all(camera.ledger.closes for camera in app.status().cameras):
        complain("the ledger does not close: this is a fault of streamer, please report it")
        raise typer.Exit(EXIT_FAILED)


def _say_where(app: App, *, browser: bool) -> None:
    status = app.status()
    log = get_logger("app")
    places: dict[str, Any] = {"model": status.model, "device": status.provider}
    if app.zeromq is not None:
        places["events"] = app.zeromq.endpoint
    if app.http is not None:
        places["page"] = app.http.url
        places["metrics"] = f"{app.http.url}metrics"
    log.info("started", cameras=len(status.cameras), **places)
    on_screen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    if browser and app.http is not None and on_screen and sys.stdout.isatty():
        webbrowser.open(places["page"])


@cli.command()
def check(config: ConfigFile) -> None:
    """Check a configuration, the model, the device, and that each camera gives a picture."""
    from streamer.check import check_all
    from streamer.config import load_config

    settings = load_config(config, os.environ)
    if not check_all(settings, base_folder=config.absolute().parent, environ=os.environ):
        raise typer.Exit(EXIT_FAILED)


@cli.command()
def detect(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Pictures and videos.")],
    input_size: Annotated[
        int, typer.Option(help="Long side of the detector's input, a multiple of 32.")
    ] = 640,
    confidence: Annotated[float, typer.Option(help="Least confidence of a face.")] = 0.6,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, tensorrt or openvino; see README.")
    ] = "auto",
    model: Annotated[str, typer.Option(help="A name of `streamer models list`.")] = (
        "retinaface_mnet025"
    ),
    output: Annotated[
        Path | None, typer.Option(help="Write the JSON lines here instead of standard output.")
    ] = None,
    annotated: Annotated[
        Path | None,
        typer.Option(help="Write the picture or video with boxes here (a folder for several)."),
    ] = None,
    privacy: Annotated[
        str, typer.Option(help="Cover faces in what is drawn: none, blur, pixelate or box.")
    ] = "none",
) -> None:
    """Find faces in pictures and videos: one JSON line a frame, in the shape of the events."""
    from streamer.config import parse_config
    from streamer.detect import detect_files

    settings = parse_config(
        {
            # It stands in; files are not cameras.
            "cameras": {"file": {"source": "synthetic:", "privacy": privacy}},
            "model": {"name": model, "input_size": input_size, "confidence": confidence},
            "device": device,
        },
        {},
    )
    failed = detect_files(
        files, settings, environ=os.environ, output=output, annotated=annotated,
        privacy=settings.cameras["file"].privacy,
    )  # fmt: skip
    for sentence in failed:
        complain(sentence)
    if failed:
        raise typer.Exit(EXIT_FAILED)


@cli.command()
def doctor(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="[CONFIG]", help="Look at its model, ports and cameras too."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Look at all that streamer needs of this machine; each line is good, a warning or bad."""
    from streamer.doctor.console import examine

    raise typer.Exit(examine(config, environ=os.environ, as_json=json, print_line=print_line))


@config_cli.command("schema")
def config_schema() -> None:
    """Print the JSON schema of a configuration."""
    import json

    from streamer.config import config_schema as schema

    print_line(json.dumps(schema(), indent=2))


@config_cli.command("show")
def config_show(config: ConfigFile) -> None:
    """Print the configuration in force, environment included and secrets hidden."""
    from streamer.config import load_config

    print_line(load_config(config, os.environ).model_dump_json(indent=2))


@cli.command()
def version() -> None:
    """Print the version."""
    print_line(f"streamer {__version__}")
