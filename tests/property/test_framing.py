# SPDX-License-Identifier: MIT
"""Framer and encode against a slow reference: any framing, any bytes, any split."""

import itertools
import random

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import fastsock
from property import framings

pytestmark = pytest.mark.one_engine

# Few different bytes, so that delimiters come up by chance.
FEW = bytes(b"ab\ncd\0\xff\n"[byte % 8] for byte in range(256))

payloads = st.one_of(
    st.text("abc\n", max_size=20).map(str.encode),
    st.binary(max_size=300),
    st.integers(0, 1000).map(bytes),
)


def feed_split(framer, data, splits):
    """All frames that come out of data cut at the splits, and the error that ended it or None."""
    frames = []
    edges = [0, *sorted(min(split, len(data)) for split in splits), len(data)]
    for start, end in itertools.pairwise(edges):
        try:
            frames += framer.feed(data[start:end])
        except fastsock.FrameError as error:
            return frames, (error.errno, error.offset)
    try:
        framer.feed(b"")
    except fastsock.FrameError as error:
        return frames, (error.errno, error.offset)
    return frames, None


def check_against_reference(rules, data, splits, max_frame):
    framer = fastsock.Framer(rules.framing, max_frame=max_frame)
    frames, rest, failure = framings.cut(rules, data, max_frame)
    assert feed_split(framer, data, splits) == (frames, failure)
    if failure is not None:
        with pytest.raises(fastsock.FrameError):
            framer.end()
        return
    assert framer.unfinished == len(rest)
    if rest:
        with pytest.raises(fastsock.IncompleteFrameError) as caught:
            framer.end()
        assert caught.value.partial == rest
        assert caught.value.missing >= 1
    else:
        framer.end()


def allows_limit(rules, max_frame):
    if isinstance(rules, framings.Fixed):
        return rules.size <= max_frame
    if isinstance(rules, framings.Separated) and rules.keep:
        return len(rules.separator) <= max_frame
    return True


@given(framings.rules(), st.lists(payloads, max_size=30), st.lists(st.integers(0, 3000)), st.data())
def test_framer_after_any_split_gives_the_frames_that_were_encoded(rules, frames, splits, data):
    frames = [frame for frame in frames if rules.allows(frame)]
    stream = rules.framing.encode(frames)
    assert stream == b"".join(map(rules.encode, frames))
    framer = fastsock.Framer(rules.framing)
    assert feed_split(framer, stream, splits) == (frames, None)
    framer.end()
    cut = data.draw(st.integers(0, len(stream)))
    check_against_reference(rules, stream[:cut], splits, 1 << 20)


@given(
    framings.rules(),
    st.one_of(st.binary(max_size=400), st.text("ab", max_size=200).map(str.encode)),
    st.lists(st.integers(0, 400)),
    st.integers(1, 300),
)
@example(framings.Varint(), b"\xff" * 9 + b"\x01", [], 10)
@example(framings.Varint(), b"\xff" * 9 + b"\x02", [9], 10)
@example(framings.Prefix(8, "big", True), b"\0" * 7 + b"\x07", [7], 10)
@example(framings.Separated(b"aab", False), b"aaaabaab", [3], 10)
def test_framer_of_any_bytes_does_as_the_reference(rules, data, splits, max_frame):
    assume(allows_limit(rules, max_frame))
    check_against_reference(rules, data, splits, max_frame)


@given(framings.rules(), payloads)
def test_encode_refuses_exactly_what_would_come_out_changed(rules, frame):
    if rules.allows(frame):
        assert rules.framing.encode([frame]) == rules.encode(frame)
    else:
        with pytest.raises(ValueError, match="frame"):
            rules.framing.encode([frame])


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(20_000, id="20_000_splits"),
        pytest.param(
            1_000_000, id="1_000_000_splits", marks=[pytest.mark.long, pytest.mark.timeout(1200)]
        ),
    ],
)
def test_framer_after_many_random_splits_is_bit_exact(count):
    seed = random.Random()
    number = seed.getrandbits(64)
    seed = random.Random(number)
    left = count
    while left > 0:
        rules = seed.choice(
            [
                framings.Prefix(
                    seed.choice([1, 2, 4, 8]), seed.choice(["big", "little"]), seed.random() < 0.5
                ),
                framings.Varint(),
                framings.Separated(bytes(seed.choices(b"ab\n", k=seed.randint(1, 5))), False),
                framings.Separated(bytes(seed.choices(b"ab\n", k=seed.randint(1, 5))), True),
                framings.Fixed(seed.randint(1, 100)),
            ]
        )
        frames = [frame for frame in random_frames(seed, rules) if rules.allows(frame)]
        stream = b"".join(map(rules.encode, frames))
        if not stream:
            continue
        splits = [seed.randrange(len(stream)) for _ in range(min(left, seed.randint(1, 200)))]
        left -= len(splits)
        framer = fastsock.Framer(rules.framing)
        assert feed_split(framer, stream, splits) == (frames, None), f"seed {number}"
        framer.end()


def random_frames(seed, rules):
    for _ in range(seed.randint(1, 40)):
        length = rules.size if isinstance(rules, framings.Fixed) else int(2 ** (seed.random() * 10))
        frame = seed.randbytes(length).translate(FEW)
        if isinstance(rules, framings.Separated):
            frame = frame.replace(rules.separator, b"")
            if rules.keep:
                frame += rules.separator
        yield frame
