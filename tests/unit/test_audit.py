# SPDX-License-Identifier: MIT
"""Audit events: the same events with the same arguments as the standard library's.

A hook can't be removed, so each run is a Python of its own.
"""

import pytest

PRELUDE = """if True:
    import sys
    import socket as stdlib
    if sys.argv[1] == "fastsock":
        import fastsock as socket
    else:
        socket = stdlib
    if sys.argv[1] == "installed":
        import fastsock
        fastsock.install()

    def shown(argument):
        return "socket" if isinstance(argument, stdlib.SocketType) else repr(argument)

    refused = None
    def hook(event, arguments):
        if event.startswith("socket."):
            print(event, *map(shown, arguments))
            if event == refused:
                raise RuntimeError("refused")

"""

CALLS = """
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sys.addaudithook(hook)
    server.bind(path + "s")
    server.listen()
    client.connect(path + "s")
    connection, _ = server.accept()
    client.send(b"x")
    client.sendall(b"x")
    connection.recv(1)
    connection.recv_into(bytearray(1))
    client.sendmsg([b"x"])
    client.sendmsg([b"x"], [], 0, None)
    connection.recvfrom(1)
    connection.recvmsg(1)
    datagram.bind(path + "d")
    datagram.sendto(b"x", path + "d")
    datagram.sendto(b"x", 0, (path + "d").encode())
    datagram.sendmsg([b"x"], [], 0, path + "d")
    udp.sendto(b"x", ("127.0.0.1", 9))
    udp.sendto(b"x", 0, ("127.0.0.1", 9))
    udp.sendmsg([b"x"], [], 0, ("127.0.0.1", 9))
    try:
        # The address is looked at before the event, so there is none.
        udp.sendto(b"x", ("127.0.0.1", 70000))
    except OverflowError:
        pass
    try:
        # The event comes before the buffers are looked at.
        udp.sendmsg(5)
    except TypeError:
        pass
    copy = connection.dup()
    pair = socket.socketpair()
    again = socket.fromfd(udp.fileno(), socket.AF_INET, socket.SOCK_DGRAM)
    for sock in [server, client, datagram, udp, connection, copy, *pair, again]:
        sock.close()
"""

REFUSED_ACCEPT = """
    import os
    server = socket.create_server(("127.0.0.1", 0))
    client = stdlib.create_connection(server.getsockname())
    server.settimeout(5 if sys.argv[3] == "timeout" else None)
    count = len(os.listdir("/proc/self/fd"))
    sys.addaudithook(hook)
    refused = "socket.__new__"
    try:
        server.accept()
    except RuntimeError as error:
        print(error)
    print(len(os.listdir("/proc/self/fd")) - count)
    client.close()
    server.close()
"""

REFUSED_SEND = """
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    udp.setblocking(False)
    data = bytearray(b"x")
    # The destination is known from before.
    udp.sendto(data, udp.getsockname())
    udp.recv(10)
    sys.addaudithook(hook)
    for refused, call in [
        ("socket.sendto", lambda: udp.sendto(data, udp.getsockname())),
        ("socket.sendmsg", lambda: udp.sendmsg([data], [], 0, udp.getsockname())),
    ]:
        try:
            call()
        except RuntimeError as error:
            pass
        else:
            print("not refused")
        try:
            udp.recv(10)
        except BlockingIOError:
            print("nothing sent")
        data.extend(b"x")
    udp.close()
"""


def events(run_child, program, *arguments):
    start = f"    path = {str(arguments[-1])!r}\n" if program is CALLS else ""
    return run_child(PRELUDE + start + program, *map(str, arguments))


@pytest.mark.parametrize("library", ["fastsock", "installed"])
def test_calls_raise_the_events_of_the_stdlib(run_child, library, tmp_path):
    (tmp_path / library).mkdir()
    (tmp_path / "stdlib").mkdir()
    ours = events(run_child, CALLS, library, tmp_path / library / "x")
    plain = events(run_child, CALLS, "stdlib", tmp_path / "stdlib" / "x")
    assert ours.replace(library, "stdlib") == plain
    # Enough to know that the hook was there.
    assert plain.count("socket.sendto") == 4
    assert plain.count("socket.__new__") == 5


@pytest.mark.parametrize("timeout", ["blocking", "timeout"])
def test_accept_refused_by_a_hook_leaves_no_descriptor(run_child, timeout):
    printed = events(run_child, REFUSED_ACCEPT, "fastsock", "-", timeout).splitlines()
    # CPython leaks it.
    assert printed[-2:] == ["refused", "0"]


def test_send_refused_by_a_hook_sends_nothing_and_releases_its_buffer(run_child):
    printed = events(run_child, REFUSED_SEND, "fastsock").splitlines()
    assert printed.count("nothing sent") == 2
    assert "not refused" not in printed
