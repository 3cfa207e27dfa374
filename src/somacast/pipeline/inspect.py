"""What is inside a .soma file, for people and for programs: header, layers, every label group with its bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from somacast.bitstream import container
from somacast.semantics.label_coding import CodingTables, symbol_bits
from somacast.semantics.vocabulary import Vocabulary
from somacast.systems import registry
from somacast.types import BitstreamError


def describe(data: bytes) -> dict[str, Any]:
    """Describe the bytes of a .soma file without loading any network.

    Returns
    -------
    dict with `header` (format_version, system, weights_digest, network_state, bytes, header_bytes), `layers` (index,
    bytes), `groups` (group, labels, sent, levels_sent, levels, bits), `labels` (name, group, symbols, levels, bits,
    value) and `notes`. A file for other weights than those installed has no groups and a note.

    Raises BitstreamError if the bytes are no whole .soma base layer.
    """
    held, notes = container.unpack(data)
    header_bytes = len(data) - sum(len(layer) for layer in held.layers)
    description: dict[str, Any] = {
        "header": {
            "format_version": container.VERSION,
            "system": held.system,
            "weights_digest": held.weights_digest.hex(),
            "network_state": held.network_state,
            "bytes": len(data),
            "header_bytes": header_bytes,  # all that is not payload: header, lengths, checks
        },
        "layers": [{"index": i, "bytes": len(layer)} for i, layer in enumerate(held.layers)],
        "groups": [],
        "labels": [],
        "notes": list(notes),
    }
    try:
        system = registry.get(held.system)
        semantics, more = system.unpack(data)
    except BitstreamError as fault:  # whole and sound, but not for this installation
        description["notes"].append(str(fault))
        return description
    description["notes"] += [note for note in more if note not in notes]
    vocabulary, tables = system.labels()
    description["labels"] = _labels(semantics.symbols, vocabulary, tables)
    description["groups"] = [_group(name, description["labels"]) for name in vocabulary.groups]
    return description


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
