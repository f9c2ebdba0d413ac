# SPDX-License-Identifier: MIT
"""The same program run on the standard library's sockets and on fastsock's, and compared.

A program is a list of steps. A step is either a call of a method of the socket under test, its
arguments written as Python expressions (so each side makes its own objects, and a failing example
reads as code), or something that happens to the socket: its peer sends, closes, connects.

What the two sides must agree on: the result with the type of each part, or the exact class of the
exception and its errno; what stands in every writable argument afterwards; that no argument is
still pinned; what reached the peer; and that no descriptor is left open. Texts of exceptions may
differ. The deliberate differences stand in known.py.

Nothing here can wait for ever: each socket has SO_RCVTIMEO and SO_SNDTIMEO, which end a blocking
call with EAGAIN, and which both sides must treat alike.
"""

import _socket
import array
import contextlib
import ctypes
import dataclasses
import mmap
import os
import select
import socket as stdlib
import struct
import tempfile

import fastsock
from property.known import Either, may_try_first, readiness, without_known_differences
from property.programs import Call, Event, names_of_programs

KERNEL_TIMEOUT = struct.pack("ll", 0, 10_000)  # struct timeval: 10 ms
SETTLE_MS = 20  # loopback delivers at once; on a busy machine a moment later
SMALL_SEND_BUFFER = 16384
RUNS = 3


# --- One side -----------------------------------------------------------------------------------


class World:
    """The sockets of one kind, made of one module's class; `sock` is the one under test."""

    def __init__(self, module, kind, timeout):
        self.module = module
        self.stack = contextlib.ExitStack()
        self.labels = {}
        self.peer = None
        self.clients = 0
        try:
            # Of one length on both sides, so that a path is too long on both or on none.
            self.folder = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="fsk"))
            self.stack.callback(self.undo_detach)
            self.detached = []
            self.file = os.open(os.devnull, os.O_RDONLY)
            self.stack.callback(os.close, self.file)
            KINDS[kind](self)
            for sock in filter(None, (self.sock, self.peer)):
                self.limit(sock)
            self.sock.settimeout(timeout)
            if self.peer is not None:
                self.peer.setblocking(False)
            self.label(self.sock, "sock")
            self.label(self.peer, "peer")
        except BaseException:
            self.stack.close()
            raise
        self.names = names_of_programs()
        self.names.update(
            peer=self.peer_name(),
            folder=self.folder,
            fds=array.array("i", [self.file]),
            mapped=self.mapped,
            ctypes_array=lambda size: (ctypes.c_char * size)(),
        )
        self.names["port"] = self.names["peer"][1] if isinstance(self.names["peer"], tuple) else 9

    def make(self, family, kind):
        sock = self.stack.enter_context(self.module.socket(family, kind))
        sock.settimeout(5)
        return sock

    def adopt(self, fd):
        return self.stack.enter_context(self.module.socket(fileno=fd))

    def limit(self, sock):
        sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVTIMEO, KERNEL_TIMEOUT)
        sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_SNDTIMEO, KERNEL_TIMEOUT)
        if sock.family == stdlib.AF_UNIX:
            sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_SNDBUF, SMALL_SEND_BUFFER)

    def label(self, sock, text):
        """Let an address, which is another one on each side, be compared by name."""
        if sock is not None and (name := sock.getsockname()):
            self.labels[name] = text

    def peer_name(self):
        return self.peer.getsockname() if self.peer is not None else self.sock.getsockname()

    def mapped(self, size):
        # Closing it fails while anybody still has its buffer.
        return self.stack.enter_context(mmap.mmap(-1, size))

    def undo_detach(self):
        for fd in self.detached:
            os.close(fd)

    # Events

    def feed(self, data):
        """The peer sends data; True for one byte out of band."""
        if self.peer is None:
            return "no peer"
        message, flags = (b"!", stdlib.MSG_OOB) if data is True else (data, 0)
        try:
            done = _socket.socket.send(self.peer, message, flags)
        except OSError as error:
            return type(error), error.errno
        self.settle(self.sock, select.POLLIN)
        return done

    def feed_descriptor(self, _):
        if self.peer is None or self.sock.family != stdlib.AF_UNIX:
            return "no peer"
        rights = [(stdlib.SOL_SOCKET, stdlib.SCM_RIGHTS, self.names["fds"])]
        try:
            return _socket.socket.sendmsg(self.peer, [b"fd"], rights)
        except OSError as error:
            return type(error), error.errno

    def drain(self, _):
        """Return what the socket under test has sent."""
        if self.peer is None or self.peer.fileno() == -1:
            return "no peer"
        self.settle(self.peer, select.POLLIN, 0)
        found = []
        for _turn in range(50):
            try:
                result = _socket.socket.recvmsg(self.peer, 200_000, 256)
            except OSError as error:
                return [*found, error.errno]
            found.append(self.plain(self.without_descriptors(result)))
            if not result[0] and self.peer.type != stdlib.SOCK_DGRAM:
                break
        return found

    def close_peer(self, _):
        if self.peer is not None:
            self.peer.close()
            self.settle(self.sock, select.POLLIN)

    def shut_peer(self, how):
        if self.peer is None:
            return None
        try:
            self.peer.shutdown(how)
        except OSError as error:
            return error.errno
        self.settle(self.sock, select.POLLIN)
        return None

    def connect_client(self, _):
        """A plain socket of the standard library connects to the one under test."""
        if self.sock.fileno() == -1:
            return "closed"
        client = stdlib.socket(self.sock.family, self.sock.type)
        self.stack.enter_context(client)
        client.setblocking(False)
        try:
            client.connect(self.sock.getsockname())
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                return error.errno
        self.label(client, f"client {self.clients}")
        self.clients += 1
        self.settle(self.sock, select.POLLIN)
        return None

    def close_socket(self, _):
        self.sock.close()

    def detach_socket(self, _):
        fd = self.sock.detach()
        if fd != -1:
            self.detached.append(fd)
        return fd == -1

    def set_timeout(self, seconds):
        with contextlib.suppress(OSError):
            self.sock.settimeout(seconds)

    def shut_socket(self, how):
        try:
            self.sock.shutdown(how)
        except OSError as error:
            return error.errno
        return None

    def set_option(self, option):
        level, name, value = option
        try:
            self.sock.setsockopt(level, name, value)
        except OSError as error:
            return error.errno
        return None

    def settle(self, sock, event, limit=SETTLE_MS):
        if sock.fileno() != -1:
            poll = select.poll()
            poll.register(sock, event)
            return bool(poll.poll(limit))
        return False

    # Calls

    def call(self, step):
        """Call as the step says. The standard library's socket tries without waiting first."""
        timeout = self.sock.gettimeout()
        if self.module is stdlib and timeout and may_try_first(step, self.sock):
            is_ready = self.settle(self.sock, readiness(step), 0)
            self.sock.settimeout(0)
            # sendall that stops half-way doesn't tell where.
            is_sendall = step.method == "sendall"
            tried = dataclasses.replace(step, method="send") if is_sendall else step
            outcome, after = self.call_once(tried)
            self.sock.settimeout(timeout)
            if is_sendall and outcome[0] == "returned":
                return self.send_rest(step, outcome[1][1]), after
            if outcome[0] == "raised" and outcome[1] is not BlockingIOError and not is_ready:
                return Either(((outcome, after), (("raised", TimeoutError, None), after)))
            if outcome[1] is not BlockingIOError:
                return outcome, after
        return self.call_once(step)

    def send_rest(self, step, sent):
        """Go on with a sendall whose first try took `sent` bytes."""
        rest = bytes(memoryview(eval(step.arguments[0], self.names)))[sent:]
        if not rest:
            return "returned", (type(None), None)
        return self.call_once(Call("sendall", (repr(rest), *step.arguments[1:])))[0]

    def call_once(self, step):
        values = [eval(text, self.names) for text in step.arguments]
        keywords = {name: eval(text, self.names) for name, text in step.keywords}
        try:
            result = getattr(self.sock, step.method)(*values, **keywords)
        except Exception as error:
            outcome = "raised", type(error), getattr(error, "errno", None)
        else:
            if step.method.startswith("send") and self.peer is not None:
                self.settle(self.peer, select.POLLIN, SETTLE_MS if result != 0 else 0)
            outcome = "returned", self.plain(self.without_descriptors(result))
        after = [contents(value) for value in [*values, *keywords.values()]]
        folder = os.fsencode(self.folder)
        return outcome, [
            data.replace(folder, b"folder") if isinstance(data, bytes) else data for data in after
        ]

    def without_descriptors(self, result):
        """Close what came by SCM_RIGHTS and put the count in its place."""
        if not isinstance(result, tuple) or len(result) != 4 or not isinstance(result[1], list):
            return result
        items = []
        for level, kind, data in result[1]:
            if (level, kind) == (stdlib.SOL_SOCKET, stdlib.SCM_RIGHTS):
                fds = array.array("i", data[: len(data) - len(data) % 4])
                flags = [os.get_inheritable(fd) for fd in fds]
                for fd in fds:
                    os.close(fd)
                items.append((level, kind, flags))
            else:
                items.append((level, kind, data))
        return result[0], items, *result[2:]

    def plain(self, value):
        """Return value with types spelt out, addresses and sockets by name."""
        # It may have got its name just now: sending binds a socket that has none.
        if self.sock.fileno() != -1:
            self.label(self.sock, "sock")
        # Compared, not looked up: a tuple of a result need not be hashable.
        for name, text in self.labels.items():
            if type(value) is type(name) and value == name:
                return type(value), text
        if isinstance(value, (tuple, list)):
            return type(value), [self.plain(item) for item in value]
        if isinstance(value, stdlib.socket):
            self.stack.enter_context(value)
            facts = (value.family, value.type, value.proto, value.gettimeout())
            flags = os.get_inheritable(value.fileno()), os.get_blocking(value.fileno())
            return type(value) is self.module.socket, facts, flags
        return type(value), value


def contents(value):
    """Return what stands in a writable buffer and whether it can be resized; lists by item."""
    if isinstance(value, (list, tuple)):
        return [contents(item) for item in value]
    if isinstance(value, bytearray):
        try:
            value.append(0)
        except BufferError:
            return "still pinned"
        return bytes(value)
    try:
        view = memoryview(value)
        return None if view.readonly else bytes(view)
    except (TypeError, ValueError):
        return None


# --- Kinds --------------------------------------------------------------------------------------


def host_of(family):
    return "::1" if family == stdlib.AF_INET6 else "127.0.0.1"


def udp(family, is_connected=True):
    def build(world):
        world.sock = world.make(family, stdlib.SOCK_DGRAM)
        world.peer = world.make(family, stdlib.SOCK_DGRAM)
        world.sock.bind((host_of(family), 0))
        world.peer.bind((host_of(family), 0))
        world.peer.connect(world.sock.getsockname())
        if is_connected:
            world.sock.connect(world.peer.getsockname())

    return build


def tcp(family):
    def build(world):
        with stdlib.socket(family, stdlib.SOCK_STREAM) as listener:
            listener.bind((host_of(family), 0))
            listener.listen()
            world.sock = world.make(family, stdlib.SOCK_STREAM)
            world.sock.connect(listener.getsockname())
            world.peer = world.adopt(listener._accept()[0])
        for sock in (world.sock, world.peer):
            sock.setsockopt(stdlib.IPPROTO_TCP, stdlib.TCP_NODELAY, 1)

    return build


def unix_pair(kind):
    def build(world):
        one, other = _socket.socketpair(stdlib.AF_UNIX, kind)
        world.sock, world.peer = world.adopt(one.detach()), world.adopt(other.detach())

    return build


def unix_bound(world):
    """A path on the one side, an abstract name on the other; only the peer is connected."""
    world.sock = world.make(stdlib.AF_UNIX, stdlib.SOCK_DGRAM)
    world.sock.bind(os.path.join(world.folder, "sock"))
    world.peer = world.make(stdlib.AF_UNIX, stdlib.SOCK_DGRAM)
    world.peer.bind("")
    world.peer.connect(world.sock.getsockname())


def fresh(family, kind):
    def build(world):
        world.sock = world.make(family, kind)

    return build


def listener(family, kind):
    def build(world):
        world.sock = world.make(family, kind)
        name = os.path.join(world.folder, "sock")
        world.sock.bind(name if family == stdlib.AF_UNIX else (host_of(family), 0))
        world.sock.listen()

    return build


PAIRS = {
    "udp_ipv4": udp(stdlib.AF_INET),
    "udp_ipv6": udp(stdlib.AF_INET6),
    "udp_ipv4_unconnected": udp(stdlib.AF_INET, is_connected=False),
    "udp_ipv6_unconnected": udp(stdlib.AF_INET6, is_connected=False),
    "tcp_ipv4": tcp(stdlib.AF_INET),
    "tcp_ipv6": tcp(stdlib.AF_INET6),
    "unix_stream": unix_pair(stdlib.SOCK_STREAM),
    "unix_datagram": unix_pair(stdlib.SOCK_DGRAM),
    "unix_seqpacket": unix_pair(stdlib.SOCK_SEQPACKET),
    "unix_datagram_unconnected": unix_bound,
}
FRESH = {
    "fresh_tcp": fresh(stdlib.AF_INET, stdlib.SOCK_STREAM),
    "fresh_udp_ipv6": fresh(stdlib.AF_INET6, stdlib.SOCK_DGRAM),
    "fresh_unix_stream": fresh(stdlib.AF_UNIX, stdlib.SOCK_STREAM),
}
LISTENERS = {
    "tcp_ipv4_listener": listener(stdlib.AF_INET, stdlib.SOCK_STREAM),
    "tcp_ipv6_listener": listener(stdlib.AF_INET6, stdlib.SOCK_STREAM),
    "unix_stream_listener": listener(stdlib.AF_UNIX, stdlib.SOCK_STREAM),
    "unix_seqpacket_listener": listener(stdlib.AF_UNIX, stdlib.SOCK_SEQPACKET),
}
KINDS = {**PAIRS, **FRESH, **LISTENERS}


# --- Comparison ---------------------------------------------------------------------------------


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def run(module, kind, timeout, steps):
    """Return the outcome of each step, and at the end what is left in the world."""
    before = descriptors()
    world = World(module, kind, timeout)
    outcomes = []
    with world.stack:
        for step in [*steps, Event("drain")]:
            if isinstance(step, Event):
                outcomes.append(getattr(world, step.name)(step.argument))
            else:
                outcomes.append(without_known_differences(step, world, world.call(step)))
    return [*outcomes, ("descriptors left", descriptors() - before)]


def agree(theirs, ours):
    return theirs == ours or (isinstance(theirs, Either) and ours in theirs)


def difference(kind, timeout, steps):
    """Return how the two sides differ, as text, or "".

    A step that depends on the moment (a segment of TCP that comes late) may differ once. What
    counts differs in each of RUNS runs.
    """
    for _ in range(RUNS):
        theirs = run(stdlib, kind, timeout, steps)
        ours = run(fastsock, kind, timeout, steps)
        if all(map(agree, theirs, ours)):
            return ""
    lines = [f"{kind}, timeout {timeout}"]
    for step, one, other in zip(
        [*steps, "what reached the peer", "end"], theirs, ours, strict=True
    ):
        lines.append(f"    {step}")
        if not agree(one, other):
            lines += [f"        stdlib   {one!r:.500}", f"        fastsock {other!r:.500}"]
    return "\n".join(lines)
