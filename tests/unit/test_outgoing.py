# SPDX-License-Identifier: MIT
"""When datagrams are due, by a clock that only waits move; and how input is cut."""

import io
import itertools
import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsock.command import outgoing
from fastsock.command.ending import Interrupted, Stopping
from fastsock.command.outgoing import GROUP, LATE, Outgoing
from fastsock.command.pcap import PcapReader, PcapWriter

pytestmark = pytest.mark.one_engine


class Clock:
    """The time, and a `Stopping` whose waits take as long as they say and a little more."""

    def __init__(self, monkeypatch, overshoot=0.0):
        self.now = 1000.0
        self.overshoot = overshoot
        self.waits = 0
        monkeypatch.setattr(outgoing.time, "monotonic", lambda: self.now)

    def wait(self, timeout):
        assert timeout > 0
        self.now += timeout + self.overshoot
        self.waits += 1


def test_rate_does_not_drift_though_each_wait_takes_too_long(monkeypatch):
    clock = Clock(monkeypatch, overshoot=0.004)
    groups = outgoing.at_rate([[b"x"] * 600, [b"y"] * 401], 1000.0)
    sent = 0
    for payloads in outgoing.when_due(groups, clock):
        sent += len(payloads)
        # Never early, and never later than one wait and the interval.
        assert (sent - 1) / 1000 <= clock.now - 1000 + 1e-9
        assert clock.now - 1000 <= (sent - 1) / 1000 + 0.004 + 1e-9
    assert sent == 1001
    assert clock.now - 1000 == pytest.approx(1.0, abs=0.006)


def test_sender_that_was_held_up_does_not_send_all_it_missed_at_once(monkeypatch):
    clock = Clock(monkeypatch)
    due = outgoing.when_due(outgoing.at_rate([[b"x"] * 5000], 1000.0), clock)
    assert len(next(due)) == 1
    clock.now += 3.0
    burst = len(next(due))
    assert burst <= LATE * 1000 + 1
    began, sent = clock.now, 0
    for payloads in due:
        sent += len(payloads)
        assert len(payloads) <= 2
    assert clock.now - began == pytest.approx(sent / 1000, abs=0.002)


def test_capture_is_due_as_it_came_times_the_factor(monkeypatch):
    file = io.BytesIO()
    writer = PcapWriter(file)
    times = [5.0, 5.0, 5.5, 5.25, 9.0]
    for number, time in enumerate(times):
        writer.write(int(time * 1e9), ("192.0.2.1", 1), ("192.0.2.2", 2), b"%d" % number)
    for factor, expected in ((1, [0, 0.5, 0.5, 4.0]), (2, [0, 0.25, 0.25, 2.0]), (0, [0])):
        clock = Clock(monkeypatch)
        file.seek(0)
        groups = outgoing.at_own_pace(PcapReader(file), factor)
        told = [(clock.now - 1000, payloads) for payloads in outgoing.when_due(groups, clock)]
        payloads = list(itertools.chain.from_iterable(payloads for _, payloads in told))
        assert payloads == [b"0", b"1", b"2", b"3", b"4"]
        # The one that is earlier than its predecessor goes with it.
        moments = sorted({moment for moment, _ in told})
        assert moments == pytest.approx(sorted(set(expected)))


def test_what_is_due_at_once_waits_for_nothing_and_goes_in_groups(monkeypatch):
    clock = Clock(monkeypatch)
    groups = [[Outgoing(0.0, b"")] * (2 * GROUP + 1)]
    sizes = [len(payloads) for payloads in outgoing.when_due(groups, clock)]
    assert sizes == [GROUP, GROUP, 1]
    assert clock.waits == 0


@given(st.binary(max_size=300), st.integers(1, 70), st.data())
def test_lines_and_pieces_make_up_the_input(text, size, data):
    text = text.replace(b"\x07", b"\n")
    lines = list(
        itertools.chain.from_iterable(outgoing.lines(io.BufferedReader(Trickle(text, data))))
    )
    assert b"\n".join(lines) == text.removesuffix(b"\n")
    assert len(lines) == len(text.removesuffix(b"\n").split(b"\n")) * bool(text)
    pieces = list(
        itertools.chain.from_iterable(outgoing.pieces(io.BufferedReader(io.BytesIO(text)), size))
    )
    assert b"".join(pieces) == text
    assert all(len(piece) == size for piece in pieces[:-1])
    assert all(1 <= len(piece) <= size for piece in pieces[-1:])


class Trickle(io.RawIOBase):
    """A pipe that gives as little at a time as it likes."""

    def __init__(self, content, data):
        self._content = content
        self._data = data

    def readable(self):
        return True

    def readinto(self, buffer):
        size = self._data.draw(st.integers(1, 50))
        part, self._content = self._content[:size], self._content[size:]
        buffer[: len(part)] = part
        return len(part)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 100])
def test_numbered_datagrams_have_their_size(size):
    first = next(outgoing.numbered(size))
    assert {len(payload) for payload in first} == {size}
    assert int.from_bytes(first[200][:8], "big") == (200 if size else 0)


@pytest.mark.parametrize("limit", [None, 1, 2, 3, 4, 9])
def test_limit_is_kept_across_groups(limit):
    groups = [[Outgoing(0.0, b"1"), Outgoing(0.0, b"2")], [Outgoing(0.0, b"3")]]
    kept = list(itertools.chain.from_iterable(outgoing.up_to(groups, limit)))
    assert [datagram.payload for datagram in kept] == [b"1", b"2", b"3"][:limit]


def test_limit_asks_for_no_more_input():
    groups = iter([[Outgoing(0.0, b"1")], [Outgoing(0.0, b"2")]])
    assert len(list(outgoing.up_to(groups, 1))) == 1
    assert len(next(groups)) == 1


def test_signal_ends_a_wait_for_input(no_descriptor_leak):
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb"), Stopping() as stopping:
        file = io.BufferedReader(outgoing.Input(reading, stopping))
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            file.read(1)
        file.close()
