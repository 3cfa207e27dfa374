"""Datagrams of the UDP transport: counters, parts of messages, what is understood."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from somacast.network.transport.udp.noise import Room
from somacast.network.transport.udp.wire import (
    FRAME_BYTES,
    HANDSHAKE_BYTES,
    MAX_PARTS,
    WINDOW,
    Assembly,
    Kind,
    Window,
    greet,
    look,
    read_ack,
    seal,
    split,
    stranger,
    unseal,
)


def test_datagrams_are_understood_as_they_were_sealed():
    for psk in (bytes(range(32)), None):
        room = Room(psk, b"room")
        first, second = room.handshake(True), room.handshake(False)
        hello = greet(Kind.HELLO, b"sess", first.write())
        assert look(hello) == (Kind.HELLO, b"sess") and len(hello) == HANDSHAKE_BYTES
        assert look(hello + b"x") is None and look(hello[:-1]) is None
        second.read(hello[5:])
        first.read(second.write())
        data = seal(first.keys()[0], Kind.LIVE, b"sess", 7, b"words")
        assert look(data) == (Kind.LIVE, b"sess") and len(data) == 5 + FRAME_BYTES
        assert (b"words" in data) == (psk is None), "in the clear only without keys"
        key = second.keys()[1]
        assert unseal(key, data) == (7, b"words")
        for place in range(len(data)):
            changed = bytearray(data)
            changed[place] ^= 1
            assert unseal(key, bytes(changed)) is None


@given(st.binary(max_size=80))
def test_other_bytes_are_not_understood(data):
    seen = look(data)
    assert seen is None or data[0] >> 4 == 2
    assert not (seen and stranger(data))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 40), st.integers(0, 3 * WINDOW), st.integers(0, 2**40 - 1)), max_size=60))
def test_a_counter_is_taken_once(counters):
    window, seen = Window(), set()
    for counter in counters:
        highest = max(seen, default=-1)
        assert window.take(counter) == (counter not in seen and counter > highest - WINDOW)
        seen.add(counter)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=5000), st.integers(0, 70_000), st.randoms(use_true_random=False))
def test_parts_in_any_order_make_one_message(data, number, random):
    assembly, parts = Assembly(), split(number, data, 300)
    random.shuffle(parts)
    answers = [assembly.take(part) for part in [*parts, *parts]]
    assert [message for _, message in answers if message is not None] == [data]
    assert read_ack(answers[-1][0]) == (number & 0xFFFF, (1 << len(parts)) - 1)
    assert assembly.take(split(number - 1, b"older")[0]) == (None, None)
    assert assembly.take(split(number + 1, b"newer")[0])[1] == b"newer"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=1300), max_size=10))
def test_parts_of_anything_stay_bounded(bodies):
    assembly = Assembly()
    for body in bodies:
        assembly.take(body)
    assert len(assembly.parts) <= MAX_PARTS
    assert split(0, bytes(1200 * MAX_PARTS + 1)) is None
