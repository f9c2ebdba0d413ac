# SPDX-License-Identifier: MIT
"""The stream servers of examples/, run as processes and met by plain clients."""

import json
import re
import socket
import struct

import pytest

from tools.program import EXAMPLES, HOSTILE, Program, peer_of


@pytest.fixture
def start(sigint_heeded, tmp_path):
    """Return start(name, *arguments): a Program of examples/, which ends with the test."""
    programs = []

    def start(name, *arguments):
        programs.append(Program(EXAMPLES / f"{name}.py", arguments, tmp_path, {}))
        return programs[-1]

    yield start
    for program in programs:
        program.dispose()


def client_of(port):
    return socket.create_connection(("127.0.0.1", int(port)), timeout=8)


def ask(client, request):
    data = (
        request if isinstance(request, bytes) else json.dumps(request, ensure_ascii=False).encode()
    )
    client.sendall(struct.pack(">I", len(data)) + data)
    with client.makefile("rb") as stream:
        return json.loads(stream.read(struct.unpack(">I", stream.read(4))[0]))


def test_chat_line_goes_to_all_others(start):
    server = start("chat_server", "127.0.0.1", "0")
    port = server.port()
    with client_of(port) as one, client_of(port) as two, client_of(port) as three:
        # Who is greeted has been let in, and so hears what follows.
        one.sendall(b"hello\n")
        host, its_port = one.getsockname()
        expected = f"{host}:{its_port}: hello\n".encode()
        heard = [client.makefile("rb").readline() for client in (two, three)]
        assert heard == [expected] * 2
        two.sendall(b"a line that is ")
        two.sendall(b"cut\nbye\n")
        name = b"%s:%d" % (two.getsockname()[0].encode(), two.getsockname()[1])
        with one.makefile("rb") as stream:
            assert stream.readline() == name + b": a line that is cut\n"
            assert stream.readline() == name + b": bye\n"
        three.close()
        one.sendall(b"still here\n")
        assert two.makefile("rb").readline().endswith(b": still here\n")
        one.sendall(bytes(4096) + b"\n")  # with the name it is more than a frame may have
        assert two.makefile("rb").read(4096)[-100:] == bytes(100)
    assert server.interrupt() == (0, "", "")


def test_rpc_answers_each_request_and_survives_bad_ones(start):
    server = start("rpc_server", "tcp://127.0.0.1:0")
    port = re.fullmatch(r"\('127\.0\.0\.1', (\d+)\)", server.listening())[1]
    with client_of(port) as client:
        assert ask(client, {"id": 1, "call": "add", "with": [1, 2]}) == {"id": 1, "result": 3}
        assert ask(client, {"id": 2, "call": "upper", "with": ["é"]}) == {"id": 2, "result": "É"}
        for bad in (
            b"{",
            b"[]",
            b"\xff",
            {"id": 3, "call": "rm"},
            {"id": 4, "call": "add"},
            {"id": 5, "call": "add", "with": [10**4299] * 11},
            {"id": 6, "call": "upper", "with": ["\u00e9" * 300_000]},
        ):
            assert list(ask(client, bad)) == ["error"]
    assert server.interrupt() == (0, "", "")


def test_rpc_serves_a_unix_path_and_removes_it(start, tmp_path):
    server = start("rpc_server", "rpc.sock")
    assert server.listening() == "rpc.sock"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "rpc.sock"))
        assert ask(client, {"id": 1, "call": "add", "with": []}) == {"id": 1, "result": 0}
    assert server.interrupt() == (0, "", "")
    assert not (tmp_path / "rpc.sock").exists()


def test_stream_server_prints_lines_of_clients_at_once(start):
    server = start("stream_server", "127.0.0.1", "0")
    port = server.port()
    with client_of(port) as one, client_of(port) as two:
        one.sendall(b"begun")
        two.sendall(b"second\n")
        assert peer_of(server.line(), "second") == "{}:{}".format(*two.getsockname())
        one.sendall(b" and ended\n")
        assert peer_of(server.line(), "begun and ended") == "{}:{}".format(*one.getsockname())
        one.sendall(HOSTILE.replace(b"\n", b"") + b"\n")
        assert "\x1b" not in server.line()
    assert [server.line()[:4] for _ in range(2)] == ["EOF:"] * 2
    assert server.interrupt() == (0, "", "")


def test_servers_are_short():
    for name in ("chat_server", "rpc_server"):
        assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 40
