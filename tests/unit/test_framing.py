# SPDX-License-Identifier: MIT
"""The framings: their arguments, and encode. What is cut by them: test_framer.py."""

import pickle
import threading

import pytest

import fastsock
from fastsock import Delimiter, FixedSize, LengthPrefix
from fastsock.native.framing import Framing

pytestmark = pytest.mark.one_engine


@pytest.mark.parametrize(
    ("framing", "expected"),
    [
        pytest.param(LengthPrefix(1), b"\2ab\0", id="1"),
        pytest.param(LengthPrefix(2), b"\0\2ab\0\0", id="2"),
        pytest.param(LengthPrefix(4, "little"), b"\2\0\0\0ab\0\0\0\0", id="4_little"),
        pytest.param(LengthPrefix(2, includes_header=True), b"\0\4ab\0\2", id="2_header"),
        pytest.param(LengthPrefix(8), b"\0\0\0\0\0\0\0\2ab" + bytes(8), id="8"),
        pytest.param(LengthPrefix("varint"), b"\2ab\0", id="varint"),
        pytest.param(Delimiter(b"\r\n"), b"ab\r\n\r\n", id="delimiter"),
    ],
)
def test_encode_writes_header_or_delimiter(framing, expected):
    assert framing.encode([b"ab", b""]) == expected


def test_encode_takes_any_iterable_of_bytes_likes():
    messages = (kind(b"ab") for kind in (bytes, bytearray, memoryview))
    assert FixedSize(2).encode(messages) == b"ababab"
    assert Delimiter(bytearray(b"b"), keep=True).encode([b"ab", b"b"]) == b"abb"
    assert LengthPrefix(1).encode([]) == b""


def test_encode_of_many_large_messages_keeps_every_byte():
    messages = [bytes([number]) * (number * 997) for number in range(200)]
    encoded = LengthPrefix(4).encode(messages)
    assert encoded == b"".join(len(m).to_bytes(4, "big") + m for m in messages)


@pytest.mark.parametrize(
    ("framing", "message", "text"),
    [
        pytest.param(Delimiter(b"\n"), b"a\nb", "use a LengthPrefix", id="inside"),
        pytest.param(Delimiter(b"aa"), b"ba", "use a LengthPrefix", id="across_the_end"),
        pytest.param(Delimiter(b"\n", keep=True), b"ab", "must end with", id="not_at_the_end"),
        pytest.param(Delimiter(b"\n", keep=True), b"a\n\n", "nowhere before", id="twice"),
        pytest.param(FixedSize(3), b"ab", "has 3 bytes by FixedSize, not 2", id="size"),
        pytest.param(LengthPrefix(1), bytes(256), "larger LengthPrefix", id="prefix"),
        pytest.param(
            LengthPrefix(1, includes_header=True), bytes(255), "larger LengthPrefix", id="header"
        ),
    ],
)
def test_encode_of_what_is_no_frame_is_refused(framing, message, text):
    with pytest.raises(ValueError, match=text):
        framing.encode([message])


def test_encode_of_text_is_a_type_error():
    with pytest.raises(TypeError, match="bytes-like"):
        Delimiter(b"\n").encode(["text"])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        pytest.param(lambda: LengthPrefix(3), "1, 2, 4, 8 or 'varint', not 3", id="size"),
        pytest.param(lambda: LengthPrefix(4, "network"), "'big' or 'little'", id="byteorder"),
        pytest.param(lambda: LengthPrefix("varint", "little"), "neither", id="varint_order"),
        pytest.param(
            lambda: LengthPrefix("varint", includes_header=True), "neither", id="varint_header"
        ),
        pytest.param(lambda: Delimiter(b""), "1 to 64 bytes, not 0", id="empty"),
        pytest.param(lambda: Delimiter(bytes(65)), "1 to 64 bytes, not 65", id="long"),
        pytest.param(lambda: FixedSize(0), "not 0", id="zero"),
        pytest.param(lambda: FixedSize(1 << 40), "1 to 2147483647", id="huge"),
    ],
)
def test_framing_of_wrong_numbers_is_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_framing_of_wrong_types_is_refused():
    for make in (
        lambda: Delimiter("\n"),
        lambda: FixedSize(2.0),
        lambda: LengthPrefix(4, "big", True),
        lambda: Framing().encode([]),
        lambda: fastsock.Framer(Framing()),
    ):
        with pytest.raises(TypeError):
            make()


@pytest.mark.parametrize(
    "text",
    [
        "LengthPrefix(4, 'big')",
        "LengthPrefix(2, 'little', includes_header=True)",
        "LengthPrefix('varint')",
        "Delimiter(b'\\r\\n')",
        "Delimiter(b'\\x00', keep=True)",
        "FixedSize(16)",
    ],
)
def test_framing_repr_makes_it_again(text):
    assert repr(eval(text)) == text


def test_encode_lets_a_message_change_between_its_turns():
    """A message is pinned while it is copied, and only then."""
    message = bytearray(b"ab")

    def messages():
        yield message
        message.append(0)
        yield message

    assert LengthPrefix(1).encode(messages()) == b"\2ab\3ab\0"


def test_encode_in_several_threads_gives_each_its_own():
    framing = LengthPrefix("varint")
    results = {}

    def encode(number):
        messages = [bytes([number]) * 200] * 500
        results[number] = framing.encode(messages)

    threads = [threading.Thread(target=encode, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: (b"\xc8\1" + bytes([n]) * 200) * 500 for n in range(4)}


@pytest.mark.parametrize(
    "framing",
    [
        fastsock.LengthPrefix(4),
        fastsock.LengthPrefix(2, "little", includes_header=True),
        fastsock.LengthPrefix("varint"),
        fastsock.Delimiter(b"\r\n", keep=True),
        fastsock.FixedSize(5),
    ],
    ids=repr,
)
def test_framing_survives_pickling_and_equals_its_copy(framing):
    copied = pickle.loads(pickle.dumps(framing))
    assert copied == framing
    assert hash(copied) == hash(framing)
    assert repr(copied) == repr(framing)
    assert framing != fastsock.FixedSize(6)
    assert framing != repr(framing)


@pytest.mark.parametrize("single", [b"one", bytearray(b"one"), "one"], ids=repr)
def test_encode_of_a_single_frame_tells_to_put_it_into_a_list(single):
    with pytest.raises(TypeError, match="put a single one into a list"):
        fastsock.LengthPrefix(1).encode(single)
