"""An RTSP server that takes streams, as MediaMTX does: the other end of restream.

Run it with Debian's own Python, the one that has PyGObject::

    /usr/bin/python3 rtsp_taker.py PORT FOLDER NAME... [--user U --password P]

It listens on 127.0.0.1 (PORT 0 takes a free one) and prints ``port N``, and ``taken NAME`` for each
stream that begins; with ``--times`` also ``unit NAME SECONDS`` for each picture, by the monotonic
clock. What is announced at ``/NAME`` (RECORD, H.264 over TCP) is appended to
``FOLDER/NAME.h264`` as it comes. It ends with SIGTERM or when its standard input ends.
"""

import argparse
import signal
import sys
import time
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

TAKE = (
    "( rtph264depay name=depay0 ! h264parse config-interval=-1 ! "
    "video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=taken sync=false "
    "async=false emit-signals=true max-buffers=200 )"
)


def add_taker(server, name, folder, restricted, times):
    """Take what is announced at ``/name`` and append it to ``folder/name.h264``."""

    def taken(sink):
        unit = sink.emit("pull-sample").get_buffer()
        if times:
            print(f"unit {name} {time.monotonic():.6f}", flush=True)
        with (folder / f"{name}.h264").open("ab") as file:
            file.write(unit.extract_dup(0, unit.get_size()))
        return Gst.FlowReturn.OK

    def configure(_factory, media):
        media.get_element().get_by_name("taken").connect("new-sample", taken)
        print(f"taken {name}", flush=True)

    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(TAKE)
    factory.set_protocols(GstRtsp.RTSPLowerTrans.TCP)
    factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
    factory.set_latency(0)
    if restricted:
        allowed = GstRtspServer.RTSPPermissions()
        for right in ("access", "construct"):
            allowed.add_permission_for_role("sender", f"media.factory.{right}", True)
        factory.set_permissions(allowed)
    factory.connect("media-configure", configure)
    server.get_mount_points().add_factory(f"/{name}", factory)


def restrict(server, user, password):
    """Ask for digest authentication."""
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "sender")
    auth.add_digest(user, password, token)
    server.set_auth(auth)


def main():
    """Serve until told to end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--times", action="store_true")
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    given = parser.parse_args()

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(given.port))
    if given.user is not None:
        restrict(server, given.user, given.password)
    for name in given.names:
        add_taker(server, name, given.folder, given.user is not None, given.times)
    if server.attach(None) == 0:
        sys.exit(f"port {given.port} is taken")
    loop = GLib.MainLoop()
    GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGTERM, loop.quit)
    GLib.io_add_watch(
        GLib.IOChannel.unix_new(0), GLib.PRIORITY_HIGH, GLib.IOCondition.HUP, lambda *_: loop.quit()
    )
    print(f"port {server.get_bound_port()}", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
