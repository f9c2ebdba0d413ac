# SPDX-License-Identifier: MIT
"""StreamServer: where it listens, how it frames, and what a batch holds."""

import contextlib
import copy
import os
import pickle
import socket as stdlib

import pytest

import fastsock
from fastsock import CloseReason, Delimiter, LengthPrefix
from unit.serving import (
    FRAMINGS,
    LOCAL,
    PREFIX,
    Story,
    check_balance,
    echo,
    join,
    messages_for,
    receive_all,
    receive_exactly,
    serve,
)

__all__ = ["join", "serve"]  # fixtures


def exchange(server, sock, messages=(b"one", b"", b"three")):
    """Send frames, get them back, and end; gives the connection."""
    story = Story(server, echo)
    sock.sendall(PREFIX.encode(messages))
    sock.shutdown(stdlib.SHUT_WR)
    story.until_closed()
    assert receive_all(sock) == PREFIX.encode(messages)
    (connection,) = story.opened
    assert story.frames[connection] == list(messages)
    assert story.reasons() == [CloseReason.EOF]
    return connection


@pytest.mark.parametrize("form", ["tuple", "url", "empty_host"])
def test_server_of_ipv4_echoes(serve, join, form):
    address = {"tuple": LOCAL, "url": "tcp://127.0.0.1:0", "empty_host": ("", 0)}[form]
    server = serve(address)
    name = ("127.0.0.1", server.getsockname()[1])
    sock = join(server, name)
    connection = exchange(server, sock)
    assert connection.closed


@pytest.mark.parametrize("address", [("::1", 0), "tcp://[::1]:0"], ids=["tuple", "url"])
def test_server_of_ipv6_echoes_and_knows_its_peer(serve, join, address):
    server = serve(address)
    sock = join(server)
    story = Story(server)
    assert story.until_open().peer == sock.getsockname()


def test_server_of_every_address_serves_both_families(serve, join):
    server = serve(("::", 0))
    port = server.getsockname()[1]
    socks = [join(server, ("127.0.0.1", port)), join(server, ("::1", port, 0, 0))]
    story = Story(server, echo)
    for sock in socks:
        sock.sendall(PREFIX.encode([b"x"]))
    story.until_frames(2)
    server.flush()
    for sock in socks:
        assert receive_exactly(sock, 5) == PREFIX.encode([b"x"])
    assert {connection.peer[0] for connection in story.opened} == {"::ffff:127.0.0.1", "::1"}


@pytest.mark.parametrize(
    "form", [str, os.fsencode, lambda path: path], ids=["str", "bytes", "path"]
)
def test_server_of_a_unix_path_echoes_and_removes_it(serve, join, tmp_path, form):
    path = tmp_path / "x.sock"
    server = serve(form(path))
    assert server.getsockname() == str(path)
    exchange(server, join(server))
    server.close()
    assert not path.exists()


def test_server_of_an_abstract_name_echoes(serve, join):
    name = b"\0fastsock-test-%d" % os.getpid()
    server = serve(name)
    assert server.getsockname() == name
    exchange(server, join(server))


def test_server_of_a_unix_url_echoes(serve, join, tmp_path):
    server = serve(f"unix://{tmp_path}/x.sock")
    exchange(server, join(server))


@pytest.mark.parametrize("module", [stdlib, fastsock], ids=["stdlib", "fastsock"])
def test_server_of_a_listening_socket_leaves_that_to_its_owner(serve, join, closing, module):
    listener = closing(module.socket())
    listener.bind(LOCAL)
    listener.listen()
    server = serve(listener)
    assert server.getsockname() == listener.getsockname()
    exchange(server, join(server))
    server.close()
    sock = join(listener)
    accepted, name = listener.accept()
    closing(accepted)
    assert name == sock.getsockname()
    assert listener.gettimeout() is None


def test_addresses_of_both_ends_are_told(serve, join):
    server = serve()
    sock = join(server)
    connection = Story(server).until_open()
    assert connection.peer == sock.getsockname()
    assert repr(server).startswith("<fastsock.StreamServer open at tcp://127.0.0.1:")
    assert str(sock.getsockname()[1]) in repr(connection)


def test_peer_is_known_still_when_the_end_is_told(serve, join):
    """Who logs an end wants to say whose."""
    server = serve()
    sock = join(server)
    name = sock.getsockname()
    sock.close()
    story = Story(server)
    story.until_closed()
    (connection,) = story.opened
    assert connection.peer == name
    join(server)  # takes over the number
    story.until_open(2)
    assert connection.peer == name


@pytest.mark.parametrize("nodelay", [True, False])
def test_nodelay_is_that_of_each_connection(serve, join, nodelay):
    server = serve(nodelay=nodelay)
    join(server)
    connection = Story(server).until_open()
    with stdlib.socket(fileno=os.dup(connection.fileno())) as sock:
        assert bool(sock.getsockopt(stdlib.IPPROTO_TCP, stdlib.TCP_NODELAY)) == nodelay
        assert not os.get_inheritable(connection.fileno())


@pytest.mark.parametrize("name", FRAMINGS)
def test_framing_cuts_what_comes_together_and_frames_the_answers(serve, join, name):
    framing, messages = FRAMINGS[name], messages_for(name)
    server = serve(framing=framing, max_frame=400)
    sock = join(server)
    story = Story(server, echo)
    sock.sendall(framing.encode(messages))
    sock.shutdown(stdlib.SHUT_WR)
    story.until_closed()
    assert list(story.frames.values()) == [messages]
    assert receive_all(sock) == framing.encode(messages)
    stats = check_balance(server)
    size = len(framing.encode(messages))
    assert (stats.frames_received, stats.bytes_received) == (len(messages), size)
    assert (stats.frames_queued, stats.bytes_sent) == (len(messages), size)
    assert stats.memory == 0


@pytest.mark.parametrize("name", FRAMINGS)
def test_framing_cuts_what_comes_in_two_parts_split_anywhere(serve, join, name):
    framing, messages = FRAMINGS[name], messages_for(name)[:5]
    stream = framing.encode(messages)
    server = serve(framing=framing, max_frame=400)
    for split in range(1, len(stream)):
        sock = join(server)
        story = Story(server)
        sock.sendall(stream[:split])
        story.until(lambda: server.stats().bytes_received % len(stream) == split)  # noqa: B023
        sock.sendall(stream[split:])
        sock.close()
        story.until_closed()
        assert list(story.frames.values()) == [messages]


@pytest.mark.parametrize("name", FRAMINGS)
def test_framing_cuts_what_comes_byte_by_byte(serve, join, name):
    framing, messages = FRAMINGS[name], messages_for(name)[:5]
    stream = framing.encode(messages)
    server = serve(framing=framing, max_frame=400)
    sock = join(server)
    story = Story(server)
    for count in range(len(stream)):
        sock.sendall(stream[count : count + 1])
        story.until(lambda: server.stats().bytes_received > count)  # noqa: B023
    assert list(story.frames.values()) == [messages]
    assert server.stats().memory == 0


SIZES = [4095, 4096, 4097, 65535, 65536, 65537, 200_000, (1 << 20) - 1, 1 << 20]


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_frames_of_every_size_up_to_max_frame_are_whole(serve, join, in_thread, tmp_path, family):
    # Room for all the answers, if the client comes to reading only when it has sent everything.
    server = serve(LOCAL if family == "tcp" else tmp_path / "x.sock", max_pending=8 << 20)
    sock = join(server)
    messages = [os.urandom(size) for size in SIZES]
    stream = PREFIX.encode(messages)
    story = Story(server, echo)
    sending = in_thread(sock.sendall, stream)
    receiving = in_thread(receive_exactly, sock, len(stream))
    story.until(lambda: receiving.is_done)
    sending.result()
    assert receiving.result() == stream
    assert list(story.frames.values()) == [messages]


@pytest.mark.parametrize("framing", [PREFIX, Delimiter(b"\r\n")], ids=["prefix", "delimiter"])
def test_frame_a_byte_longer_than_max_frame_ends_the_connection(serve, join, in_thread, framing):
    most = 1 << 20
    server = serve(framing=framing, max_frame=most)
    sock = join(server)
    story = Story(server)

    def send():
        with contextlib.suppress(ConnectionError):  # bytes that were on their way make it a reset
            sock.sendall(framing.encode([b"x" * most, b"x" * (most + 1)]))
            receive_all(sock)
        return "ended"

    sending = in_thread(send)
    story.until_closed()
    assert sending.result() == "ended"
    assert story.reasons() == [CloseReason.OVERSIZE]
    assert [len(frame) for frame in next(iter(story.frames.values()))] == [most]


def test_frames_come_in_the_order_of_each_connection(serve, join):
    server = serve()
    socks = [join(server) for _ in range(20)]
    story = Story(server)
    for number in range(50):
        for sock in socks:
            sock.sendall(PREFIX.encode([b"%d %d" % (sock.fileno(), number)]))
    for sock in socks:
        sock.close()
    story.until_closed(20)
    assert set(story.reasons()) == {CloseReason.EOF}
    for frames in story.frames.values():
        name = frames[0].split()[0]
        assert frames == [b"%s %d" % (name, number) for number in range(50)]


def test_more_frames_than_a_batch_has_rows_come_in_the_next(serve, join):
    framing = LengthPrefix(1)
    server = serve(framing=framing)
    sock = join(server)
    story = Story(server)
    count = 50_000
    sock.sendall(framing.encode([b""] * count) + framing.encode([b"end"]))
    sock.shutdown(stdlib.SHUT_WR)
    story.until_closed()
    assert list(story.frames.values()) == [[b""] * count + [b"end"]]
    assert story.batches > 2


def test_views_keep_their_bytes_while_more_batches_come(serve, join):
    server = serve(max_frame=1000)
    sock = join(server)
    kept = []
    for number in range(4):
        sock.sendall(PREFIX.encode([b"%d" % number * 1000]))
        while len(kept) == number:
            kept += [frame for _, frame in server.next_batch(5)]
    assert all(frame.readonly for frame in kept)
    assert [bytes(frame) for frame in kept] == [b"%d" % number * 1000 for number in range(4)]
    server.close()
    assert bytes(kept[3]) == b"3" * 1000


def test_views_of_all_memory_give_enobufs_with_the_cure(serve, join):
    server = serve(max_frame=1000)
    sock = join(server)
    kept = []

    def keep_more():
        for _ in range(20):
            sock.sendall(PREFIX.encode([b"x" * 1000]))
            kept.append(server.next_batch(5))

    with pytest.raises(OSError, match=r"bytes\(frame\)") as caught:
        keep_more()
    assert caught.value.errno == 105  # ENOBUFS
    assert len(kept) == 8
    with pytest.raises(OSError, match=r"bytes\(frame\)"):
        server.next_batch(0)
    kept.clear()
    assert len(server.next_batch(5)) == 1


def test_batch_tells_where_its_frames_are(serve, join):
    server = serve()
    sock = join(server)
    story = Story(server)
    story.until_open()
    sock.sendall(PREFIX.encode([b"one", b"", b"three"]))
    batch = server.next_batch(5)
    assert len(batch) == 3
    assert "3 frames, 0 opened, 0 closed" in repr(batch)
    assert (batch.offsets.format, batch.lengths.format) == ("Q", "I")
    spans = zip(batch.offsets, batch.lengths, strict=True)
    assert [bytes(batch.data[at : at + size]) for at, size in spans] == [b"one", b"", b"three"]
    assert [bytes(batch[index][1]) for index in (0, -1)] == [b"one", b"three"]
    assert batch[1][0] is story.opened[0]
    for index in (3, -4):
        with pytest.raises(IndexError):
            batch[index]


def test_context_is_the_programs_own(serve, join):
    server = serve()
    join(server)
    connection = Story(server).until_open()
    assert connection.context is None
    connection.context = {"name": "x"}
    assert connection.context == {"name": "x"}


def test_connection_and_batch_are_neither_copied_nor_made(serve, join):
    server = serve()
    join(server)
    batch = server.next_batch(5)
    for whole in (batch, batch.opened[0], server):
        for copier in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError):
                copier(whole)
    with pytest.raises(TypeError):
        len(fastsock.ServerBatch())
    with pytest.raises(TypeError):
        fastsock.Connection().send(b"")


def test_number_of_an_ended_connection_is_not_the_new_ones(serve, join):
    """A Connection that the program still holds never reaches the one that came after it."""
    server = serve()
    story = Story(server)
    first = join(server)
    old = story.until_open()
    first.close()
    story.until_closed()
    second = join(server)
    new = story.until_open(2)
    assert old.send(b"to nobody") is False
    assert (old.pending, old.fileno()) == (0, -1)
    old.close()
    assert new.send(b"to the second") is True
    server.flush()
    assert receive_exactly(second, 17) == PREFIX.encode([b"to the second"])
    assert not new.closed
