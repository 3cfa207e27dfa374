"""AFLSC between labels and layers of bytes. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from somacast.bitstream.container import packed_bytes
from somacast.coding.label_coding import (
    CodingTables,
    decode_layers,
    encode_layers,
    fit_budget,
    importance_of,
    layer_plan,
    levels_sent,
)
from somacast.coding.vocabulary import Vocabulary
from somacast.errors import BitstreamError
from somacast.types import Payload

SYSTEM = "aflsc"
# Layers behind the labels, by how many there are: what stands last is told by what stands before it.
LOOK_LAYERS = (
    (), ("tokens",), ("warp", "picture"), ("warp", "picture", "tokens"), ("warp", "picture", "tokens", "face"),
)  # fmt: skip
LOOKS = ("appearance", "face")  # groups of labels of which little is sent where layers behind tell them better
PLACE = "camera"  # of which everything is sent where a picture must lie on the person


@dataclass(frozen=True)
class LabelCodec:
    """Symbols of all labels of one person [L, levels] int16 (-1 where not sent or not there) <-> layers, for one set of
    weights. digest: three bytes that name them.

    The base layer begins with the network state, f of eq. 18 in 1/255: the decoder needs it to know what was kept.
    """

    vocabulary: Vocabulary
    tables: CodingTables
    digest: bytes

    @cached_property
    def label_layers(self) -> int:
        """Layers that labels have at most; those of the look follow them."""
        return len(layer_plan(self.vocabulary))

    @cached_property
    def redundant(self) -> np.ndarray:
        """Labels [L] bool that a look tells better."""
        return np.array([label.group in LOOKS for label in self.vocabulary.labels])

    def layers_before_look(self, symbols: np.ndarray, network_state: int = 0) -> list[bytes]:
        """All `label_layers` of one person, without what the look tells better that comes behind them: the first
        holds everything, the others are empty."""
        (base,) = encode_layers(symbols, network_state, self.vocabulary, self.tables, self.settled)
        return [bytes([network_state]) + base, *[b""] * (self.label_layers - 1)]

    def padded(self, layers: list[bytes]) -> list[bytes]:
        """`layers`, and empty ones up to `label_layers`, so that tokens can follow."""
        return [*layers, *[b""] * (self.label_layers - len(layers))]

    def symbols_before_look(self, layers: list[bytes]) -> np.ndarray:
        """Inverse of `layers_before_look`."""
        return self.symbols(layers, self.label_layers + 2)

    def layers(self, symbols: np.ndarray, budget_bytes: int | None = None, network_state: int = 0) -> list[bytes]:
        """Layers of one person; with a budget for the whole file, labels give way by importance until it fits (eq. 14,
        17). SomacastError if the budget cannot hold the base layer."""
        if budget_bytes is None:
            base, *finer = encode_layers(symbols, network_state, self.vocabulary, self.tables)
        else:
            network_state, (base, *finer) = fit_budget(
                symbols, budget_bytes, self.vocabulary, self.tables, network_state, _file_bytes
            )
        return [bytes([network_state]) + base, *finer]

    @cached_property
    def settled(self) -> np.ndarray:
        """Levels [L] that are sent of a label before a look, -1 where importance decides."""
        vocabulary = self.vocabulary
        placed = np.array([label.group == PLACE for label in vocabulary.labels])
        settled = np.where(placed, vocabulary.level_counts, -1)
        return np.where(self.redundant, vocabulary.minimum_levels, settled)

    def levels_sent(self, symbols: np.ndarray, network_state: int, looked: bool) -> np.ndarray:
        """How many levels [L] of each label are sent; looked: before a look."""
        omega = importance_of(symbols.astype(np.int64), self.vocabulary, self.tables)
        return levels_sent(omega, network_state, self.vocabulary, self.tables, self.settled if looked else None)

    def symbols(self, layers: list[bytes], announced: int = 0) -> np.ndarray:
        """Inverse of `layers` and `layers_before_look` for any prefix of them; announced: how many layers there are
        in all (0: those at hand). BitstreamError for what no encoder makes."""
        given, count = [layers[0][1:], *layers[1 : self.label_layers]], max(announced, len(layers))
        state = self.network_state(layers)
        if count == self.label_layers + 1:  # tokens alone: labels as they are, but for what `padded` has added
            while len(given) > 1 and not given[-1]:
                given.pop()
        if count <= self.label_layers + 1:
            return decode_layers(given, state, self.vocabulary, self.tables)
        most = self.label_layers + len(LOOK_LAYERS) - 1
        if count > most:
            raise BitstreamError(f"the file has {count} layers, expected 1 to {most} for these weights")
        if any(given[1:]):
            raise BitstreamError("with a look layer 0 holds all labels: expected layers 1 to 3 without bytes")
        return decode_layers(given[:1], state, self.vocabulary, self.tables, self.settled)

    def look(self, payload: Payload) -> dict[str, bytes]:
        """Layers behind the labels, by name, as far as they came and hold something."""
        count = max(payload.announced, len(payload.layers)) - self.label_layers
        if count <= 0:
            return {}
        behind = payload.layers[self.label_layers :]
        named = zip(LOOK_LAYERS[min(count, len(LOOK_LAYERS) - 1)], behind, strict=False)
        return {name: layer for name, layer in named if layer or name == "warp"}

    def is_seen(self, payload: Payload) -> bool:
        """Whether layers at hand show how the person looks, so that labels of that are not missing."""
        return not self.look(payload).keys().isdisjoint(("picture", "tokens"))

    @staticmethod
    def network_state(layers: list[bytes]) -> int:
        """f of eq. 18 in 1/255 that the layers were made for."""
        if not layers[0]:
            raise BitstreamError("the base layer is empty, expected one that begins with the network state")
        return layers[0][0]

    def payload(self, symbols: np.ndarray, budget_bytes: int | None = None, network_state: int = 0) -> Payload:
        """`layers` as they travel."""
        return Payload(SYSTEM, self.digest, self.layers(symbols, budget_bytes, network_state))


def _file_bytes(lengths: list[int]) -> int:
    """Size of the file that holds the labels' layers of these lengths, and the network state."""
    return packed_bytes(SYSTEM, [lengths[0] + 1, *lengths[1:]])
