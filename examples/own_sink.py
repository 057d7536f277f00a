"""A sink of one's own, beside those of the configuration: it says who comes."""

import os
import sys
from pathlib import Path

from streamer.app import App
from streamer.config import load_config
from streamer.types import Failure, Outcome


class Doorbell:
    def __init__(self) -> None:
        self.newest = 0  # numbers of faces only grow

    def write(self, outcome: Outcome) -> None:
        if isinstance(outcome, Failure):
            return  # nobody looked: that is not "nobody there"
        for number in outcome.tracks.ids.tolist():
            if number > self.newest:
                self.newest = number
                print(f"face {number} at {outcome.frame.camera}", flush=True)

    def close(self) -> None:
        print("the bell is off", flush=True)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    config = load_config(path, os.environ)
    App(
        config,
        base_folder=path.parent,
        environ=os.environ,
        extra_sinks={"doorbell": Doorbell()},
    ).run(seconds=float(sys.argv[2]))
