# SPDX-License-Identifier: MIT
"""The programs of examples/ in other languages, built on the installed wheel and met from Python.

They are built by the commands that stand in their heads, where `python` is that of an environment
with nothing but the wheel.
"""

import ast
import contextlib
import os
import re
import shutil
import signal
import socket as stdlib
import struct
import threading

import pytest

import fastsock
from tools.packages import ROOT, need, run
from tools.program import Process

# A first build by Go compiles parts of its standard library.
pytestmark = pytest.mark.timeout(300)
FRAMING = fastsock.LengthPrefix(4)
MAX_FRAME = 1 << 20
TOOLS = {  # with their packages
    "c": [("cc", "gcc")],
    "ctypes": [],
    "go": [("go", "golang-go", "version"), ("pkg-config", "pkg-config")],
    "rust": [("rustc", "rustc")],
}
ENDS = [pytest.param(signal.SIGTERM, id="SIGTERM"), pytest.param(signal.SIGINT, id="SIGINT")]


@pytest.fixture(scope="module", params=TOOLS)
def language(request):
    for tool in TOOLS[request.param]:
        need(*tool)
    return request.param


@pytest.fixture(scope="module")
def built(language, installed, tmp_path_factory):
    """The commands that start the programs of a language, by their names."""
    folder = tmp_path_factory.mktemp(language)
    commands = {}
    for source in sorted((ROOT / "examples" / language).iterdir()):
        shutil.copy(source, folder)
        if language == "ctypes":
            commands[source.stem] = [installed, source.name]
            continue
        (command,) = re.findall(r"^\W*((?:PKG_|cc|rustc).*\(python.*)$", source.read_text(), re.M)
        # No package of Go or Rust is needed, and so no network.
        offline = {"GOPROXY": "off", "GOTOOLCHAIN": "local"}
        said = run("sh", "-c", f"{command} 2>&1", cwd=folder, path=installed.parent, **offline)
        assert said == "", "no warnings"
        commands[source.stem] = [folder / source.stem]
    assert set(commands) == {"frame_server", "udp_receiver"}
    return commands, folder


@pytest.fixture
def start(built, sigint_heeded):
    """Return start(name, *arguments): the Process."""
    commands, folder = built
    processes = []

    def start(name, *arguments):
        command = [*commands[name], *arguments]
        processes.append(Process(command, folder, {"PATH": os.environ["PATH"]}))
        return processes[-1]

    yield start
    for process in processes:
        process.dispose()


def listening(process):
    """The port that a program tells in its first line."""
    return int(re.fullmatch(r"Listening on \S+ port (\d+)", process.line())[1])


def unescaped(language, text):
    """The bytes of a datagram, of which the program shows those that are no ASCII as escapes."""
    assert text.isascii()
    assert text.isprintable()
    if language == "ctypes":
        return ast.literal_eval(text)
    text = text.removeprefix('"').removesuffix('"') if language == "go" else text
    return text.encode().decode("unicode_escape").encode("latin-1")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("end", ENDS)
def test_receiver_prints_what_send_many_sends(start, language, closing, host, end):
    process = start("udp_receiver", host, "0")
    family = stdlib.AF_INET6 if ":" in host else stdlib.AF_INET
    sender = closing(fastsock.socket(family, stdlib.SOCK_DGRAM))
    sender.connect((host, listening(process)))
    peer = f"{host} port {sender.getsockname()[1]}: "
    train = [b"%04d" % i + bytes([i % 256]) * 60 for i in range(200)]  # of one size: one send
    mixed = [b"", bytes(range(256)), b"\x1b[2J\\n\xff%s", b"last"]
    for sent in (train, mixed, [b"x" * 9000]):
        assert sender.send_many(sent) == len(sent)
        lines = [process.line() for _ in sent]
        assert {line[: len(peer)] for line in lines} == {peer}
        assert [unescaped(language, line[len(peer) :]) for line in lines] == sent
    assert process.end_by(end) == (0, "", "")


def test_receiver_ends_though_datagrams_go_on_coming(start, closing, in_thread):
    process = start("udp_receiver", "127.0.0.1", "0")
    sender = closing(stdlib.socket(type=stdlib.SOCK_DGRAM))
    sender.connect(("127.0.0.1", listening(process)))
    ended = threading.Event()

    def flood():
        with contextlib.suppress(ConnectionRefusedError):  # the receiver has ended
            while not ended.is_set():
                sender.send(b"flood")

    in_thread(flood)
    try:
        process.line()
        code, _, err = process.end_by(signal.SIGTERM)
    finally:
        ended.set()
    assert (code, err) == (0, "")


@pytest.fixture
def server(start, closing):
    """A frame_server, and connect(), which gives a socket, a reader and a writer of frames."""
    process = start("frame_server", "127.0.0.1", "0")
    port = listening(process)

    def connect():
        sock = closing(fastsock.create_connection(("127.0.0.1", port), timeout=8))
        return sock, fastsock.FrameReader(sock, FRAMING), fastsock.FrameWriter(sock, FRAMING)

    return process, connect


def test_server_sends_back_all_frames(server, in_thread):
    process, connect = server
    sock, reader, writer = connect()
    longest = bytes(range(256)) * (MAX_FRAME // 256)
    frames = [b"", b"one", b"\0\0\0\1", *(b"%05d" % i for i in range(5000)), longest, b"last"]
    sending = in_thread(writer.send_many, frames)
    assert [bytes(next(reader)) for _ in frames] == frames
    sending.result()
    sock.shutdown(stdlib.SHUT_WR)
    assert list(reader) == []
    assert process.end_by(signal.SIGTERM) == (0, "", "")


def test_server_serves_clients_at_once_and_outlives_one_that_resets(server):
    process, connect = server
    one, one_reader, _ = connect()
    _, other_reader, other_writer = connect()
    begun = FRAMING.encode([b"begun and ended"])
    one.sendall(begun[:9])
    other_writer.send(b"whole")
    assert bytes(next(other_reader)) == b"whole"
    one.sendall(begun[9:])
    assert bytes(next(one_reader)) == b"begun and ended"
    one.sendall(begun[:9])
    one.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()  # with a reset
    other_writer.send(b"still there")
    assert bytes(next(other_reader)) == b"still there"
    assert process.end_by(signal.SIGTERM) == (0, "", "")


@pytest.mark.parametrize("end", ENDS)
def test_server_that_is_stopped_ends_its_connections(server, end):
    process, connect = server
    _, reader, writer = connect()
    writer.send(b"served")
    assert bytes(next(reader)) == b"served"
    assert process.end_by(end) == (0, "", "")
    assert list(reader) == []


@pytest.mark.parametrize(("name", "kind"), [("frame_server", "STREAM"), ("udp_receiver", "DGRAM")])
def test_errors_are_named(start, closing, name, kind):
    taken = closing(stdlib.socket(type=getattr(stdlib, f"SOCK_{kind}")))
    taken.bind(("127.0.0.1", 0))
    port = str(taken.getsockname()[1])
    code, out, err = start(name, "127.0.0.1", port).finish()
    assert (code, out) == (1, "")
    assert "address already in use" in err.lower()
    for arguments in ((), ("127.0.0.1", "70000"), ("127.0.0.1", "http!")):
        code, out, err = start(name, *arguments).finish()
        assert code > 0
        assert out == ""
        assert err != ""


def test_programs_are_short():
    files = [path for path in (ROOT / "examples").glob("*/*") if path.is_file()]
    assert [path for path in files if len(path.read_text().splitlines()) >= 80] == []
    assert len(files) == 2 * len(TOOLS)
