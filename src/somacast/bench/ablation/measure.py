"""`somacast bench ablations`: what each idea of AFLSC is worth, on test people; results as JSON, a table and a figure.

The variants come from `somacast train aflsc ablations`. Everything is measured on the same people.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from somacast.bench.ablation.coding import (
    Said,
    bits_table,
    coding_table,
    mean_over_actions,
    smallest_stream,
    smallest_within,
    stream,
)
from somacast.bench.ablation.config import AblateConfig
from somacast.bench.quality.evaluate import _rounded, git_commit, machine, place_result, versions
from somacast.coding.label_coding import encode_layers, symbol_bits
from somacast.errors import SomacastError
from somacast.extras import require
from somacast.files import check_output_path, write_atomically
from somacast.geometry.reconstruction import Reconstruction
from somacast.geometry.surface import SurfaceConfig
from somacast.metrics.protocol import evaluate_pair
from somacast.metrics.shape import mpjpe, pa_mpjpe
from somacast.synthetic.datasets.loaders import EvalItem, load_items
from somacast.systems.aflsc.labels.chart import load_chart
from somacast.systems.aflsc.labels.codec import LabelCodec
from somacast.systems.aflsc.labels.layout import CODED_GROUPS
from somacast.systems.aflsc.networks.loading import load_tables
from somacast.systems.aflsc.receiver.assemble import build_human
from somacast.systems.aflsc.receiver.decoder import Decoder, DecoderConfig
from somacast.systems.aflsc.sender.encoder import Encoder
from somacast.systems.aflsc.training.ablations import CODING, DISCRIMINATOR
from somacast.systems.aflsc.training.config import FOLDER
from somacast.types import Semantics

FORMAT = "somacast ablations"
LIMIT_MM = 10.0
LINEAR = "no diffusion"  # the labels' linear estimate of the chart as it is
DIFFUSION = {
    **{f"{n} step{'s' * (n > 1)}": DecoderConfig(steps=n) for n in (1, 2, 4, 8)},
    **{f"literal, {n} step{'s' * (n > 1)}": DecoderConfig(steps=n, literal=True) for n in (1, 2, 4, 8)},
}
_SHOWN = ("ssim_box", "ssim_whole", "mse")


def weights_of(config: AblateConfig, name: str) -> Path:
    """Weights of a variant."""
    return config.run / FOLDER / f"{name}.safetensors"


def figures_of(config: AblateConfig, name: str) -> dict[str, Any] | None:
    """Held-out figures that the training left, or None."""
    path = config.run / FOLDER / name
    return json.loads(path.read_text()) if path.is_file() else None


class _Listener(Encoder):
    """An encoder that keeps the label values [L] as they were before quantisation."""

    values: np.ndarray

    def _report(self, look: Any, values: np.ndarray, *rest: Any) -> dict:
        self.values = values
        return super()._report(look, values, *rest)


# -- one person -------------------------------------------------------------------------------------------------------


def sent_row(item: EvalItem, semantics: Semantics, report: dict, codec: LabelCodec) -> dict[str, Any]:
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
        "label_bits": float(symbol_bits(semantics.symbols, vocabulary, codec.tables)[coded].sum()),
    }


def rebuilt(
    decoder: Decoder, config: DecoderConfig | None, semantics: Semantics
) -> tuple[Reconstruction, dict[str, float]]:
    """The person by one way of diffusion (None: none), with the change of the chart against the linear estimate (root
    mean square: color_change in [0, 1], offset_change_mm) and decode_s."""
    start = time.perf_counter()
    if config is None:
        state = decoder.space.state(decoder.space.vocabulary.dequantise(semantics.symbols[None])[0][0])
        color, offset = decoder.space.chart_maps(state.codes)
    else:
        decoder.config = config
        state, color, offset = decoder.restore(semantics)
    human = build_human(state, color, offset, SurfaceConfig(resolution=decoder.config.resolution))
    row = {"decode_s": time.perf_counter() - start}
    base_color, base_offset = decoder.space.chart_maps(state.codes)
    inside = load_chart().inside
    row["color_change"] = float(np.sqrt(np.square(color - base_color)[inside].mean()))
    row["offset_change_mm"] = 1000 * float(np.sqrt(np.square(offset - base_offset)[inside].mean()))
    return human, row


def diffusion_rows(decoder: Decoder, item: EvalItem, semantics: Semantics, protocol: ProtocolConfig) -> dict[str, dict]:
    """A row for each way of diffusion."""
    out = {}
    for name, config in {LINEAR: None, **DIFFUSION}.items():
        human, row = rebuilt(decoder, config, semantics)
        result, joints = place_result(human, item)
        truth_joints = None if joints is None else item.truth_joints
        figures = evaluate_pair(item.truth, result, truth_joints, joints, protocol)
        kept = {k: figures[k] for k in (*_SHOWN, "centred_chamfer_m", "centred_normal_consistency")}
        out[name] = {"action": item.action, **kept, **row}
    return out


# -- all people -------------------------------------------------------------------------------------------------------


@dataclass
class Gathered:
    """What one pass over the people gives."""

    people: list[Said] = field(default_factory=list)
    senders: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    diffusion: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failures: list[dict[str, str]] = field(default_factory=list)


def gather(config: AblateConfig, items: Iterator[EvalItem], codec: LabelCodec) -> Gathered:
    """Every person through all senders and all ways of diffusion; one whom any of them refuses is a failure."""
    from rich.console import Console
    from rich.progress import track

    sender = _Listener(config.device, weights_of(config, "full"))
    others = {
        n: Encoder(config.device, weights_of(config, n)) for n in DISCRIMINATOR if weights_of(config, n).is_file()
    }
    decoder, out, warm = Decoder(config.device, weights_of(config, "full")), Gathered(), False
    for item in track(items, "ablations", config.people, console=Console(stderr=True)):
        try:
            semantics, _ = sender.encode([item.frame])
            said = {name: other.encode([item.frame]) for name, other in others.items()}
            if not warm:  # what the first run compiles and loads counts for nobody
                rebuilt(decoder, DecoderConfig(), semantics)
                warm = True
            rows = diffusion_rows(decoder, item, semantics, config.protocol)
        except SomacastError as fault:
            out.failures.append({"name": item.name, "action": item.action, "message": str(fault)})
            continue
        assert item.truth_joints is not None
        out.people.append(Said(item.action, sender.values, semantics.symbols, item.truth_joints))
        for name, (spoken, report) in said.items():
            out.senders.setdefault(name, []).append(sent_row(item, spoken, report, codec))
        for name, row in rows.items():
            out.diffusion.setdefault(name, []).append(row)
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
    return out | {"difference": difference, "held_out": figures_of(config, "semantic.json")}


def ablate(config: AblateConfig) -> dict[str, Any]:
    """Measure, write the JSON and the figure, print the tables; returns what was written.

    SomacastError if the variants of the run are not there, or nobody came through.
    """
    from somacast.bench.ablation.show import draw_bits, print_tables

    for path in (config.json_path, config.figure_path):
        check_output_path(path)
    require("matplotlib", "the figure of bits by group")
    missing = [name for name in CODING if not weights_of(config, name).is_file()]
    if missing:
        raise SomacastError(
            f"{config.run / FOLDER}: no weights of {', '.join(missing)}; make them with: somacast train aflsc ablations "
            f"--run {config.run}"
        )
    codecs = {name: load_tables(weights_of(config, name)).codec for name in CODING}
    space, full = load_tables(weights_of(config, "full")).space, codecs["full"]
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
        "diffusion": {name: mean_over_actions(rows) for name, rows in gathered.diffusion.items()},
        "extractor": figures_of(config, "extract.json"),
    }
    for name in ("discriminator", "extractor"):
        if results[name] is None:
            print(f"somacast: note: no variants of the {name} in {config.run / FOLDER}", file=sys.stderr)
    result = _described(config, gathered, results)
    text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(config.json_path, text.encode())
    write_atomically(config.figure_path, draw_bits(results["bits"]))
    print_tables(result["results"])
    return result


def _described(config: AblateConfig, gathered: Gathered, results: dict[str, Any]) -> dict[str, Any]:
    """Results with how they were made, ready for JSON."""
    settings = {k: v for k, v in asdict(config).items() if k not in ("json_path", "figure")}
    settings["run"] = config.run.name
    settings["assets"] = config.assets.name if config.assets else None
    names = [name for name in (*CODING, *DISCRIMINATOR) if weights_of(config, name).is_file()]
    return _rounded(
        {
            "format": FORMAT,
            "system": "aflsc",
            "config": settings,
            "seed": config.seed,
            "device": config.device,
            "commit": git_commit(Path(__file__).parent),
            "weights_sha256": {f"{n}.safetensors": _sha256(weights_of(config, n)) for n in names},
            "machine": machine(),
            "versions": versions(),
            "results": results,
            "failures": gathered.failures,
        }
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
