"""A subscriber in another process: says everything it hears, one line of JSON each.

python subscriber.py EVENTS REPLAY CAMERA...      (REPLAY may be "-")
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import msgspec

from streamer.client import CameraEvent, FacesEvent, subscribe


def main(endpoint: str, replay: str, *cameras: str) -> None:
    events = subscribe(
        endpoint,
        list(cameras) or None,
        replay=None if replay == "-" else replay,
        changes=True,
        notices=True,
    )
    with events:
        for event in events:
            if isinstance(event, FacesEvent):
                said = {"topic": f"faces/{event.camera}/", "seq": event.seq, "boot": event.boot_id}
            elif isinstance(event, CameraEvent):
                said = {"topic": f"camera/{event.camera}/", "seq": event.seq, "boot": event.boot_id}
            else:
                said = msgspec.to_builtins(event)
            sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
