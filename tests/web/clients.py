"""What watches the server in tests: well-behaved, stuck and rude."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
from websockets.sync.client import connect

from streamer.web.server import HttpServer
from tests.web.synthetic import split


def watch(server, **options):
    return connect(f"ws://{server.address}/ws/live", open_timeout=10, **options)


def hello(socket_, width=320, **more):
    socket_.send(json.dumps({"width": width, **more}))


def picture(socket_, camera=None):
    """The next picture (of ``camera``): header and JPEG."""
    while True:
        message = socket_.recv(timeout=10)
        if isinstance(message, bytes):
            header, jpeg = split(message)
            if camera in (None, header["camera"]):
                return header, jpeg


def serve(live, machine, bind="127.0.0.1:0", **options):
    return HttpServer(bind, live=live, status=machine.status, metrics=machine.metrics, **options)


def raw(server, data, limit_s=10.0):
    """All the server answers to these bytes until it closes."""
    host, port = server.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=limit_s) as tcp:
        tcp.sendall(data)
        answer = b""
        while chunk := tcp.recv(65536):
            answer += chunk
        return answer


def stalled(server, hello_text='{"width": 1920}'):
    """A viewer that shakes hands, says hello and never reads again."""
    host, port = server.address.rsplit(":", 1)
    tcp = socket.socket()
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    tcp.connect((host, int(port)))
    tcp.sendall(
        f"GET /ws/live HTTP/1.1\r\nHost: {server.address}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    assert tcp.recv(12) == b"HTTP/1.1 101"
    data = hello_text.encode()
    tcp.sendall(bytes([0x81, 0x80 | len(data)]) + bytes(4) + data)
    return tcp


def connections(server):
    return len(server._server.server_state.connections)


def noise(count=8):
    """Pictures that compress badly: they fill buffers soon."""
    random = np.random.default_rng(1)
    return [random.integers(0, 255, (1080, 1920, 3), np.uint8) for _ in range(count)]


def parts(stream):
    """The JPEGs of a multipart stream, each as soon as its end is seen."""
    buffer = b""
    for chunk in stream.iter_raw():
        buffer += chunk
        while True:
            head = buffer.find(b"\r\n\r\n")
            if head < 0:
                break
            length = int(buffer[:head].rsplit(b"Content-Length: ", 1)[1])
            if len(buffer) < head + 4 + length:
                break
            yield buffer[head + 4 : head + 4 + length]
            buffer = buffer[head + 4 + length :]


def ended(tcp):
    try:
        return tcp.recv(100) == b""
    except ConnectionError:
        return True


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))
