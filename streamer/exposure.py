"""What a configuration would open to others without a lock; streamer does not start like that."""

from __future__ import annotations

from streamer.config import Config
from streamer.errors import Exposed
from streamer.publish.endpoint import is_local, others


def refuse_exposure(config: Config) -> None:
    """Raise :class:`Exposed` where anybody on the network could listen to what is published.

    Keys of CURVE are the lock, and ``insecure: true`` says that none is wanted.
    """
    zeromq = config.publish.zeromq
    if zeromq is None or zeromq.curve is not None or zeromq.insecure:
        return
    for key, address in (("bind", zeromq.bind), ("replay", zeromq.replay)):
        if address is not None and not is_local(address):
            raise Exposed(
                f"publish.zeromq.{key}: {address} can be reached by {others(address)} and anybody "
                "could listen; give it keys (publish.zeromq.curve, see docs/security.md), use "
                "127.0.0.1 or ipc:///path/to/socket, or say publish.zeromq.insecure: true"
            )
