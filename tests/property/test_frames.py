# SPDX-License-Identifier: MIT
"""A FrameWriter and a FrameReader over a socket pair give what plain Python would.

A program writes and reads by turns, each call with its own way, size and timeout. The model is the
list of frames and a position in it.
"""

import contextlib
import dataclasses
import errno

from hypothesis import given, settings
from hypothesis import strategies as st

import fastsock

SIZES = [0, 1, 1, 2, 3, 10, 10, 100, 127, 128, 1000, 4096, 40_000, 65_535, 65_536, 100_000]
WAITS = (BlockingIOError, TimeoutError)


@dataclasses.dataclass(frozen=True)
class Step:
    way: str
    count: int
    timeout: float


def framings():
    sizes = st.sampled_from([4, 8, "varint"])
    prefixes = st.one_of(
        sizes.map(fastsock.LengthPrefix),
        st.booleans().map(
            lambda header: fastsock.LengthPrefix(4, "little", includes_header=header)
        ),
    )
    separators = st.sampled_from([b"\n", b"\r\n", b"aab", b"abab"])
    delimiters = st.builds(fastsock.Delimiter, separators, keep=st.booleans())
    fixed = st.sampled_from([1, 7, 70_000]).map(fastsock.FixedSize)
    return st.one_of(prefixes, delimiters, fixed)


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(["write", "send", "many", "one", "batch", "small_batch", "own", "raw"]),
        st.sampled_from([1, 2, 5, 100]),
        st.sampled_from([0, 0, 0.001]),
    ),
    max_size=40,
)


def frame_for(framing, size):
    """A frame of about that size which the framing can send."""
    text = repr(framing)
    if text.startswith("FixedSize"):
        return b"f" * int(text[len("FixedSize(") : -1])
    if text.startswith("Delimiter"):
        separator = next(s for s in (b"\r\n", b"\n", b"aab", b"abab") if repr(s) in text)
        return b"z" * size + (separator if "keep" in text else b"")
    return bytes([size % 251]) * size


class World:
    def __init__(self, framing, sizes, readahead, stack):
        one, other = fastsock.socketpair()
        self.writing, self.reading = stack.enter_context(one), stack.enter_context(other)
        self.framing = framing
        self.frames = [frame_for(framing, size) for size in sizes]
        self.writer = fastsock.FrameWriter(self.writing, framing)
        self.reader = fastsock.FrameReader(self.reading, framing, readahead=readahead)
        self.rows = fastsock.Batch(5, 30_000)
        self.few_rows = fastsock.Batch(3, 100)
        self.received = []

    def run(self, step):
        with contextlib.suppress(*WAITS):
            getattr(self, step.way)(step)
        assert self.received == self.frames[: len(self.received)]
        assert self.writer.sent <= len(self.frames)

    def write(self, step):
        self.writing.settimeout(step.timeout)
        sent = self.writer.sent
        rest = self.frames[sent : sent + step.count]
        if rest:
            count = self.writer.send_many(rest)
            assert self.writer.sent == sent + count
        else:
            self.writer.flush()

    def send(self, step):
        self.writing.settimeout(step.timeout)
        if self.writer.sent < len(self.frames):
            self.writer.send(self.frames[self.writer.sent])

    def many(self, step):
        self.reading.settimeout(step.timeout)
        given = self.reader.recv_many(step.count)
        assert len(given) <= step.count
        self.received += given

    def one(self, step):
        self.reading.settimeout(step.timeout)
        self.received += [frame for frame in [next(self.reader, None)] if frame is not None]

    def fill(self, step, batch):
        try:
            self.reader.recv_batch(batch, timeout=step.timeout)
        except WAITS:
            raise
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            # Its length is that of the frame which comes next.
            assert len(self.frames[len(self.received)]) > batch.capacity * batch.max_message
        self.received += [message.bytes() for message in batch]

    def batch(self, step):
        self.fill(step, self.rows)

    def small_batch(self, step):
        self.fill(step, self.few_rows)

    def own(self, step):
        with contextlib.suppress(EOFError):
            self.received += [message.bytes() for message in self.reader.next_batch(step.timeout)]

    def raw(self, step):
        """Take a frame as raw bytes: all of it, or none."""
        self.reading.settimeout(step.timeout)
        if len(self.received) < len(self.frames):
            frame = self.frames[len(self.received)]
            encoded = self.framing.encode([frame])
            assert self.reader.recv_exactly(len(encoded)) == encoded
            self.received.append(frame)


@settings(max_examples=150, deadline=None)
@given(
    framings(),
    st.lists(st.sampled_from(SIZES), max_size=30),
    st.sampled_from([1, 10, 3000, 262_144]),
    STEPS,
)
def test_what_is_written_is_what_is_read(framing, sizes, readahead, steps):
    with contextlib.ExitStack() as stack:
        world = World(framing, sizes, readahead, stack)
        for step in steps:
            world.run(step)
        # And the rest of both, by turns.
        for _ in range(10_000):
            if world.writer.sent == len(world.frames) and world.writer.pending() == 0:
                break
            world.run(Step("write", 100, 0))
            world.run(Step("many", 100, 0))
        world.writing.close()
        while len(world.received) < len(world.frames):
            world.run(Step("many", 100, 1))
        assert world.received == world.frames
        assert world.reader.recv_many() == []
        assert world.reader.pending() == 0
