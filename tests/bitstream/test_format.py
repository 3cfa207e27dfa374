"""FORMAT.md tells the truth: a reader written from it alone, system names, header sizes."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path

import numpy as np
import pytest

import somacast.bitstream.container as container_module
from somacast.bitstream.container import MAX_LAYER_BYTES, layer_room, pack, packed_bytes, unpack
from somacast.bitstream.systems import SYSTEM_IDS, read_system, system_bytes
from somacast.coding.importance import exp_table
from somacast.entropy.range_coder import encode_symbols
from somacast.errors import BitstreamError, SomacastError
from somacast.types import Payload
from support.golden_cases import GOLDEN, GOLDEN_CONTENT

FORMAT = (Path(container_module.__file__).parent / "FORMAT.md").read_text()


def resealed(offset: int, value: int) -> bytes:
    """The golden file with one header byte changed and a check that fits, as another writer would make it."""
    head = bytearray(GOLDEN[:11])
    head[offset] = value
    return bytes(head) + plain_crc32c(bytes(head) + GOLDEN[14:17]).to_bytes(4, "little")[:3] + GOLDEN[14:]


def test_an_unknown_system_is_named() -> None:
    assert resealed(3, 1) == GOLDEN
    assert unpack(resealed(3, 2))[0].system == "aflsc_without_sc"
    with pytest.raises(BitstreamError, match="system id 200"):
        unpack(resealed(3, 200))


def named(name: bytes) -> bytes:
    """A file of a system without a number, whatever its name is."""
    head = b"\x9eS\x61\x00abc" + bytes([len(name)]) + name + b"\x01"
    return head + plain_crc32c(head + b"x").to_bytes(4, "little")[:3] + b"x"


def test_a_system_without_a_number_travels_under_its_name() -> None:
    whole = unpack(named(b"my_own"))[0]
    assert whole == Payload("my_own", b"abc", [b"x"]) and pack(whole) == named(b"my_own")
    for wrong in (b"", b"My", b"a b", b"\xff\xfe", b"1st", b"x" * 33):
        with pytest.raises(BitstreamError, match="name"):
            unpack(named(wrong))
    for cut in range(len(named(b"my_own"))):
        with pytest.raises(BitstreamError):
            unpack(named(b"my_own")[:cut])


def test_a_base_layer_costs_eleven_bytes_more() -> None:
    for length in (0, 1, 127):
        data = pack(Payload("aflsc", b"abc", [bytes(length)]))
        assert len(data) == packed_bytes("aflsc", [length]) == length + 11
    assert packed_bytes("aflsc", [128]) == 128 + 12
    assert packed_bytes("aflsc", [5, 6]) == 5 + 11 + 6 + 3
    assert packed_bytes("mine", [5]) == 5 + 11 + 5
    assert packed_bytes("aflsc", [5, 0, 0, 6]) == 5 + 11 + 2 + 6 + 3
    assert packed_bytes("aflsc", [1] * 15) == 1 + 11 + 1 + 14 * 4


def test_the_room_for_one_more_layer_is_what_fits() -> None:
    for budget in (20, 40, 150, 152, 153, 154, 155, 156, 16_500):
        room = layer_room("aflsc", [9, 0], budget)
        if room > 0:
            assert packed_bytes("aflsc", [9, 0, room]) <= budget < packed_bytes("aflsc", [9, 0, room + 1])
        else:
            assert budget < packed_bytes("aflsc", [9, 0, 1])


def test_pack_checks_its_fields() -> None:
    good = {"system": "aflsc", "weights_digest": b"abc", "layers": [b""]}
    pack(Payload(**good))
    bad = [{"system": "MP3"}, {"system": ""}, {"weights_digest": b"abcd"}]
    bad += [{"layers": []}, {"layers": [b""] * 256}, {"layers": [bytes(MAX_LAYER_BYTES + 1)]}]
    for change in bad:
        with pytest.raises(SomacastError):
            pack(Payload(**{**good, **change}))
    assert len(pack(Payload(**{**good, "layers": [bytes(70_000)]}))) == 7 + 3 + 3 + 70_000


def test_system_ids_never_change() -> None:
    early = ["aflsc", "aflsc_without_sc", "gs_scnet", "rl_asc", "nerf", "pifuhd", "iss", "deepma"]
    released = [*early, "jpeg", "webp", "avif", "draco"]
    assert [system_bytes(name) for name in released] == [(number, b"") for number in range(1, 13)]
    assert all(read_system(number, b"", 0) == (name, 0) for name, number in SYSTEM_IDS.items())
    assert len(set(SYSTEM_IDS.values())) == len(SYSTEM_IDS)


def test_format_page_tells_the_truth() -> None:
    block = re.search(r"```hex\n(.*?)```", FORMAT, re.S)
    assert block and bytes.fromhex(block.group(1)) == GOLDEN
    for name, number in SYSTEM_IDS.items():
        assert f"`{name}` {number}" in FORMAT
    digest = hashlib.sha256(exp_table().astype("<i8").tobytes()).hexdigest()
    assert digest in FORMAT
    assert exp_table()[[0, 1, 2, 3, 64, 754, 755]].tolist() == [65536, 64520, 63520, 62535, 24109, 1, 0]
    assert plain_crc32c(b"123456789") == 0xE3069283
    lines = FORMAT.split("| label | alphabets |")[1].splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    rows = [row for row in rows if len(row) == 10 and row[0].isalpha()]
    full = GOLDEN_CONTENT["symbols"]
    shown = [[int(s) for s in row[-1].split()] for row in rows]
    assert [(row + [-1] * 5)[:5] for row in shown] == full
    assert read_like_a_stranger(GOLDEN) == (full, [(int(row[3]), int(row[4]), int(row[5])) for row in rows])


def plain_crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class StrangersStream:
    """Section 4 of FORMAT.md, step by step, on plain integers."""

    def __init__(self, data: bytes) -> None:
        self.bytes = iter(data)
        self.width = 2**32
        self.code = 0
        for _ in range(4):
            self.code = self.code << 8 | next(self.bytes, 0)

    def symbol(self, c: list[int]) -> int:
        step = self.width >> 12
        point = min(self.code // step, 4095)
        s = max(i for i in range(len(c) - 1) if c[i] <= point)
        self.code -= step * c[s]
        self.width = self.width - step * c[s] if s == len(c) - 2 else step * (c[s + 1] - c[s])
        while self.width < 2**24:
            self.code = self.code << 8 | next(self.bytes, 0)
            self.width <<= 8
        return s


def test_long_stream_is_the_same_for_ever() -> None:
    """Pins every step of the coder: a stream of 3,000 symbols from a small integer generator, three tables in turn."""
    tables = [[0, 1000, 1500, 4096], [0, 1, 4095, 4096], [0, 4000, 4096]]
    state, symbols, used = 1, [], []
    for number in range(3000):
        state = state * 1103515245 + 12345 & 0x7FFFFFFF
        table = tables[number % 3]
        used.append(table)
        symbols.append(max(i for i in range(len(table) - 1) if table[i] <= state >> 19))
    data = encode_symbols(symbols, [np.array(table) for table in used])
    assert hashlib.sha256(data).hexdigest() == "96f3fa7858844865742bba55d35f73bdbb98f696665776cbc42c82dca532569a"
    stranger = StrangersStream(data)
    assert [stranger.symbol(table) for table in used] == symbols


def strangers_kept(symbols: list[list[int]], f: int) -> list[tuple[int, int, int]]:
    """Section 6 of FORMAT.md: (omega, rho, kept) of every label."""
    labels, arrays = GOLDEN_CONTENT["vocabulary"]["labels"], GOLDEN_CONTENT["arrays"]
    sigma, rho_min, rho_max = arrays["importance.constants"]["data"]
    width = arrays["importance.embeddings"]["shape"][1]
    flat = arrays["importance.embeddings"]["data"]
    vectors = [flat[k : k + width] for k in range(0, len(flat), width)]
    first = [sum(label["alphabets"][0] for label in labels[:k]) for k in range(len(labels))]
    omega = []
    for k, label in enumerate(labels):
        group = [j for j, other in enumerate(labels) if other["group"] == label["group"] and other["minimum_levels"]]
        place = 0
        if k in group and len(group) > 1:
            p, n = group.index(k), min(8, len(group) - 1)
            context = [group[(p + 1 + q) % len(group)] for q in range(n)]
            here = vectors[first[k] + symbols[k][0]]
            total = sum(
                abs(a - b) for j in context for a, b in zip(here, vectors[first[j] + symbols[j][0]], strict=True)
            )
            place = min((64 * total + n * sigma // 2) // (n * sigma), 1023)
        omega.append(arrays["importance.tau"]["data"][k] * round(65536 * math.exp(-place / 64)))
    top = max(1, *omega)
    out = []
    for k, label in enumerate(labels):
        rho = rho_min + (rho_max - rho_min) * (top - omega[k]) * f // (top * 255)
        m = label["minimum_levels"]
        out.append((omega[k], rho, m + ((65536 - rho) * (len(label["alphabets"]) - m) + 32768) // 65536))
    return out


def strangers_tables() -> dict[tuple[int, int, int], list[int]]:
    """(label, level, context) -> table, in the order of section 3."""
    labels, arrays = GOLDEN_CONTENT["vocabulary"]["labels"], GOLDEN_CONTENT["arrays"]
    flat, position, tables = arrays["coding.cumulative"]["data"], 0, {}
    for k, label in enumerate(labels):
        sizes = label["alphabets"]
        for level, size in enumerate(sizes):
            count = math.prod(sizes[:level]) if math.prod(sizes[:level]) <= 128 else sizes[0]
            if level == 0:
                size += not label["minimum_levels"]
                count = math.prod(labels[p]["alphabets"][0] for p in strangers_parents(k))
            for context in range(count):
                tables[k, level, context] = flat[position : position + size + 1]
                position += size + 1
    assert position == len(flat)
    return tables


def strangers_parents(k: int) -> list[int]:
    return [p for p in GOLDEN_CONTENT["arrays"]["coding.parents"]["data"][2 * k : 2 * k + 2] if p >= 0]


def strangers_context(k: int, level: int, symbols: list[list[int]]) -> int:
    """Digits of a number, the first one most significant: section 3."""
    labels = GOLDEN_CONTENT["vocabulary"]["labels"]
    sizes = labels[k]["alphabets"]
    if level == 0:
        digits = [(symbols[p][0], labels[p]["alphabets"][0]) for p in strangers_parents(k)]
    elif math.prod(sizes[:level]) > 128:
        digits = [(symbols[k][0], sizes[0])]
    else:
        digits = list(zip(symbols[k][:level], sizes[:level], strict=True))
    context = 0
    for digit, size in digits:
        assert 0 <= digit < size
        context = context * size + digit
    return context


def strangers_layers(data: bytes) -> list[bytes]:
    """Sections 1 and 2 for whole and undamaged files with lengths below 128."""
    assert data[:2] == b"\x9eS" and data[2] >> 4 == 6
    lengths = list(data[7 : 7 + data[2] % 16])
    position = 7 + len(lengths) + 3
    covered = data[: position - 3] + data[position : position + lengths[0]]
    assert plain_crc32c(covered) % 2**24 == int.from_bytes(data[position - 3 : position], "little")
    layers = []
    for number, length in enumerate(lengths):
        layers.append(data[position : position + length])
        position += length
        if number and length:
            covered += layers[-1]
            assert plain_crc32c(covered) & 0xFFFF == int.from_bytes(data[position : position + 2], "little")
            position += 2
    assert position == len(data)
    return layers


def read_like_a_stranger(data: bytes) -> tuple[list[list[int]], list[tuple[int, int, int]]]:
    """A second reader with nothing of ours in it: symbols, and (omega, rho, kept levels) of each label."""
    labels, tables = GOLDEN_CONTENT["vocabulary"]["labels"], strangers_tables()
    deepest = max(len(label["alphabets"]) for label in labels)
    symbols = [[-1] * deepest for _ in labels]
    kept: list[tuple[int, int, int]] = []
    state = 0
    for number, layer in enumerate(strangers_layers(data)):
        state, layer = (layer[0], layer[1:]) if number == 0 else (state, layer)
        stream = StrangersStream(layer)

        def read(k: int, level: int, stream: StrangersStream = stream) -> int:
            return stream.symbol(tables[k, level, strangers_context(k, level, symbols)])

        for k, label in enumerate(labels):
            if number == 0 and label["minimum_levels"]:
                symbols[k][0] = read(k, 0)
            elif number == 1 and not label["minimum_levels"] and kept[k][2] >= 1:
                s = read(k, 0)
                symbols[k][0] = -1 if s == label["alphabets"][0] else s
        for level in {0: [], 1: [1], 2: [2], 3: range(3, deepest)}[number]:
            for k in range(len(labels)):
                if kept[k][2] > level and symbols[k][0] >= 0:
                    symbols[k][level] = read(k, level)
        if number == 0:
            kept = strangers_kept(symbols, state)
    return symbols, kept
