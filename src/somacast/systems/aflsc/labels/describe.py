"""The labels of a person as tables, for `somacast info`."""

from __future__ import annotations

from typing import Any

import numpy as np

from somacast.coding.label_coding import CodingTables, symbol_bits
from somacast.coding.vocabulary import Vocabulary
from somacast.systems.aflsc.networks.loading import load_tables
from somacast.systems.aflsc.picture_layer.coding import picture_size
from somacast.types import Payload


def describe(payload: Payload) -> dict[str, Any]:
    """network_state; picture and face (their sizes), warp_bytes, picture_bytes, tokens_bytes and face_bytes, as far as
    they are there; groups (group, labels, sent, levels_sent, levels, bits); labels (name, group, symbols, levels, bits,
    value), in coding order. BitstreamError for layers that no encoder makes."""
    codec = load_tables().codec
    labels = _labels(codec.symbols(payload.layers, payload.announced), codec.vocabulary, codec.tables)
    look: dict[str, Any] = {}
    for name, layer in codec.look(payload).items():
        if name in ("picture", "face"):
            look[name] = "{} x {} px".format(*picture_size(layer))
        look[f"{name}_bytes"] = len(layer)
    return {
        "network_state": codec.network_state(payload.layers),
        **look,
        "groups": [_group(name, labels) for name in codec.vocabulary.groups],
        "labels": labels,
    }


def _labels(symbols: np.ndarray, vocabulary: Vocabulary, tables: CodingTables) -> list[dict[str, Any]]:
    """One entry for each label, in coding order."""
    bits = symbol_bits(symbols, vocabulary, tables).sum(1)
    values, _, present = vocabulary.dequantise(symbols[None])
    rows = []
    for i, label in enumerate(vocabulary.labels):
        sent = [int(s) for s in symbols[i] if s >= 0]
        value: Any = None
        if present[0, i]:
            value = label.classes[sent[0]] if label.classes else round(float(values[0, i]), 5)
        rows.append(
            {"name": label.name, "group": label.group, "symbols": sent, "levels": len(label.alphabets),
             "bits": round(float(bits[i]), 3), "value": value}
        )  # fmt: skip
    return rows


def _group(name: str, labels: list[dict[str, Any]]) -> dict[str, Any]:
    members = [label for label in labels if label["group"] == name]
    return {
        "group": name,
        "labels": len(members),
        "sent": sum(bool(label["symbols"]) for label in members),
        "levels_sent": sum(len(label["symbols"]) for label in members),
        "levels": sum(label["levels"] for label in members),
        "bits": round(sum(label["bits"] for label in members), 2),
    }
