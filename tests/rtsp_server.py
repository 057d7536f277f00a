"""A real RTSP server for tests: streams the H.264 of an MP4 file, bit by bit as it is.

Run it with Debian's own Python, the one that has PyGObject::

    /usr/bin/python3 rtsp_server.py CLIP PORT [--user U --password P] [--transport tcp|udp|both]

It listens on 127.0.0.1 (PORT 0 takes a free one), prints ``port N`` and ``ready N frames``, and
ends with SIGTERM or when its standard input ends. ``/loop`` plays for ever and all its clients
see the same position; ``/once`` plays from the start for each client and ends with the file.

The clip must have no B-frames: pictures are stamped in the order in which they lie in the file.
Parameter sets are in the SDP and before the first picture only: repeating them before each key
frame would tear pictures of more than one slice.
"""

import argparse
import signal
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

READ = (
    "filesrc name=file ! qtdemux ! h264parse ! "
    "video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=out sync=false"
)
SERVE = (
    "( appsrc name=units is-live=true format=time max-buffers=2 ! h264parse ! "
    "rtph264pay name=pay0 pt=96 aggregate-mode=zero-latency )"
)
TRANSPORTS = {
    "tcp": GstRtsp.RTSPLowerTrans.TCP,
    "udp": GstRtsp.RTSPLowerTrans.UDP,
    "both": GstRtsp.RTSPLowerTrans.TCP | GstRtsp.RTSPLowerTrans.UDP,
}


def read_units(clip):
    """Return the caps, the pictures as encoded bytes, and nanoseconds for each picture."""
    pipeline = Gst.parse_launch(READ)
    pipeline.get_by_name("file").set_property("location", clip)
    out = pipeline.get_by_name("out")
    pipeline.set_state(Gst.State.PLAYING)
    caps, units = None, []
    bus = pipeline.get_bus()
    while not out.get_property("eos"):
        sample = out.emit("try-pull-sample", Gst.SECOND // 5)
        if sample is None:  # the end, an error after which no end ever comes, or a busy machine
            if bus.pop_filtered(Gst.MessageType.ERROR):
                sys.exit(f"{clip} cannot be read as MP4 with H.264")
            continue
        caps = sample.get_caps()
        unit = sample.get_buffer()
        units.append(unit.extract_dup(0, unit.get_size()))
    pipeline.set_state(Gst.State.NULL)
    if not units:
        sys.exit(f"no H.264 pictures in {clip}")
    known, up, down = caps.get_structure(0).get_fraction("framerate")
    return caps, units, Gst.SECOND * down // up if known and up else Gst.SECOND // 25


def feed(media, caps, units, duration, endless):
    """Give the pictures to the appsrc of ``media`` whenever it asks for one."""
    source = media.get_element().get_by_name("units")
    source.set_property("caps", caps)
    sent = 0

    def push(source, _wanted):
        nonlocal sent
        if not endless and sent >= len(units):
            source.emit("end-of-stream")
            return
        unit = Gst.Buffer.new_wrapped(units[sent % len(units)])
        unit.pts = unit.dts = sent * duration
        unit.duration = duration
        sent += 1
        source.emit("push-buffer", unit)

    source.connect("need-data", push)


def add_mount(server, path, clip, endless, transports, restricted):
    """Offer the clip at ``path``."""
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(SERVE)
    factory.set_shared(endless)
    factory.set_protocols(transports)
    if restricted:
        allowed = GstRtspServer.RTSPPermissions()
        for right in ("access", "construct"):
            allowed.add_permission_for_role("viewer", f"media.factory.{right}", True)
        factory.set_permissions(allowed)
    factory.connect("media-configure", lambda _factory, media: feed(media, *clip, endless))
    server.get_mount_points().add_factory(path, factory)


def restrict(server, user, password):
    """Ask for digest authentication."""
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_digest(user, password, token)
    server.set_auth(auth)


def main():
    """Serve until told to end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip")
    parser.add_argument("port", type=int)
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    parser.add_argument("--transport", choices=TRANSPORTS, default="tcp")
    given = parser.parse_args()

    Gst.init(None)
    clip = read_units(given.clip)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(given.port))
    restricted = given.user is not None
    if restricted:
        restrict(server, given.user, given.password)
    for path, endless in (("/loop", True), ("/once", False)):
        add_mount(server, path, clip, endless, TRANSPORTS[given.transport], restricted)
    if server.attach(None) == 0:
        sys.exit(f"port {given.port} is taken")

    loop = GLib.MainLoop()
    GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGTERM, loop.quit)
    GLib.io_add_watch(
        GLib.IOChannel.unix_new(0), GLib.PRIORITY_HIGH, GLib.IOCondition.HUP, lambda *_: loop.quit()
    )
    pool = server.get_session_pool()
    GLib.timeout_add_seconds(2, lambda: pool.cleanup() >= 0)  # clients that left without a word
    print(f"port {server.get_bound_port()}", flush=True)
    print(f"ready {len(clip[1])} frames", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
