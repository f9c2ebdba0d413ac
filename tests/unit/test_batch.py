# SPDX-License-Identifier: MIT
"""Batch and Message: columns, views, memory and lifetimes. How it is filled: test_recv_batch.py."""

import array
import ctypes
import gc
import os
import resource
import socket as stdlib
import struct
import sys

import pytest

import fastsock
from unit.calls import outcome
from unit.many import SOME, numbered, send_all, waits

COLUMNS = {"offsets": "Q", "lengths": "I", "wire_lengths": "I", "flags": "I", "source": "I"}
METADATA = {
    "timestamps_ns": ("q", "timestamp"),
    "destination": ("I", "destination"),
    "interface": ("I", "destination"),
    "hop_limit": ("B", "hop_limit"),
    "tos": ("B", "tos"),
}
PyBUF_WRITABLE = 1
ROW = 64  # bytes a message beside the arena


def contents(batch):
    return [message.bytes() for message in batch]


@pytest.fixture
def fill(make_pair):
    """Return fill(batch, *messages), which receives them into it; they come by a Unix socket."""
    sock, peer = make_pair("unix_datagram")

    def fill(batch, *messages):
        send_all(peer, messages)
        assert sock.recv_batch(batch) == len(messages)
        return batch

    return fill


# Columns


def test_columns_describe_each_message(udp_pair):
    sock, peer = udp_pair
    batch = fastsock.Batch(10, 5)
    messages = [b"abc", b"", b"12345", b"123456789"]
    send_all(peer, messages)
    sock.recv_batch(batch)
    assert list(batch.lengths) == [3, 0, 5, 5]
    assert list(batch.wire_lengths) == [3, 0, 5, 9]
    assert list(batch.flags) == [0, 0, 0, batch.TRUNCATED]
    assert list(batch.source) == [0, 0, 0, 0]
    assert list(batch.sources) == [peer.getsockname()]
    data = bytes(batch.data)
    stored = [
        data[offset:][:length] for offset, length in zip(batch.offsets, batch.lengths, strict=True)
    ]
    assert stored == [message[:5] for message in messages]


@pytest.mark.parametrize(("name", "code"), COLUMNS.items(), ids=COLUMNS)
def test_column_is_a_read_only_view_as_long_as_the_batch(fill, name, code):
    batch = fill(fastsock.Batch(10, 100), *SOME)
    column = getattr(batch, name)
    assert type(column) is memoryview
    assert (column.format, column.itemsize) == (code, struct.calcsize(f"={code}"))
    assert (column.ndim, column.shape, column.strides) == (1, (3,), (column.itemsize,))
    assert column.readonly
    assert column.contiguous
    assert array.array(code, column).tolist() == list(column)
    with pytest.raises(TypeError, match="read-only"):
        column[0] = 1


def test_data_is_a_read_only_view_of_the_filled_part(fill):
    batch = fill(fastsock.Batch(10, 100), *SOME)
    data = batch.data
    assert (data.format, data.itemsize, data.ndim, data.readonly) == ("B", 1, 1, True)
    assert len(data) == batch.offsets[2] + batch.lengths[2] <= 10 * 100
    with pytest.raises(TypeError, match="read-only"):
        data[0] = 0


def test_empty_batch_has_empty_columns():
    batch = fastsock.Batch(10, 100)
    assert len(batch) == 0
    assert [len(getattr(batch, name)) for name in COLUMNS] == [0] * len(COLUMNS)
    assert (bytes(batch.data), list(batch.sources), list(batch)) == (b"", [], [])
    assert not batch


@pytest.mark.parametrize("name", ["data", *COLUMNS])
def test_writable_request_raises_buffer_error(fill, name):
    batch = fill(fastsock.Batch(10, 100), *SOME)
    view = getattr(batch, name)
    buffer = ctypes.create_string_buffer(200)  # a Py_buffer has 80 bytes
    with pytest.raises(BufferError, match="read-only"):
        ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(view.obj), buffer, PyBUF_WRITABLE)


def test_columns_with_numpy_share_the_memory(fill):
    numpy = pytest.importorskip("numpy", reason="the bench's extra only")
    batch = fill(fastsock.Batch(10, 100), *SOME)
    for name, code in COLUMNS.items():
        view = getattr(batch, name)
        column = numpy.asarray(view)
        assert column.dtype == numpy.dtype(f"={code}")
        assert not column.flags.writeable
        assert numpy.shares_memory(column, numpy.asarray(getattr(batch, name)))
        assert column.tolist() == view.tolist()
    data = numpy.frombuffer(batch.data, numpy.uint8)
    assert data[: len(SOME[0])].tobytes() == SOME[0]


@pytest.mark.parametrize("name", [*METADATA, "destinations"])
def test_column_of_metadata_that_was_not_asked_for_names_set_metadata(fill, name):
    batch = fill(fastsock.Batch(10, 100), *SOME)
    option = METADATA[name][1] if name in METADATA else "destination"
    with pytest.raises(AttributeError, match=rf"{name}.*set_metadata\({option}=True\)"):
        getattr(batch, name)
    assert not hasattr(fastsock.Batch(), name)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("timestamp_ns", "timestamp"),
        ("destination", "destination"),
        ("interface", "destination"),
        ("hop_limit", "hop_limit"),
        ("tos", "tos"),
    ],
)
def test_message_metadata_that_was_not_asked_for_names_set_metadata(fill, name, option):
    (message,) = fill(fastsock.Batch(10, 100), b"one")
    with pytest.raises(AttributeError, match=rf"{name}.*set_metadata\({option}=True\)"):
        getattr(message, name)


def test_sources_are_the_distinct_senders_of_this_fill_only(closing):
    sock = closing(fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    peers = [closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM)) for _ in range(30)]
    for peer in peers:
        peer.connect(sock.getsockname())
    batch = fastsock.Batch(200, 10)
    for senders in (peers, peers[:2], peers[10:]):
        order = [senders[number * 7 % len(senders)] for number in range(100)]
        for peer in order:
            peer.send(b"x")
        sock.recv_batch(batch)
        names = [peer.getsockname() for peer in order]
        assert [batch.sources[number] for number in batch.source] == names
        assert [message.address for message in batch] == names
        assert sorted(batch.sources) == sorted(set(names))


def test_message_of_unnamed_sender_has_no_address(fill):
    batch = fill(fastsock.Batch(10, 100), *SOME)
    assert list(batch.source) == [batch.NO_ADDRESS] * 3
    assert list(batch.sources) == []
    assert [message.address for message in batch] == [None] * 3


# Rows


def test_message_tells_its_row(udp_pair):
    sock, peer = udp_pair
    batch = fastsock.Batch(10, 5)
    send_all(peer, [b"123456789", b"ab"])
    sock.recv_batch(batch)
    cut, whole = batch
    assert (cut.bytes(), bytes(cut.data), bytes(cut), len(cut)) == (b"12345",) * 3 + (5,)
    assert (cut.wire_length, cut.truncated, cut.address) == (9, True, peer.getsockname())
    assert (whole.bytes(), whole.wire_length, whole.truncated) == (b"ab", 2, False)
    assert (whole.data.readonly, whole.data.format) == (True, "B")
    assert "1" in repr(whole)
    assert type(whole) is fastsock.Message


def test_batch_index_counts_from_both_ends(fill):
    batch = fill(fastsock.Batch(10, 100), *SOME)
    assert [batch[row].bytes() for row in (0, 1, 2, -1, -2, -3)] == SOME + SOME[::-1]
    for row in (3, -4, 10, 2**31, -(2**31), 2**70):
        with pytest.raises(IndexError):
            batch[row]
    for row in ("0", None, 1.0, slice(0, 1)):
        with pytest.raises(TypeError):
            batch[row]


def test_batch_is_iterable_more_than_once(fill):
    batch = fill(fastsock.Batch(10, 100), *SOME)
    assert contents(batch) == contents(batch) == SOME
    one, other = iter(batch), iter(batch)
    assert next(one).bytes() == next(other).bytes() == SOME[0]
    assert iter(one) is one
    assert [message.bytes() for message in one] == SOME[1:]
    with pytest.raises(StopIteration):
        next(one)
    assert next(other).bytes() == SOME[1]


USES = {
    "data": lambda message: message.data,
    "bytes": lambda message: message.bytes(),
    "__bytes__": bytes,
    "len": len,
    "address": lambda message: message.address,
    "wire_length": lambda message: message.wire_length,
    "truncated": lambda message: message.truncated,
    "timestamp_ns": lambda message: message.timestamp_ns,
    "destination": lambda message: message.destination,
    "interface": lambda message: message.interface,
    "hop_limit": lambda message: message.hop_limit,
    "tos": lambda message: message.tos,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_message_after_the_next_receive_is_stale(fill, use):
    batch = fill(fastsock.Batch(10, 100), *SOME)
    message = batch[0]
    fill(batch, *SOME)
    with pytest.raises(fastsock.StaleMessageError, match="keep"):
        use(message)
    assert repr(message)


def test_message_and_iterator_are_stale_after_a_receive_that_brought_nothing(fill, make_pair):
    batch = fill(fastsock.Batch(10, 100), *SOME)
    message, iterator = batch[0], iter(batch)
    sock, _ = make_pair("udp_ipv4")
    with pytest.raises(BlockingIOError):
        sock.recv_batch(batch, timeout=0)
    assert len(batch) == 0
    with pytest.raises(fastsock.StaleMessageError):
        message.bytes()
    with pytest.raises(fastsock.StaleMessageError):
        next(iterator)
    assert issubclass(fastsock.StaleMessageError, RuntimeError)


def test_iterator_after_the_next_receive_is_stale(fill):
    batch = fill(fastsock.Batch(10, 100), *SOME)
    iterator = iter(batch)
    next(iterator)
    fill(batch, *SOME)
    with pytest.raises(fastsock.StaleMessageError):
        next(iterator)


# Views and slabs


def test_loop_that_keeps_its_last_view_goes_on_with_two_slabs(fill):
    batch = fastsock.Batch(10, 100)
    size = batch.nbytes
    for turn in range(300):
        expected = numbered(3, turn)
        fill(batch, *expected)
        for number, message in enumerate(batch):
            data = message.data
            lengths = batch.lengths
            assert data == expected[number]
        assert batch.slabs <= 2
        assert batch.nbytes == batch.slabs * size
    assert (bytes(data), list(lengths)) == (b"301", [3] * 3)


def test_loop_without_kept_views_stays_with_one_slab(fill):
    batch = fastsock.Batch(10, 100)
    for _ in range(50):
        fill(batch, *SOME)
        assert [bytes(message.data) for message in batch] == SOME
        assert batch.slabs == 1


@pytest.mark.parametrize("name", ["data", *COLUMNS])
def test_kept_view_is_never_overwritten(fill, name):
    batch = fastsock.Batch(10, 100)
    fill(batch, b"first", b"x")
    view, before = getattr(batch, name), getattr(batch, name).tolist()
    for number in range(10):
        fill(batch, b"y" * (number + 1), b"z" * 50, b"z")
        assert view.tolist() == before
    assert batch.slabs == 2


def test_view_of_a_view_keeps_the_slab_too(fill):
    batch = fastsock.Batch(10, 100)
    part = fill(batch, b"abcdef")[0].data[2:4].cast("c")
    for _ in range(5):
        fill(batch, b"XXXXXX")
    assert part.tobytes() == b"cd"


def test_views_of_all_fills_keep_their_own_messages_and_then_free_their_slabs(fill):
    batch = fastsock.Batch(10, 100)
    views = []
    for number in range(20):
        views.append(fill(batch, b"%d" % number)[0].data)
    assert [bytes(view) for view in views] == numbered(20)
    assert batch.slabs == 20
    del views
    gc.collect()
    for _ in range(3):
        fill(batch, b"x")
    # The slabs were wanted by the views alone.
    assert batch.slabs <= 2
    assert batch.nbytes == batch.slabs * 10 * (100 + ROW)


def test_views_outlive_the_batch(fill):
    batch = fill(fastsock.Batch(10, 100), *SOME)
    views = [message.data for message in batch]
    lengths, message = batch.lengths, batch[1]
    del batch
    gc.collect()
    assert [bytes(view) for view in views] == SOME
    assert list(lengths) == [len(message) for message in SOME]
    assert message.bytes() == SOME[1]


def test_released_view_frees_its_slab(fill):
    batch = fill(fastsock.Batch(10, 100), *SOME)
    for _ in range(10):
        with batch.data as data:
            assert len(data) > 0
        fill(batch, *SOME)
    assert batch.slabs == 1


# Sizes


@pytest.mark.parametrize(
    ("capacity", "max_message"), [(1, 1), (10, 100), (1024, 2048), (7, 65_535)]
)
def test_nbytes_of_a_fresh_batch_is_the_arena_and_64_bytes_a_message(capacity, max_message):
    batch = fastsock.Batch(capacity, max_message)
    assert batch.nbytes == capacity * (max_message + ROW)
    assert (batch.capacity, batch.max_message, batch.slabs) == (capacity, max_message, 1)


def test_batch_has_default_sizes_and_keywords():
    assert fastsock.Batch().nbytes == 1024 * (2048 + ROW)
    batch = fastsock.Batch(max_message=3, capacity=2)
    assert (batch.capacity, batch.max_message) == (2, 3)
    assert "capacity 2" in repr(batch)


def test_nbytes_of_ordinary_addresses_does_not_grow(udp_pair):
    sock, peer = udp_pair
    batch = fastsock.Batch(10, 100)
    send_all(peer, SOME)
    sock.recv_batch(batch)
    assert batch.nbytes == 10 * (100 + ROW)


def test_nbytes_grows_with_metadata(make_pair):
    sock, peer = make_pair("udp_ipv4")
    batch = fastsock.Batch(10, 100)
    try:
        sock.set_metadata(hop_limit=True)
    except fastsock.CapabilityError as error:
        pytest.skip(f"set_metadata(hop_limit=True) was tried and gave: {error}")
    send_all(peer, SOME)
    sock.recv_batch(batch)
    assert batch.nbytes == 10 * (100 + ROW + 64)


def test_nbytes_grows_with_long_unix_names(closing, tmp_path):
    sock = closing(fastsock.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    sock.bind(str(tmp_path / "receiver"))
    peer = closing(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    peer.bind(b"\0" + b"fastsock-%d-" % os.getpid() + b"x" * 60)
    batch = fastsock.Batch(10, 100)
    peer.sendto(b"x", sock.getsockname())
    sock.recv_batch(batch)
    assert batch[0].address == peer.getsockname()
    assert batch.nbytes == 10 * (100 + ROW + 132)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0,), ValueError),
        ((-1,), ValueError),
        ((1, 0), ValueError),
        ((1, -1), ValueError),
        ((2**31,), ValueError),
        ((1, 2**31), ValueError),
        ((2**70,), ValueError),
        (("1",), TypeError),
        ((1.5,), TypeError),
        ((1, 2.0), TypeError),
        ((None,), TypeError),
        ((1, 1, 1), TypeError),
    ],
)
def test_batch_of_wrong_sizes_raises(arguments, error):
    with pytest.raises(error):
        fastsock.Batch(*arguments)


def test_batch_of_absurd_size_raises_memory_error_with_the_sizes():
    size = 2**31 - 1
    with pytest.raises(MemoryError, match=rf"{size} messages of {size} bytes"):
        fastsock.Batch(size, size)


# Two threads


@pytest.mark.parametrize("timeout", [None, 60], ids=["blocking", "timeout"])
def test_second_thread_in_a_batch_gets_runtime_error(
    message_pair, timeout, in_thread, wait_until, fill
):
    sock, peer = message_pair
    batch = fill(fastsock.Batch(10, 100), *SOME)
    message, iterator = batch[0], iter(batch)
    task = in_thread(sock.recv_batch, batch, minimum=2, timeout=timeout)
    wait_until(lambda: waits(task, sock))
    assert len(batch) == 0
    peer.send(b"one")
    wait_until(lambda: len(batch) == 1 and waits(task, sock))
    for use in (
        lambda: sock.recv_batch(batch),
        lambda: sock.recv_batch(batch, timeout=0),
        lambda: batch.data,
        lambda: batch.lengths,
        lambda: batch.sources,
        lambda: batch[0],
        lambda: next(iter(batch)).bytes(),
    ):
        with pytest.raises(RuntimeError, match="another thread"):
            use()
    assert outcome(message.bytes)[0] is fastsock.StaleMessageError
    assert outcome(next, iterator)[0] is fastsock.StaleMessageError
    peer.send(b"two")
    assert task.result() == 2
    assert contents(batch) == [b"one", b"two"]


# No allocation that stays


def resident_kib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024


@pytest.mark.parametrize(
    "receives",
    [
        pytest.param(100_000, id="100000"),
        pytest.param(1_000_000, id="1000000", marks=[pytest.mark.long, pytest.mark.timeout(200)]),
    ],
)
def test_many_receives_allocate_nothing_that_stays(fill, receives):
    batch = fastsock.Batch(10, 100)
    messages = numbered(3)

    def run(count):
        for _ in range(count):
            fill(batch, *messages)
            for message in batch:
                data = message.data
            assert data == b"2"
            assert len(batch.sources) + sum(batch.lengths) == 3

    def measured():
        run(500)
        gc.collect()
        return len(gc.get_objects()), sys.getallocatedblocks(), resident_kib()

    measured()
    objects, blocks, resident = measured()
    run(receives)
    objects_now, blocks_now, resident_now = measured()
    assert abs(objects_now - objects) < 20
    assert blocks_now < blocks + 200
    # AddressSanitizer keeps what is freed, and finds leaks by itself.
    if "asan" not in os.environ.get("LD_PRELOAD", ""):
        assert resident_now < resident + 8192
    assert batch.slabs <= 2
