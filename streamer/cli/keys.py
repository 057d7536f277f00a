"""`streamer keys`: make the keys that encrypt events and say who may listen, and show them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamer.errors import ConfigError
from streamer.terminal import print_line

keys_cli = typer.Typer(
    help="The keys that encrypt events and say who may listen; see docs/security.md.",
    no_args_is_help=True,
)


@keys_cli.command("new")
def keys_new(
    name: Annotated[str, typer.Argument(help="What it is for: server, or who listens.")],
    folder: Annotated[Path, typer.Option(help="Where the two files go.")] = Path("keys"),
) -> None:
    """Make a pair: NAME.key may be given away, NAME.key_secret stays where it is used."""
    from streamer.keys import BadKey, new_keys

    try:
        shown, hidden = new_keys(name, folder)
    except BadKey as error:
        raise ConfigError([str(error)]) from None
    print_line(f"{hidden} is secret: it stays on the machine that uses it")
    print_line(f"{shown} is public: give it to the other end")


@keys_cli.command("show")
def keys_show(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Files of keys.")],
) -> None:
    """Print the public key of each file, as a list of clients has it; never a secret one."""
    from streamer.keys import BadKey, read_public

    for file in files:
        try:
            print_line(f"{read_public(file).decode()}  {file.stem}")
        except BadKey as error:
            raise ConfigError([str(error)]) from None
