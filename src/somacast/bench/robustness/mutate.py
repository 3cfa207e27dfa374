"""Packets of a live stream as an attacker would change them: with the check left wrong, or made right again.

mutate(data) flips, cuts, splices, inserts, repeats, and sets bytes to extremes; sealed(data) gives it a right check
"""

from __future__ import annotations

import google_crc32c
import numpy as np

from somacast.bitstream import container
from somacast.bitstream.container import varint
from somacast.bitstream.packets import CRC_BYTES
from somacast.bitstream.video import MAX_RECORD_BYTES
from somacast.errors import SomacastError
from somacast.types import Payload

EXTREMES = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)
HEAD_BYTES = 20  # where numbers, counts and lengths stand in every kind


class Mutator:
    """corpus: real messages to splice from. All chance comes from rng."""

    def __init__(self, rng: np.random.Generator, corpus: list[bytes]) -> None:
        self.rng, self.corpus = rng, corpus
        self._ways = (
            self._flip,
            self._flip_head,
            self._set,
            self._cut,
            self._splice,
            self._insert,
            self._repeat,
            self._drop,
        )

    def __call__(self, data: bytes) -> bytes:
        """One to three changes."""
        for _ in range(1 + int(self.rng.geometric(0.6) > 1) + int(self.rng.random() < 0.1)):
            data = self._ways[int(self.rng.integers(len(self._ways)))](data)
        return data

    def pick(self) -> bytes:
        """Any message of the corpus."""
        return self.corpus[int(self.rng.integers(len(self.corpus)))]

    def _place(self, data: bytes) -> int:
        return int(self.rng.integers(len(data) + 1))

    def _flip(self, data: bytes, most: int | None = None) -> bytes:
        out = bytearray(data)
        for _ in range(int(self.rng.geometric(0.4)) if out else 0):
            place = int(self.rng.integers(min(len(out), most or len(out))))
            out[place] ^= 1 << int(self.rng.integers(8))
        return bytes(out)

    def _flip_head(self, data: bytes) -> bytes:
        return self._flip(data, HEAD_BYTES)

    def _set(self, data: bytes) -> bytes:
        """Numbers, counts and lengths to extremes: one byte, or a run of up to four."""
        out = bytearray(data)
        start = int(self.rng.integers(min(len(out), HEAD_BYTES) + 1))
        value = EXTREMES[int(self.rng.integers(len(EXTREMES)))]
        for place in range(start, min(start + int(self.rng.integers(1, 5)), len(out))):
            out[place] = value
        return bytes(out)

    def _cut(self, data: bytes) -> bytes:
        return data[: self._place(data)]

    def _splice(self, data: bytes) -> bytes:
        other = self.pick()
        return data[: self._place(data)] + other[self._place(other) :]

    def _insert(self, data: bytes) -> bytes:
        place, count = self._place(data), int(self.rng.integers(1, 1 << int(self.rng.integers(1, 11))))
        run = self.rng.bytes(count) if self.rng.random() < 0.5 else bytes([EXTREMES[int(self.rng.integers(6))]]) * count
        return data[:place] + run + data[place:]

    def _repeat(self, data: bytes) -> bytes:
        a, b = sorted((self._place(data), self._place(data)))
        return data[:b] + data[a:b] * int(self.rng.integers(1, 4)) + data[b:]

    def _drop(self, data: bytes) -> bytes:
        a, b = sorted((self._place(data), self._place(data)))
        return data[:a] + data[b:]


def sealed_packet(data: bytes, digest: bytes) -> bytes:
    """A live packet whose version and check are right, whatever else it says."""
    body = bytearray(data[:-CRC_BYTES] if len(data) > CRC_BYTES else data.ljust(4, b"\0"))
    body[0] = 0x10 | body[0] & 15
    return bytes(body) + google_crc32c.value(digest + bytes(body)).to_bytes(4, "little")[:CRC_BYTES]


def sealed_record(data: bytes, digest: bytes) -> bytes:
    """A record of a video, with its length before it, whose check is right, whatever else it says."""
    body = data[:-CRC_BYTES] if len(data) > CRC_BYTES else data.ljust(2, b"\0")
    body = body[: MAX_RECORD_BYTES - CRC_BYTES]
    sealed = body + google_crc32c.value(digest + body).to_bytes(4, "little")[:CRC_BYTES]
    return varint(len(sealed)) + sealed


def sealed_report(data: bytes) -> bytes:
    """Feedback whose kind and check are right."""
    body = b"\xf1" + data[1:-2]
    return body + (google_crc32c.value(body) & 0xFFFF).to_bytes(2, "little")


def sealed_container(data: bytes, mutator: Mutator) -> bytes:
    """A still whose layers are changed and whose checks are right."""
    whole = container.unpack(data)[0]
    layers = list(whole.layers)
    place = int(mutator.rng.integers(len(layers)))
    layers[place] = mutator(layers[place])
    if mutator.rng.random() < 0.2:
        layers = (layers * 20)[: int(mutator.rng.integers(1, 20))]
    try:
        return container.pack(Payload(whole.system, whole.weights_digest, layers))
    except SomacastError:
        return data
