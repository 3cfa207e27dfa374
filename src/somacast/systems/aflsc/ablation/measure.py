"""`somacast bench study aflsc ablations`: what each idea of AFLSC is worth, on test people; a table and a figure.

The variants come from `somacast train aflsc ablations`. Everything is measured on the same people.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from somacast.coding.label_coding import encode_layers, symbol_bits
from somacast.errors import SomacastError
from somacast.extras import require
from somacast.files import check_output_path, write_atomically
from somacast.metrics.shape import mpjpe, pa_mpjpe
from somacast.synthetic.datasets.loaders import EvalItem, load_items
from somacast.systems.aflsc.ablation.coding import (
    Said,
    bits_table,
    coding_table,
    mean_over_actions,
    smallest_stream,
    smallest_within,
    stream,
)
from somacast.systems.aflsc.ablation.config import AblateConfig
from somacast.systems.aflsc.labels.codec import LabelCodec
from somacast.systems.aflsc.labels.layout import CODED_GROUPS
from somacast.systems.aflsc.networks.loading import load_tables
from somacast.systems.aflsc.sender.encoder import Encoder
from somacast.systems.aflsc.training.ablations import CODING, DISCRIMINATOR
from somacast.systems.aflsc.training.config import FOLDER
from somacast.types import Capture

LIMIT_MM = 10.0


# -- one person -------------------------------------------------------------------------------------------------------


def sent_row(item: EvalItem, symbols: np.ndarray, report: dict, codec: LabelCodec) -> dict[str, Any]:
    """What a sender said of one person: mpjpe_mm, pa_mpjpe_mm, and label_bits, the information of the coded labels
    under the training people's distribution: the likelier the labels, the fewer."""
    joints = np.array(list(report["joints_3d_m"].values()))
    vocabulary = codec.vocabulary
    coded = [i for i, label in enumerate(vocabulary.labels) if label.group in CODED_GROUPS]
    assert item.truth_joints is not None
    return {
        "action": item.action,
        "mpjpe_mm": 1000 * float(mpjpe(item.truth_joints, joints)),
        "pa_mpjpe_mm": 1000 * float(pa_mpjpe(item.truth_joints, joints)),
        "label_bits": float(symbol_bits(symbols, vocabulary, codec.tables)[coded].sum()),
    }


# -- all people -------------------------------------------------------------------------------------------------------


@dataclass
class Gathered:
    """What one pass over the people gives."""

    people: list[Said] = field(default_factory=list)
    senders: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failures: list[dict[str, str]] = field(default_factory=list)


def gather(config: AblateConfig, items: Iterator[EvalItem], codec: LabelCodec) -> Gathered:
    """Every person through all senders; one whom any of them refuses is a failure."""
    from rich.console import Console
    from rich.progress import track

    sender = Encoder(config.device, config.weights("full"))
    others = {n: Encoder(config.device, config.weights(n)) for n in DISCRIMINATOR if config.weights(n).is_file()}
    out = Gathered()
    for item in track(items, "ablations", config.people, console=Console(stderr=True)):
        try:
            capture = Capture([item.frame])
            values, _ = sender.read(capture)
            said = {name: other.read(capture) for name, other in others.items()}
        except SomacastError as fault:
            out.failures.append({"name": item.name, "action": item.action, "message": str(fault)})
            continue
        assert item.truth_joints is not None
        symbols = codec.vocabulary.quantise(values[None])[0]
        out.people.append(Said(item.action, values, symbols, item.truth_joints))
        for name, (spoken, encoded) in said.items():
            spoken_symbols = codec.vocabulary.quantise(spoken[None])[0]
            out.senders.setdefault(name, []).append(sent_row(item, spoken_symbols, encoded.report, codec))
    return out


def discriminator_table(config: AblateConfig, rows: dict[str, list[dict[str, Any]]]) -> dict[str, Any] | None:
    """Means of both senders, the paired differences (without minus with) and the coders' own held-out figures; None if
    the variants are not there."""
    if set(rows) != set(DISCRIMINATOR):
        return None
    out: dict[str, Any] = {name: mean_over_actions(found) for name, found in rows.items()}
    without, with_it = rows["no-discriminator"], rows["with-discriminator"]
    difference = {}
    for figure in ("mpjpe_mm", "pa_mpjpe_mm", "label_bits"):
        gaps = np.array([a[figure] - b[figure] for a, b in zip(without, with_it, strict=True)])
        error = float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else None
        difference[figure] = {"mean": float(gaps.mean()), "standard_error": error}
    return out | {"difference": difference, "held_out": config.figures("semantic.json")}


def study(config: AblateConfig) -> dict[str, Any]:
    """Measure, draw the figure, print the tables; system, results and weights, for bench/results.py to write.

    SomacastError if the variants of the run are not there, or nobody came through.
    """
    from somacast.systems.aflsc.ablation.show import draw_bits, print_tables

    check_output_path(config.figure_path)
    require("matplotlib", "the figure of bits by group")
    missing = [name for name in CODING if not config.weights(name).is_file()]
    if missing:
        raise SomacastError(
            f"{config.run / FOLDER}: no weights of {', '.join(missing)}; make them with: somacast train aflsc "
            f"ablations --run {config.run}"
        )
    codecs = {name: load_tables(config.weights(name)).codec for name in CODING}
    space, full = load_tables(config.weights("full")).space, codecs["full"]
    items = load_items("synthetic-test", "synthetic", config.people, config.assets, config.seed)
    gathered = gather(config, items, full)
    if not gathered.people:
        raise SomacastError(f"none of {config.people} people came through: {gathered.failures[0]['message']}")
    symbols = [person.symbols for person in gathered.people]
    whole = [stream(full, encode_layers(s, 0, full.vocabulary, full.tables), 0) for s in symbols]
    near = smallest_within(space, full, gathered.people, LIMIT_MM)
    results = {
        "people": config.people,
        "failed": len(gathered.failures),
        "coding": coding_table(space, codecs, gathered.people, (*config.budgets, None)),
        "smallest_bytes": {n: float(np.mean([len(smallest_stream(c, s)) for s in symbols])) for n, c in codecs.items()},
        "bits": {
            "full": bits_table(full, whole),
            "smallest": bits_table(full, [smallest_stream(full, s) for s in symbols]),
        },
        f"smallest_within_{LIMIT_MM:.0f}mm_bytes": near["bytes"],
        f"smallest_within_{LIMIT_MM:.0f}mm": near,
        "discriminator": discriminator_table(config, gathered.senders),
        "extractor": config.figures("extract.json"),
    }
    for name in ("discriminator", "extractor"):
        if results[name] is None:
            print(f"somacast: note: no variants of the {name} in {config.run / FOLDER}", file=sys.stderr)
    write_atomically(config.figure_path, draw_bits(results["bits"]))
    print_tables(results)
    names = [name for name in (*CODING, *DISCRIMINATOR) if config.weights(name).is_file()]
    weights = {f"{n}.safetensors": _sha256(config.weights(n)) for n in names}
    return {"results": results | {"failures": gathered.failures}, "weights_sha256": weights}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
