"""AFLSC between labels and bytes, and the inputs its networks get from labels. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.bitstream.container import Container, pack, unpack
from somacast.coding.label_coding import CodingTables, decode_layers, encode_layers, fit_budget
from somacast.coding.vocabulary import Vocabulary
from somacast.errors import BitstreamError
from somacast.types import Semantics

SYSTEM = "aflsc"


@dataclass(frozen=True)
class LabelCodec:
    """Semantics <-> .soma bytes for one set of tables. digest: the three bytes that name them in streams."""

    vocabulary: Vocabulary
    tables: CodingTables
    digest: bytes

    def pack(self, semantics: Semantics, budget_bytes: int | None = None) -> bytes:
        """Bytes of one person; with a budget, labels give way by importance until the file fits (eq. 14, 17).

        SomacastError if the budget cannot hold the base layer.
        """
        if budget_bytes is None:
            state = semantics.network_state
            layers = encode_layers(semantics.symbols, state, self.vocabulary, self.tables)
        else:
            state, layers = fit_budget(
                semantics.symbols, budget_bytes, self.vocabulary, self.tables, semantics.network_state
            )
        return pack(Container(SYSTEM, self.digest, state, layers))

    def unpack(self, data: bytes) -> tuple[Semantics, list[str]]:
        """Inverse of `pack`, and what the user should be told (a cut file). BitstreamError for what is not ours."""
        container, notes = unpack(data)
        if container.system != SYSTEM:
            raise BitstreamError(f"expected a stream of system {SYSTEM}, got {container.system}")
        if container.weights_digest != self.digest:
            raise BitstreamError(
                f"expected a stream made for weights {self.digest.hex()}, got one for {container.weights_digest.hex()}"
                ": sender and receiver need the same version of the package"
            )
        symbols = decode_layers(container.layers, container.network_state, self.vocabulary, self.tables)
        return Semantics(SYSTEM, symbols, self.digest, container.network_state), notes


def label_inputs(vocabulary: Vocabulary, values: np.ndarray, width: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Network inputs [N, I] float32 from values, widths, present [N, L] (see `Vocabulary.dequantise`).

    Per scalar: standardised value (0 if missing), remaining width over the span; per angle: sine, cosine, width;
    per class: one-hot (zeros if missing). Then the present flags, so that missing never looks like average.
    """
    columns = []
    for i, label in enumerate(vocabulary.labels):
        there = present[:, i].astype(np.float32)
        if label.kind == "class":
            hot = np.eye(label.alphabets[0], dtype=np.float32)[np.clip(values[:, i], 0, None).astype(int)]
            columns.append(hot * there[:, None])
        elif label.kind == "circular":
            turn = np.stack([np.sin(values[:, i]), np.cos(values[:, i])], 1) * there[:, None]
            columns += [turn, width[:, i, None] / np.pi]
        else:
            unit = np.clip((values[:, i] - label.mean) / label.std, -4, 4) * there
            columns += [unit[:, None], width[:, i, None] / label.span]
    return np.concatenate([*columns, present], 1).astype(np.float32)


def label_input_count(vocabulary: Vocabulary) -> int:
    """Length of a row of `label_inputs`."""
    width = {"class": 0, "circular": 3, "scalar": 2}
    sizes = [label.alphabets[0] if label.kind == "class" else width[label.kind] for label in vocabulary.labels]
    return sum(sizes) + len(vocabulary.labels)
