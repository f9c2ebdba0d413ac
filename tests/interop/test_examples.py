# SPDX-License-Identifier: MIT
"""The programs of examples/, run as processes.

Each runs as it is and as its twin: the same text with `import socket` in place of
`import fastsock as socket`. So every server meets the client of either library. A server
tells its port in its first line; nothing here sleeps or picks a port.
"""

import os
import re
import socket
import struct
from contextlib import suppress

import pytest

from tools.program import EXAMPLES, HOSTILE, WAIT, Program, peer_of

IMPORT = "import fastsock as socket"
# Of what the standard library lacks: without a twin.
OURS = {"chat_server", "rpc_server", "stream_server", "udp_receiver", "udp_workers"}

TEXT = "Ground control to Major Tom, приём"
HOSTILE_SHOWN = r"\x1b[2J\xff\r\nMessage: \u202e\x00 end"

LIBRARIES = ["fastsock", "stdlib"]
HOSTS = [pytest.param("127.0.0.1", id="ipv4"), pytest.param("::1", id="ipv6")]

library = pytest.mark.parametrize("library", LIBRARIES)
both_ways = pytest.mark.parametrize(
    ("server_library", "client_library"),
    [
        pytest.param(server, client, id=f"{server}_server-{client}_client")
        for server in LIBRARIES
        for client in LIBRARIES
    ],
)
internet = pytest.mark.parametrize("kind", ["udp", "tcp"])
each_host = pytest.mark.parametrize("host", HOSTS, indirect=True)


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """Return a folder with the same programs on the stdlib's socket."""
    folder = tmp_path_factory.mktemp("stdlib_examples")
    for path in EXAMPLES.glob("*.py"):
        if path.stem in OURS:
            continue
        text = path.read_text(encoding="utf-8")
        assert text.count(IMPORT) == 1, path.name
        (folder / path.name).write_text(text.replace(IMPORT, "import socket"), encoding="utf-8")
    return folder


@pytest.fixture
def start(twins, sigint_heeded, tmp_path):
    """Return start(name, *arguments, library, **variables), which gives a Program.

    It runs in tmp_path, with the variables added to its environment, and ends with the test.
    """
    programs = []

    def start(name, *arguments, library, **variables):
        path = (EXAMPLES if library == "fastsock" else twins) / f"{name}.py"
        programs.append(Program(path, arguments, tmp_path, variables))
        return programs[-1]

    yield start
    for program in programs:
        program.dispose()


@pytest.fixture
def host(request):
    if ":" in request.param:
        try:
            socket.create_server((request.param, 0), family=socket.AF_INET6).close()
        except OSError as error:
            pytest.skip(f"binding {request.param} was tried and gave: {error}")
    return request.param


@both_ways
@each_host
@internet
def test_message_between_libraries_is_printed(start, kind, host, server_library, client_library):
    server = start(f"{kind}_server", host, "0", library=server_library)
    shown_host = f"[{host}]" if ":" in host else host
    at_host = re.escape(shown_host) + r":[1-9]\d*"
    listening = server.listening()
    assert re.fullmatch(at_host, listening)
    port = listening.rpartition(":")[2]
    client = start(f"{kind}_client", host, port, "--message", TEXT, library=client_library)
    assert client.finish() == (0, "", "")
    peer = peer_of(server.line(), TEXT)
    assert re.fullmatch(at_host, peer)
    assert peer != listening
    assert server.interrupt() == (0, "", "")


@both_ways
def test_unix_message_between_libraries_is_printed(start, server_library, client_library):
    server = start("unix_server", library=server_library)
    assert server.listening() == "unix.sock"
    client = start("unix_client", "--message", TEXT, library=client_library)
    assert client.finish() == (0, "", "")
    assert server.line() == f"Message: {TEXT}"
    assert server.interrupt() == (0, "", "")


@library
def test_unix_message_from_named_peer_shows_it_escaped(start, library, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # short names: a socket's path has 108 bytes
    server = start("unix_server", library=library)
    server.listening()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.bind("\x1b]0;peer")
        client.sendto(b"hello", "unix.sock")
        assert server.line() == r"Message: hello (from \x1b]0;peer)"


@library
@internet
def test_message_of_hostile_bytes_is_escaped(start, kind, library):
    server = start(f"{kind}_server", "127.0.0.1", "0", library=library)
    address = ("127.0.0.1", int(server.port()))
    with socket.socket(type=socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as client:
        client.connect(address)
        client.sendall(HOSTILE)
    peer_of(server.line(), HOSTILE_SHOWN)
    assert server.interrupt() == (0, "", "")


@library
def test_unix_message_of_hostile_bytes_is_escaped(start, library, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server = start("unix_server", library=library)
    server.listening()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(HOSTILE, "unix.sock")
    assert server.line() == f"Message: {HOSTILE_SHOWN}"


@library
def test_client_argument_not_utf8_is_sent_as_it_is(start, library):
    server = start("udp_server", "127.0.0.1", "0", library=library)
    message = b"a\xffb"
    client = start("udp_client", "127.0.0.1", server.port(), "--message", message, library=library)
    assert client.finish() == (0, "", "")
    peer_of(server.line(), r"a\xffb")


@library
def test_message_that_stdout_cannot_encode_is_escaped(start, library):
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    server = start("udp_server", "127.0.0.1", "0", library=library, **ascii_only)
    client = start("udp_client", "127.0.0.1", server.port(), "--message", "é", library=library)
    assert client.finish() == (0, "", "")
    peer_of(server.line(), r"\xe9")


@library
@pytest.mark.parametrize("name", ["udp_server", "tcp_server", "unix_server"])
def test_server_interrupted_while_idle_exits_zero(start, name, library):
    server = start(name, *([] if name == "unix_server" else ["127.0.0.1", "0"]), library=library)
    server.listening()
    assert server.interrupt() == (0, "", "")


@library
def test_tcp_server_interrupted_with_client_connected_exits_zero(start, library):
    server = start("tcp_server", "127.0.0.1", "0", library=library)
    with socket.create_connection(("127.0.0.1", int(server.port())), timeout=WAIT) as client:
        # More than the kernel keeps: once it is sent, the server has accepted and reads.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.sendall(bytes(1 << 20))
        assert server.interrupt() == (0, "", "")
        with suppress(ConnectionResetError):
            assert client.recv(1) == b""


@both_ways
@each_host
@internet
def test_server_on_busy_port_reports_one_line(start, kind, host, server_library, client_library):
    """Here the client's library runs the second server."""
    first = start(f"{kind}_server", host, "0", library=server_library)
    listening = first.listening()
    port = listening.rpartition(":")[2]
    second = start(f"{kind}_server", host, port, library=client_library)
    assert second.finish() == (1, "", f"{kind}_server: {listening} is already in use\n")
    assert first.interrupt() == (0, "", "")


@library
@pytest.mark.parametrize("name", ["udp_server", "udp_client", "tcp_server", "tcp_client"])
def test_port_out_of_range_is_refused(start, name, library):
    code, out, err = start(name, "127.0.0.1", "65536", library=library).finish()
    assert (code, out) == (2, "")
    assert err.endswith("argument port: invalid port value: '65536'\n")


@library
@pytest.mark.parametrize("name", ["udp_server", "udp_client", "tcp_server", "tcp_client"])
def test_host_that_cannot_be_resolved_reports_one_line(start, name, library):
    """An address of no interface here fails without a name server being asked."""
    host = "fe80::1%nowhere"
    code, out, err = start(name, host, "9", library=library).finish()
    assert (code, out) == (1, "")
    assert re.fullmatch(re.escape(f"{name}: [{host}]:9: ") + ".+\n", err)


@library
@pytest.mark.parametrize("name", ["udp_server", "udp_client", "tcp_server", "tcp_client"])
def test_host_not_a_name_reports_one_line(start, name, library):
    host = "a" * 64  # a label has 63 bytes at most: RFC 1035, section 2.3.4
    expected = f"{name}: {host} is not a host name\n"
    assert start(name, host, "9", library=library).finish() == (1, "", expected)


@library
@each_host
def test_tcp_client_without_server_reports_one_line(start, host, library):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as unheard:  # bound and not listening: the port stays refused
        unheard.bind((host, 0))
        port = unheard.getsockname()[1]
        client = start("tcp_client", host, str(port), library=library)
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        assert client.finish() == (1, "", f"tcp_client: {shown}: Connection refused\n")


@library
def test_udp_client_without_server_exits_zero(start, library):
    """UDP does not tell a sender that nobody received."""
    with socket.socket() as tcp_only:
        tcp_only.bind(("127.0.0.1", 0))
        port = str(tcp_only.getsockname()[1])
        assert start("udp_client", "127.0.0.1", port, library=library).finish() == (0, "", "")


@library
def test_unix_client_without_file_reports_one_line(start, library):
    expected = "unix_client: unix.sock: No such file or directory\n"
    assert start("unix_client", library=library).finish() == (1, "", expected)


@library
def test_unix_client_of_killed_server_reports_one_line(start, library):
    server = start("unix_server", library=library)
    server.listening()
    server.kill()
    expected = "unix_client: unix.sock: Connection refused\n"
    assert start("unix_client", library=library).finish() == (1, "", expected)


@library
def test_unix_server_interrupted_unlinks_its_file(start, library, tmp_path):
    server = start("unix_server", library=library)
    server.listening()
    assert (tmp_path / "unix.sock").is_socket()
    assert server.interrupt() == (0, "", "")
    assert not os.path.lexists(tmp_path / "unix.sock")


@library
def test_unix_server_interrupted_leaves_the_file_of_another(start, library, tmp_path):
    first = start("unix_server", library=library)
    first.listening()
    (tmp_path / "unix.sock").unlink()
    second = start("unix_server", library=library)
    second.listening()
    assert first.interrupt() == (0, "", "")
    assert start("unix_client", library=library).finish() == (0, "", "")
    assert second.line().startswith("Message: ")


@both_ways
def test_unix_server_on_stale_file_replaces_it(start, server_library, client_library):
    """Here the client's library runs the second server."""
    first = start("unix_server", library=server_library)
    first.listening()
    first.kill()
    second = start("unix_server", library=client_library)
    assert second.listening() == "unix.sock"
    assert start("unix_client", library=server_library).finish() == (0, "", "")
    assert second.line().startswith("Message: ")


@both_ways
def test_unix_server_on_live_file_reports_one_line(start, server_library, client_library):
    """Here the client's library runs the second server; the first goes on."""
    first = start("unix_server", library=server_library)
    first.listening()
    second = start("unix_server", library=client_library)
    assert second.finish() == (1, "", "unix_server: unix.sock is already in use\n")
    assert start("unix_client", library=client_library).finish() == (0, "", "")
    assert first.line().startswith("Message: ")


@library
def test_unix_server_on_live_stream_file_reports_one_line(start, library, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as stream:
        stream.bind("unix.sock")
        stream.listen()
        server = start("unix_server", library=library)
        assert server.finish() == (1, "", "unix_server: unix.sock is already in use\n")
        assert (tmp_path / "unix.sock").is_socket()


@library
@pytest.mark.parametrize("make", ["file", "folder", "dangling_link"])
def test_unix_server_on_something_else_leaves_it(start, library, make, tmp_path):
    path = tmp_path / "unix.sock"
    if make == "file":
        path.write_text("precious", encoding="utf-8")
    elif make == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    before = path.lstat()
    expected = "unix_server: unix.sock: exists and is not a socket\n"
    assert start("unix_server", library=library).finish() == (1, "", expected)
    assert os.path.samestat(path.lstat(), before)


@library
def test_tcp_server_with_two_clients_serves_one_after_another(start, library):
    server = start("tcp_server", "127.0.0.1", "0", library=library)
    port = server.port()
    with socket.create_connection(("127.0.0.1", int(port)), timeout=WAIT) as first:
        first.sendall(b"first, in ")
        second = start("tcp_client", "127.0.0.1", port, "--message", "second", library=library)
        assert second.finish() == (0, "", "")
        first.sendall(b"two parts")
    peer_of(server.line(), "first, in two parts")
    peer_of(server.line(), "second")


@library
def test_tcp_server_after_client_reset_serves_the_next(start, library):
    server = start("tcp_server", "127.0.0.1", "0", library=library)
    port = server.port()
    with socket.create_connection(("127.0.0.1", int(port)), timeout=WAIT) as client:
        client.sendall(b"cut short")
        # Closing with a linger of zero seconds resets the connection: socket(7).
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert server.line().startswith("Lost: Connection reset by peer (from 127.0.0.1:")
    assert start("tcp_client", "127.0.0.1", port, library=library).finish() == (0, "", "")
    peer_of(server.line(), "Ground control to Major Tom")
    assert server.interrupt() == (0, "", "")


@library
def test_tcp_server_after_endless_message_serves_the_next(start, library):
    server = start("tcp_server", "127.0.0.1", "0", library=library)
    port = server.port()
    with socket.create_connection(("127.0.0.1", int(port)), timeout=WAIT) as client:
        client.sendall(bytes((1 << 20) + 1))
        assert server.line().startswith("Refused: longer than 1048576 bytes (from 127.0.0.1:")
    assert start("tcp_client", "127.0.0.1", port, library=library).finish() == (0, "", "")
    peer_of(server.line(), "Ground control to Major Tom")


def test_udp_receiver_counts_and_tells_its_stats_when_interrupted(start):
    program = start("udp_receiver", "udp://127.0.0.1:0", library="fastsock")
    port = int(re.search(r"(\d+)\)$", program.listening())[1])
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        for _ in range(10):
            client.sendto(b"four", ("127.0.0.1", port))
    messages = size = 0
    while messages < 10:
        numbers = re.fullmatch(r"(\d+) messages, (\d+) bytes", program.line())
        messages, size = messages + int(numbers[1]), size + int(numbers[2])
    assert (messages, size) == (10, 40)
    code, out, err = program.interrupt()
    assert (code, err) == (0, "")
    assert "ReceiverStats(received=10, bytes=40," in out


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "udp://127.0.0.1", "/nowhere/x.sock"])
def test_udp_receiver_at_a_wrong_address_reports_one_line(start, address):
    code, out, err = start("udp_receiver", address, library="fastsock").finish()
    assert (code, out, err[:14], err.count("\n")) == (1, "", "udp_receiver: ", 1)


def test_udp_workers_receive_every_datagram_once_in_sum(start):
    with socket.socket(type=socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        busy = f"udp_workers: 127.0.0.1:{port}: Address already in use\n"
        assert start("udp_workers", str(port), library="fastsock").finish() == (0, "", 2 * busy)
    program = start("udp_workers", str(port), "3", library="fastsock")
    for _ in range(3):
        assert program.port() == str(port)
    # Fewer in all than the default buffer of one socket holds: nobody has to be quick.
    for _ in range(120):
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            for _ in range(2):
                client.sendto(b"x", ("127.0.0.1", port))
    code, out, err = program.interrupt()
    assert (code, err) == (0, "")
    received = [int(number) for number in re.findall(r"received=(\d+)", out)]
    assert (len(received), sum(received)) == (3, 240)
    assert min(received) > 0
