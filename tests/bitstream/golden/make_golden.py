"""Writes tiny.soma and tiny.json: one person in a vocabulary of seven labels, with tables and symbols.

The files in the repository are the truth: files written by released versions must decode to the same symbols for
ever. Run this only together with a new format version:  python tests/bitstream/golden/make_golden.py
tiny_v2.soma and tiny_v4.soma are the same person as versions 2 and 4 wrote it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from somacast.bitstream.container import pack
from somacast.coding.importance import ImportanceModel
from somacast.coding.label_coding import CodingTables, encode_layers
from somacast.coding.vocabulary import Label, Vocabulary
from somacast.types import Payload

HERE = Path(__file__).parent

TINY = Vocabulary(
    (
        Label("lean", "pose", "scalar", (5, 3, 3), mean=0.1, std=0.3),
        Label("knee", "pose", "scalar", (4, 4), mean=0.8, std=0.5),
        Label("yaw", "pose", "circular", (8, 4, 4, 2, 2)),
        Label("top", "look", "class", (3,), classes=("shirt", "coat", "dress")),
        Label("hue", "look", "circular", (6, 3)),
        Label("hat", "look", "class", (2,), minimum_levels=0, classes=("cap", "hood")),
        Label("bag", "look", "scalar", (4, 4), minimum_levels=0),
    ),
    version=1,
    groups=("pose", "look"),
)
SENT = [[2, 1], [3], [6, 2, 0, 0, 1], [1], [4, 2], [], [1]]  # what the network state leaves of each label
SYMBOLS = [row + [-1] * (TINY.levels - len(row)) for row in SENT]
NETWORK_STATE = 140
DIGEST = bytes.fromhex("0badca")


def training_symbols(count: int = 60) -> np.ndarray:
    """A made-up training set from integers alone: squares modulo the alphabet, optional labels missing at times."""
    sample, label, level = np.indices((count, *TINY.alphabets.shape))
    symbols = (sample * sample + 3 * label + level * sample) % np.maximum(TINY.alphabets, 1)
    absent = (TINY.minimum_levels[:, None] == 0) & (sample % 3 == 0)
    return np.where((TINY.alphabets > 0) & ~absent, symbols, -1)


def tiny_tables() -> CodingTables:
    tau = np.array([900, 400, 8000, 700, 300, 200, 350])
    return CodingTables.build(TINY, training_symbols(), ImportanceModel.plain(TINY, tau))


def main() -> None:
    tables = tiny_tables()
    layers = encode_layers(np.array(SYMBOLS), NETWORK_STATE, TINY, tables)
    base, *finer = layers
    (HERE / "tiny.soma").write_bytes(pack(Payload("aflsc", DIGEST, [bytes([NETWORK_STATE]) + base, *finer])))
    arrays = {
        name: {"dtype": str(array.dtype), "shape": array.shape, "data": array.reshape(-1).tolist()}
        for name, array in tables.to_arrays().items()
    }
    content = {
        "vocabulary": json.loads(TINY.to_json()),
        "arrays": arrays,
        "symbols": SYMBOLS,
        "layers": [layer.hex() for layer in layers],
    }
    (HERE / "tiny.json").write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
