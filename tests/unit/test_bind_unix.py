# SPDX-License-Identifier: MIT
"""bind_unix: paths of the dead are taken, those of the living and of others are not."""

import errno
import fcntl
import gc
import os
import socket as stdlib
import stat
import warnings
from pathlib import Path

import pytest

import fastsock
from fastsock import bound_path
from tools import child

KINDS = {"stream": stdlib.SOCK_STREAM, "datagram": stdlib.SOCK_DGRAM, "seqpacket": 5}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
each_other = pytest.mark.parametrize("other", KINDS.values(), ids=KINDS)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "x.sock")


@pytest.fixture
def unix(closing):
    """unix(kind): a socket of ours, not bound."""
    return lambda kind=stdlib.SOCK_STREAM: closing(fastsock.socket(stdlib.AF_UNIX, kind))


def leave_behind(path, kind=stdlib.SOCK_STREAM):
    with stdlib.socket(stdlib.AF_UNIX, kind) as sock:
        sock.bind(path)


def refusal(sock, path, error=OSError, **options):
    """The exception of a bind_unix that must fail."""
    before = sorted(os.listdir(os.path.dirname(path)))
    with pytest.raises(error) as caught:
        sock.bind_unix(path, **options)
    assert sorted(os.listdir(os.path.dirname(path))) == before
    return caught.value


@each_kind
def test_bind_unix_serves_and_close_removes_the_path_and_nothing_else_is_left(unix, path, kind):
    sock, client = unix(kind), unix(kind)
    sock.bind_unix(path)
    assert sock.getsockname() == path
    assert os.listdir(os.path.dirname(path)) == ["x.sock"]
    if kind != stdlib.SOCK_DGRAM:
        sock.listen()
    client.connect(path)
    client.send(b"x")
    receiver = sock if kind == stdlib.SOCK_DGRAM else sock.accept()[0]
    assert receiver.recv(10) == b"x"
    receiver.close()
    sock.close()
    assert os.listdir(os.path.dirname(path)) == []


@pytest.mark.parametrize("form", [str, os.fsencode, Path], ids=["str", "bytes", "path"])
def test_bind_unix_takes_a_path_in_any_form(unix, path, form):
    sock = unix()
    sock.bind_unix(form(path + "\udce4ö"))
    assert sock.getsockname() == path + "\udce4ö"
    sock.close()
    assert os.listdir(os.path.dirname(path)) == []


def test_relative_path_goes_with_close_wherever_the_program_is_by_then(unix, path, monkeypatch):
    sock = unix()
    monkeypatch.chdir(os.path.dirname(path))
    sock.bind_unix("x.sock")
    monkeypatch.chdir("/")
    sock.close()
    assert not os.path.lexists(path)


@each_kind
@each_other
def test_bind_unix_replaces_what_the_dead_left(unix, path, kind, other):
    leave_behind(path, other)
    sock = unix(kind)
    sock.bind_unix(path)
    probe = unix(kind)
    if kind != stdlib.SOCK_DGRAM:
        sock.listen()
    probe.connect(path)


@each_kind
@each_other
@pytest.mark.parametrize("listens", [False, True], ids=["bound", "listening"])
def test_bind_unix_refuses_the_path_of_an_open_socket(unix, closing, path, kind, other, listens):
    holder = closing(stdlib.socket(stdlib.AF_UNIX, other))
    holder.bind(path)
    if listens and other != stdlib.SOCK_DGRAM:
        holder.listen(1)
    error = refusal(unix(kind), path)
    assert (error.errno, error.filename) == (errno.EADDRINUSE, path)
    if listens and other != stdlib.SOCK_DGRAM:
        holder.setblocking(False)
        with pytest.raises(BlockingIOError):  # the look has made no connection
            holder.accept()


def test_bind_unix_refuses_the_path_of_a_datagram_socket_with_a_peer(unix, closing, path):
    holder, peer = (closing(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM)) for _ in range(2))
    holder.bind(path)
    peer.bind(path + "2")
    holder.connect(path + "2")
    assert refusal(unix(), path).errno == errno.EADDRINUSE


@pytest.mark.parametrize("what", ["file", "folder", "link", "dangling", "pipe"])
def test_bind_unix_removes_nothing_but_sockets(unix, path, what):
    if what == "file":
        Path(path).write_text("precious")
    elif what == "folder":
        os.mkdir(path)
    elif what == "pipe":
        os.mkfifo(path)
    else:
        os.symlink("elsewhere", path)
        if what == "link":
            leave_behind(os.path.dirname(path) + "/elsewhere")
    before = os.lstat(path)
    error = refusal(unix(), path)
    assert (error.errno, error.filename) == (errno.EEXIST, path)
    assert "no socket" in str(error)
    assert os.path.samestat(os.lstat(path), before)


def test_bind_unix_refuses_what_can_not_be_bound(unix, path, closing):
    bound = unix()
    bound.bind_unix(path)
    assert "make another" in str(refusal(bound, path + "2"))
    with pytest.raises(ValueError, match="empty"):
        unix().bind_unix("")
    with pytest.raises(FileNotFoundError):
        unix().bind_unix(f"{path}s/y")
    assert "long" in str(refusal(unix(), path + "x" * 108))
    internet = closing(fastsock.socket())
    assert refusal(internet, path + "2", fastsock.CapabilityError).errno == errno.EOPNOTSUPP
    internet.close()
    closed = unix()
    closed.close()
    assert refusal(closed, path + "2").errno == errno.EBADF


@pytest.mark.parametrize("umask", [0, 0o077, 0o777], ids=oct)
@pytest.mark.parametrize("mode", [0, 0o600, 0o660, 0o777], ids=oct)
def test_bind_unix_gives_the_mode_whatever_the_umask(unix, path, mode, umask):
    before = os.umask(umask)
    try:
        unix().bind_unix(path, mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.lstat(path).st_mode) == mode


def test_bind_unix_mode_holds_from_the_first_moment(unix, path, monkeypatch):
    seen = []

    class Watched(fastsock.socket):
        def bind(self, address):
            super().bind(address)
            seen.append(stat.S_IMODE(os.lstat(path).st_mode))

    before = os.umask(0)
    try:
        with Watched(stdlib.AF_UNIX) as sock:
            sock.bind_unix(path, 0o640)
    finally:
        os.umask(before)
    assert seen == [0o640]


@pytest.mark.parametrize("mode", [-1, 0o1000, 660])
def test_bind_unix_mode_out_of_range_is_refused(unix, path, mode):
    assert "0o660" in str(refusal(unix(), path, ValueError, mode=mode))


@each_kind
def test_bind_unix_to_an_abstract_name_has_no_file(unix, path, kind, monkeypatch):
    monkeypatch.chdir(os.path.dirname(path))
    name = f"\0fastsock bind_unix {os.getpid()}"
    sock, other = unix(kind), unix(kind)
    sock.bind_unix(name)
    assert sock.getsockname() == name.encode()
    assert os.listdir() == []
    with pytest.raises(OSError, match="in use") as caught:
        other.bind_unix(name.encode())
    assert caught.value.errno == errno.EADDRINUSE
    sock.close()
    other.bind_unix(name.encode())
    with pytest.raises(ValueError, match="no mode"):
        unix(kind).bind_unix(name, mode=0o600)


def test_close_leaves_the_path_of_another(unix, path):
    sock = unix()
    sock.bind_unix(path)
    os.unlink(path)
    leave_behind(path)
    sock.close()
    assert os.path.lexists(path)


def test_close_of_the_last_file_removes_the_path(unix, path):
    sock = unix(stdlib.SOCK_DGRAM)
    sock.bind_unix(path)
    file = sock.makefile("rb")
    sock.close()
    assert os.path.lexists(path)
    file.close()
    assert not os.path.lexists(path)


@pytest.mark.parametrize("how", ["detach", "detach_stdlib"])
def test_detach_leaves_the_path(unix, path, how):
    sock = unix()
    sock.bind_unix(path)
    found = getattr(sock, how)()
    sock.close()
    del sock
    gc.collect()
    assert os.path.lexists(path)
    stdlib.socket(fileno=found).close() if how == "detach" else found.close()
    assert os.path.lexists(path)


def test_path_of_a_socket_that_is_dropped_unclosed_goes(path):
    sock = fastsock.socket(stdlib.AF_UNIX)
    sock.bind_unix(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del sock
        gc.collect()
    assert os.listdir(os.path.dirname(path)) == []


def test_path_of_a_dropped_socket_that_another_took_over_stays(unix, path):
    sock, other = fastsock.socket(stdlib.AF_UNIX), unix()
    sock.bind_unix(path)
    os.unlink(path)
    other.bind_unix(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del sock
        gc.collect()
    assert os.path.lexists(path)
    other.close()


def test_path_goes_with_the_process_that_bound_it_and_no_child(path):
    child.run(
        f"""
import os, sys, warnings, fastsock
warnings.simplefilter("ignore", ResourceWarning)  # of the sockets that the exits drop
sock = fastsock.socket(fastsock.AF_UNIX)
sock.bind_unix({path!r})
for end in (sock.close, sys.exit, lambda: os._exit(0)):
    if (process := os.fork()) == 0:
        end()
        sys.exit()
    assert os.waitpid(process, 0)[1] == 0
    assert os.path.exists({path!r})
""",
        environment=child.NO_LEAK_SEARCH,
    )
    assert not os.path.lexists(path)


def test_lock_file_left_by_the_dead_is_used_and_removed(unix, path):
    Path(f"{path}.lock").touch()
    unix().bind_unix(path)
    assert os.listdir(os.path.dirname(path)) == ["x.sock"]


def test_lock_that_is_a_link_is_not_followed(unix, path):
    os.symlink("elsewhere", f"{path}.lock")
    assert refusal(unix(), path).errno == errno.ELOOP


def test_receiver_replaces_what_the_dead_left(path):
    leave_behind(path)
    with fastsock.Receiver(path) as receiver, fastsock.socket(stdlib.AF_UNIX, 2) as sender:
        sender.sendto(b"x", path)
        assert [message.bytes() for message in receiver.next_batch(5)] == [b"x"]
    assert os.listdir(os.path.dirname(path)) == []


def test_receiver_leaves_what_is_no_socket(path):
    Path(path).write_text("precious")
    with pytest.raises(FileExistsError, match="no socket"):
        fastsock.Receiver(path)
    assert Path(path).read_text() == "precious"


def waits_for_lock(path):
    """Whether somebody waits for the lock of this very file."""
    inode = os.stat(path).st_ino
    lines = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and f":{inode} " in line for line in lines)


def test_lock_is_that_of_the_file_that_the_name_leads_to(unix, path, in_thread, wait_until):
    lock = Path(f"{path}.lock")
    with lock.open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        task = in_thread(unix().bind_unix, path)
        wait_until(lambda: waits_for_lock(lock))
        lock.unlink()
        with lock.open("w") as second:
            fcntl.flock(second, fcntl.LOCK_EX)
            fcntl.flock(first, fcntl.LOCK_UN)
            wait_until(lambda: waits_for_lock(lock))
            assert not os.path.lexists(path)
    task.result()
    assert os.listdir(os.path.dirname(path)) == ["x.sock"]


def test_path_that_another_has_bound_since_the_look_at_it_stays(unix, closing, path, monkeypatch):
    leave_behind(path)
    other = closing(stdlib.socket(stdlib.AF_UNIX))
    look = bound_path._find_stale

    def look_too_early(path):
        found = look(path)
        if not other.getsockname():
            # No number of an inode is given twice while the old one is there.
            os.rename(path, f"{path}2")
            other.bind(path)
        return found

    monkeypatch.setattr(bound_path, "_find_stale", look_too_early)
    with pytest.raises(OSError, match="in use"):
        unix().bind_unix(path)
    assert os.lstat(path).st_ino != os.lstat(f"{path}2").st_ino


def test_path_of_a_dropped_socket_stays_while_a_duplicate_is_open(unix, closing, path):
    sock = fastsock.socket(stdlib.AF_UNIX)
    sock.bind_unix(path)
    closing(sock.dup())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del sock
        gc.collect()
    assert os.listdir(os.path.dirname(path)) == ["x.sock"]
