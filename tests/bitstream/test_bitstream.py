"""The .soma container and its golden file: every cut, every flipped bit, and a reader written from FORMAT.md alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somacast.bitstream.container import pack, packed_bytes, unpack
from somacast.bitstream.systems import SYSTEM_IDS
from somacast.coding.label_coding import CodingTables
from somacast.coding.vocabulary import Vocabulary
from somacast.errors import BitstreamError
from somacast.systems.aflsc.labels.codec import LabelCodec
from somacast.types import Payload
from support.golden_cases import GOLDEN, GOLDEN_CONTENT

GOLDEN_V2 = (Path(__file__).parent / "golden" / "tiny_v2.soma").read_bytes()
GOLDEN_V4 = (Path(__file__).parent / "golden" / "tiny_v4.soma").read_bytes()
LAYER_ENDS = (17, 22, 22, 25)  # of the golden file: the base layer, then each layer with its check
OLD_LAYER_ENDS = (17, 22, 24, 27)  # of versions 2 and 4

containers = st.builds(
    Payload,
    st.sampled_from([*sorted(SYSTEM_IDS), "mine", "x" * 32]),
    st.binary(min_size=3, max_size=3),
    st.one_of(
        st.lists(st.binary(max_size=300), min_size=1, max_size=8),
        st.lists(st.binary(max_size=2), min_size=14, max_size=20),
    ),
)


def golden_weights() -> tuple[Vocabulary, CodingTables]:
    vocabulary = Vocabulary.from_json(json.dumps(GOLDEN_CONTENT["vocabulary"]))
    arrays = {
        name: np.array(entry["data"], entry["dtype"]).reshape(entry["shape"])
        for name, entry in GOLDEN_CONTENT["arrays"].items()
    }
    return vocabulary, CodingTables.from_arrays(arrays, vocabulary)


@settings(max_examples=200, deadline=None)
@given(containers)
def test_round_trip(container: Payload) -> None:
    data = pack(container)
    assert unpack(data) == (container, [])
    assert len(data) == packed_bytes(container.system, [len(layer) for layer in container.layers])


@settings(max_examples=60, deadline=None)
@given(containers, st.data())
def test_every_cut_gives_whole_layers_or_an_error(container: Payload, data: st.DataObject) -> None:
    whole = pack(container)
    cut = data.draw(st.integers(0, len(whole) - 1))
    base_end = packed_bytes(container.system, [len(layer) for layer in container.layers]) - sum(
        len(layer) + 2 for layer in container.layers[1:] if layer
    )
    if cut < base_end:
        with pytest.raises(BitstreamError):
            unpack(whole[:cut])
        return
    read, notes = unpack(whole[:cut])
    assert read.layers == container.layers[: len(read.layers)]
    assert 1 <= len(read.layers) < len(container.layers) == read.announced
    assert f"{len(read.layers)} of {len(container.layers)} layers" in notes[0] and "coarser" in notes[0]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.booleans())
def test_garbage_is_refused_with_one_clear_line(data: bytes, with_magic: bool) -> None:
    with pytest.raises(BitstreamError) as caught:
        unpack(b"\x9eS\x64" + data if with_magic else data)
    assert "\n" not in str(caught.value) and len(str(caught.value)) > 10


def test_golden_file_decodes_to_its_symbols() -> None:
    vocabulary, tables = golden_weights()
    container, notes = unpack(GOLDEN)
    assert notes == []
    assert (container.system, container.weights_digest.hex()) == ("aflsc", "0badca")
    (state, *base), *finer = container.layers
    assert [layer.hex() for layer in (bytes(base), *finer)] == GOLDEN_CONTENT["layers"] and state == 140
    codec = LabelCodec(vocabulary, tables, container.weights_digest)
    symbols = codec.symbols(container.layers)
    assert symbols.tolist() == GOLDEN_CONTENT["symbols"]
    assert pack(container) == GOLDEN
    assert codec.layers(symbols, network_state=140) == container.layers


@pytest.mark.parametrize(("old", "version"), [(GOLDEN_V2, 2), (GOLDEN_V4, 4)])
def test_files_of_older_versions_still_open(old: bytes, version: int) -> None:
    assert old[2] >> 4 == version and len(old) == OLD_LAYER_ENDS[-1]
    assert unpack(old) == unpack(GOLDEN)
    for cut in range(len(old)):
        if cut < OLD_LAYER_ENDS[0]:
            with pytest.raises(BitstreamError):
                unpack(old[:cut])
        else:
            whole = sum(end <= cut for end in OLD_LAYER_ENDS)
            assert unpack(old[:cut])[0] == Payload("aflsc", b"\x0b\xad\xca", unpack(GOLDEN)[0].layers[:whole], 4)


def test_golden_file_cut_at_every_byte() -> None:
    vocabulary, tables = golden_weights()
    full = np.array(GOLDEN_CONTENT["symbols"])
    known_before = 0
    for cut in range(len(GOLDEN)):
        if cut < LAYER_ENDS[0]:
            with pytest.raises(BitstreamError):
                unpack(GOLDEN[:cut])
            continue
        container, notes = unpack(GOLDEN[:cut])
        whole = sum(end <= cut for end in LAYER_ENDS)
        assert len(container.layers) == whole and len(notes) == 1
        symbols = LabelCodec(vocabulary, tables, container.weights_digest).symbols(container.layers)
        known = symbols >= 0
        assert np.array_equal(symbols[known], full[known])
        assert known.sum() >= known_before
        known_before = known.sum()
    assert known_before < (full >= 0).sum()


@pytest.mark.parametrize(("sound", "ends"), [(GOLDEN, LAYER_ENDS), (GOLDEN_V4, OLD_LAYER_ENDS)])
def test_golden_file_with_every_bit_flipped(sound: bytes, ends: tuple[int, ...]) -> None:
    """Damage up to the end of the base layer is refused; behind it the layers before it are left, and a note."""
    layers = unpack(sound)[0].layers
    for position in range(len(sound)):
        for bit in range(8):
            broken = bytearray(sound)
            broken[position] ^= 1 << bit
            if position < ends[0]:
                with pytest.raises(BitstreamError):
                    unpack(bytes(broken))
                continue
            read, notes = unpack(bytes(broken))
            assert read.layers == layers[: sum(end <= position for end in ends)] and read.announced == 4
            assert len(notes) == 1 and f"Layer {len(read.layers)} of 3 is damaged" in notes[0]


def test_damage_in_a_whole_layer_of_a_cut_file_is_damage() -> None:
    broken = bytearray(GOLDEN[: LAYER_ENDS[2] + 1])
    broken[LAYER_ENDS[0] + 1] ^= 1
    read, notes = unpack(bytes(broken))
    assert len(read.layers) == 1 and "Layer 1 of 3 is damaged" in notes[0]


def test_swapped_layers_are_found() -> None:
    whole = pack(Payload("aflsc", b"abc", [b"base", b"one!", b"two!"]))
    read, notes = unpack(whole[:-12] + whole[-6:] + whole[-12:-6])
    assert read.layers == [b"base"] and len(notes) == 1


def test_layers_of_another_person_are_left_out() -> None:
    """A layer is checked together with all before it: what fits another base, or other refinements, does not fit."""
    own = Payload("aflsc", b"abc", [b"a person", b"a warp", b"a picture of that person"])
    for other in ([b"somebody", b"a warp", own.layers[2]], [b"a person", b"a wasp", own.layers[2]]):
        foreign = pack(Payload("aflsc", b"abc", other))
        read, notes = unpack(pack(own)[:-26] + foreign[-26:])
        assert read.layers == own.layers[:2] and "Layer 2 of 2" in notes[0] and "another person" in notes[0]
    assert unpack(pack(own)) == (own, [])


def test_a_check_does_not_hide_what_was_before_it() -> None:
    """A CRC over a message and its own CRC is the same for every message: the checks are left out of the checks."""
    rng = np.random.default_rng(0)
    tails = {pack(Payload("aflsc", b"abc", [rng.bytes(9), rng.bytes(9), b"same"]))[-2:] for _ in range(64)}
    assert len(tails) > 60


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no .soma file"),
        (b"\xff\xd8\xff\xe0 a JPEG", "no .soma file"),
        (b"SOMA\1\1\0", r"version 1.*never released.*version 6"),
        (b"SO", "no .soma file"),
        (b"\x9e", "cut"),
        (b"\x9eS", "cut"),
        (b"\x9eT", "no .soma file"),
        (b"\x9eS\x74" + GOLDEN[3:], r"version 7.*version 6"),
        (b"\x9eS\x74", r"version 7.*version 6"),
        (b"\x9eS\x14" + GOLDEN[3:], "damaged.*version 1.*2, 4 or 6"),
        (b"\x9eS\x04" + GOLDEN[3:], "damaged.*version 0"),
        (GOLDEN + b"\0", "follow the last layer"),
        (GOLDEN[:2] + b"\x60" + GOLDEN[3:], "0 layers"),
        (GOLDEN_V2[:2] + b"\x29" + GOLDEN_V2[3:], "9 layers"),
        (GOLDEN[:2] + b"\x6f" + GOLDEN[3:7] + b"\x03" + GOLDEN[7:], "3 layers is not written so"),
        (GOLDEN[:6], "cut .*6 bytes"),
        (GOLDEN_V2[:7], "cut .*7 bytes"),
        (GOLDEN[:7] + b"\xff\xff\xff\xff" + GOLDEN[11:], "layer length"),
        (GOLDEN[:7] + b"\x83\x00" + GOLDEN[8:], "layer length"),
        (GOLDEN[:7] + b"\x83", "layer lengths"),
        (b"\x9eS\x61\x00abc\x05my", "inside the layer lengths|name of the system"),
    ],
)
def test_messages(data: bytes, words: str) -> None:
    with pytest.raises(BitstreamError, match=words):
        unpack(data)
