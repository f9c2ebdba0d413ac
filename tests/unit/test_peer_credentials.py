# SPDX-License-Identifier: MIT
"""peer_credentials: who is at the other end of a Unix socket."""

import errno
import os
import socket as stdlib
import subprocess
import sys

import pytest

import fastsock

OWN = (os.getpid(), os.geteuid(), os.getegid())
KINDS = {"stream": stdlib.SOCK_STREAM, "datagram": stdlib.SOCK_DGRAM, "seqpacket": 5}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_peer_of_a_pair_is_its_maker(closing, kind):
    for sock in fastsock.socketpair(stdlib.AF_UNIX, kind):
        found = closing(sock).peer_credentials()
        assert isinstance(found, fastsock.PeerCredentials)
        assert found == OWN
        assert (found.pid, found.uid, found.gid) == OWN


@pytest.mark.parametrize("kind", [stdlib.SOCK_STREAM, 5], ids=["stream", "seqpacket"])
@pytest.mark.parametrize("is_abstract", [False, True], ids=["path", "abstract"])
def test_peer_of_a_connection_is_the_other_process(closing, tmp_path, kind, is_abstract):
    name = f"\0fastsock {os.getpid()}" if is_abstract else str(tmp_path / "x.sock")
    listener = closing(fastsock.socket(stdlib.AF_UNIX, kind))
    listener.bind_unix(name)
    listener.listen()
    program = f"""
import fastsock
with fastsock.socket(fastsock.AF_UNIX, {int(kind)}) as sock:
    sock.connect({name!r})
    print(sock.peer_credentials().pid)
    sock.recv(1)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with process:
        connection, _ = listener.accept()
        assert closing(connection).peer_credentials() == (process.pid, *OWN[1:])
        connection.close()
        assert process.stdout.read() == f"{os.getpid()}\n"
    assert process.returncode == 0


def test_peer_is_known_after_it_has_gone(closing):
    sock, peer = fastsock.socketpair()
    peer.close()
    assert closing(sock).peer_credentials() == OWN


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_socket_without_a_peer_is_refused(closing, kind):
    with pytest.raises(OSError, match="no connection") as caught:
        closing(fastsock.socket(stdlib.AF_UNIX, kind)).peer_credentials()
    assert caught.value.errno == errno.ENOTCONN


def test_datagram_socket_whose_peer_has_a_path_is_refused(closing, tmp_path):
    sock, peer = (closing(fastsock.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM)) for _ in range(2))
    peer.bind_unix(tmp_path / "x.sock")
    sock.connect(str(tmp_path / "x.sock"))
    with pytest.raises(OSError, match="SO_PASSCRED"):
        sock.peer_credentials()


@pytest.mark.parametrize("kind", [stdlib.SOCK_STREAM, stdlib.SOCK_DGRAM], ids=["tcp", "udp"])
def test_socket_of_the_internet_is_refused_with_the_cure(closing, kind):
    with pytest.raises(fastsock.CapabilityError, match="TLS") as caught:
        closing(fastsock.socket(stdlib.AF_INET, kind)).peer_credentials()
    assert caught.value.errno == errno.ENOTSUP


def test_closed_socket_is_refused():
    sock = fastsock.socket(stdlib.AF_UNIX)
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        sock.peer_credentials()
    assert caught.value.errno == errno.EBADF
