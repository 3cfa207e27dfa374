"""Packets of the live stream and video files: what goes in comes out, and nothing else is let in."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somacast.bitstream import video
from somacast.bitstream.packets import (
    MAX_PACKET_BYTES,
    End,
    LivePacket,
    Look,
    Motion,
    Person,
    Picture,
    Unwrapper,
    pack_packet,
    unpack_packet,
)
from somacast.errors import BitstreamError, SomacastError

DIGEST = b"abc"
byte, word = st.integers(0, 255), st.integers(0, 65535)
copies = st.tuples(st.integers(1, 100), st.integers(1, 9), st.integers(0, 16)).map(
    lambda t: tuple(t[0] + t[1] * k for k in range(t[2]))
)
motions = st.builds(
    Motion, byte, word, st.integers(1, 255), st.integers(1, 64), byte, st.integers(0, 7), st.integers(0, 3),
    st.binary(max_size=300), st.none() | word, copies,
)  # fmt: skip
bodies = st.one_of(
    motions,
    st.builds(Person, byte, word, st.binary(max_size=300)),
    st.tuples(byte, st.integers(0, 60), st.integers(1, 4), st.binary(max_size=99), st.booleans()).map(
        lambda t: (Look if t[4] else Picture)(t[0], t[1], t[1] + t[2], t[3])
    ),
    st.just(End()),
)
packets = st.builds(LivePacket, word, byte, bodies)


@given(packets)
def test_round_trip(packet: LivePacket) -> None:
    assert unpack_packet(pack_packet(packet, DIGEST), DIGEST) == packet


@settings(max_examples=30)
@given(packets)
def test_every_cut_and_every_flipped_bit_is_refused(packet: LivePacket) -> None:
    data = pack_packet(packet, DIGEST)
    for end in range(len(data)):
        with pytest.raises(BitstreamError):
            unpack_packet(data[:end], DIGEST)
    for place in range(0, 8 * len(data), 7):
        broken = bytearray(data)
        broken[place // 8] ^= 1 << place % 8
        with pytest.raises(BitstreamError):
            unpack_packet(bytes(broken), DIGEST)


def test_other_weights_are_refused() -> None:
    data = pack_packet(LivePacket(0, 0, End()), DIGEST)
    with pytest.raises(BitstreamError, match="other weights"):
        unpack_packet(data, b"abd")


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    try:
        packet = unpack_packet(data, DIGEST)
    except BitstreamError:
        return
    assert pack_packet(packet, DIGEST) == data


@pytest.mark.parametrize(
    "packet",
    [
        LivePacket(65536, 0, End()),
        LivePacket(0, 256, End()),
        LivePacket(0, 0, Motion(0, 0, 0, 1, 0, 0, 0, b"")),
        LivePacket(0, 0, Motion(0, 0, 1, 65, 0, 0, 0, b"")),
        LivePacket(0, 0, Motion(0, 0, 1, 1, 0, 8, 0, b"")),
        LivePacket(0, 0, Motion(0, 0, 1, 1, 0, 0, 0, b"", None, (1, 2, 4))),
        LivePacket(0, 0, Motion(0, 0, 1, 1, 0, 0, 0, bytes(MAX_PACKET_BYTES))),
        LivePacket(0, 0, Picture(0, 3, 3, b"")),
        LivePacket(0, 0, Look(0, 3, 3, b"")),
        LivePacket(0, 0, Look(0, 3, 65, b"")),
        LivePacket(0, 0, Look(0, 0, 1, bytes(MAX_PACKET_BYTES))),
    ],
)
def test_what_is_out_of_range_is_not_packed(packet: LivePacket) -> None:
    with pytest.raises(SomacastError):
        pack_packet(packet, DIGEST)


def test_numbers_go_on_where_they_wrap() -> None:
    unwrap = Unwrapper()
    assert [unwrap(n) for n in (65534, 65535, 0, 65535, 1)] == [65534, 65535, 65536, 65535, 65537]


def test_one_forged_number_does_not_carry_the_count_off() -> None:
    unwrap = Unwrapper(100)
    assert unwrap(10) == 10
    assert unwrap(30_000) is None
    assert unwrap(11) == 11
    # several that agree are a new beginning
    assert [unwrap(n) for n in (20_000, 20_001, 20_002)] == [None] * 3
    assert unwrap(20_003) == 20_003 and unwrap(20_004) == 20_004


def test_video_file_round_trip_and_cuts() -> None:
    motion = Motion(0, 7, 4, 2, 9, 3, 2, b"payload", 3)
    records = [
        video.Who(0, b"one"), video.Absent(0, 3_000_000), video.Frames((3_000_000, 3_040_000), motion, 7),
        video.Turn(300), video.Who(300, b"two" * 50), video.End(86_400_000_000),
    ]  # fmt: skip
    writer = video.RecordWriter(DIGEST)
    data = video.video_head("aflsc", DIGEST) + b"".join(map(writer.record, records))
    reader = video.RecordReader(data)
    assert video.is_video(data) and (reader.system, reader.digest) == ("aflsc", DIGEST)
    read = list(reader)
    assert [*read[:2], *read[3:]] == [*records[:2], *records[3:]] and not reader.cut
    assert read[2].times_us == (3_000_000, 3_040_000)
    # ticks are counted, not sent: the first frame stands for itself or goes back to the one before
    assert (read[2].motion.payload, read[2].motion.tick - read[2].motion.reference % -65536) == (b"payload", 4)
    short = video.RecordReader(data[:-1])
    assert list(short) == read[:-1] and short.cut
    with pytest.raises(BitstreamError, match="cut"):
        video.RecordReader(data[:5])
    with pytest.raises(BitstreamError, match="no .soma video"):
        video.RecordReader(b"\x9eS\x24xxxxxxxx")
    with pytest.raises(BitstreamError, match="damaged"):
        list(video.RecordReader(video.video_head("aflsc", DIGEST) + b"\0\1\1"))
    with pytest.raises(BitstreamError, match="does not match its check"):
        list(video.RecordReader(data[:-1] + bytes([data[-1] ^ 1])))
