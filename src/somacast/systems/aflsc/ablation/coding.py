"""Ablations of the label coding: what importance and conditional probabilities save, where the bits go, how small a
stream may be.

    labels of a person -> file by the tables of each variant -> bytes, and how far the rebuilt person has moved
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from somacast.bitstream.container import pack, unpack
from somacast.body.table import hand_and_jaw_rotations, load_body
from somacast.coding.label_coding import encode_layers, symbol_bits
from somacast.coding.vocabulary import Vocabulary
from somacast.errors import SomacastError
from somacast.metrics.protocol import summarise
from somacast.metrics.shape import mpjpe
from somacast.systems.aflsc.labels.codec import SYSTEM, LabelCodec
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.receiver.assemble import displaced_body
from somacast.types import Payload

STATES = tuple(range(0, 256, 5))  # network states that are tried for the smallest useful stream


@dataclass(frozen=True)
class Said:
    """One person as the sender says it: label values [L] before quantisation, symbols [L, levels]; the true joints
    [21, 3] in metres with the pelvis at the origin."""

    action: str
    values: np.ndarray
    symbols: np.ndarray
    truth_joints: np.ndarray


def mean_over_actions(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean of every number of rows that have an "action": mean over the actions, as in all tables of the protocol."""
    actions: dict[str, list[dict[str, float]]] = {}
    for row in rows:
        actions.setdefault(row["action"], []).append({k: v for k, v in row.items() if k != "action"})
    return summarise(actions)["total"]


def joints_of(space: LabelSpace, values: np.ndarray) -> np.ndarray:
    """Joints [21, 3] of label values [L], metres, pelvis at the origin."""
    state, body = space.state(values), load_body()
    _, bones = body.rest(state.shape)
    _, joints = body.transforms(bones, state.rotations, hand_and_jaw_rotations(*state.curl))
    return joints - joints[0]


def skin_of(space: LabelSpace, values: np.ndarray) -> np.ndarray:
    """Skin and clothes [V, 3] of label values [L] by the linear estimate of the chart, metres, pelvis at the origin."""
    state = space.state(values)
    return displaced_body(state, space.appearance.offset_map(state.codes))[0]


def received(codec: LabelCodec, data: bytes) -> np.ndarray:
    """Label values [L] of a file; labels that were not sent have their mean."""
    return codec.vocabulary.dequantise(codec.symbols(unpack(data)[0].layers)[None])[0][0]


def stream(codec: LabelCodec, layers: list[bytes], network_state: int) -> bytes:
    """The file of these layers."""
    base, *finer = layers
    return pack(Payload(SYSTEM, codec.digest, [bytes([network_state]) + base, *finer]))


def smallest_stream(codec: LabelCodec, symbols: np.ndarray) -> bytes:
    """The least that can be sent of a person: the base layer alone."""
    return stream(codec, encode_layers(symbols, 255, codec.vocabulary, codec.tables)[:1], 255)


# -- variants at budgets ----------------------------------------------------------------------------------------------


def coded(space: LabelSpace, codec: LabelCodec, person: Said, budget_bytes: int | None) -> dict[str, Any] | None:
    """One person through one variant's file, a row: bytes, mean move of joints and skin against the unquantised labels
    and MPJPE against the truth, in mm; None if the budget cannot hold the base layer."""
    try:
        data = pack(codec.payload(person.symbols, budget_bytes))
    except SomacastError:
        return None
    values = received(codec, data)
    joints = joints_of(space, values)
    skin = np.linalg.norm(skin_of(space, values) - skin_of(space, person.values), axis=1)
    return {
        "action": person.action,
        "bytes": len(data),
        "joints_move_mm": 1000 * float(mpjpe(joints_of(space, person.values), joints)),
        "skin_move_mm": 1000 * float(skin.mean()),
        "mpjpe_mm": 1000 * float(mpjpe(person.truth_joints, joints)),
    }


def coding_table(
    space: LabelSpace, codecs: Mapping[str, LabelCodec], people: Sequence[Said], budgets: Sequence[int | None]
) -> list[dict[str, Any]]:
    """A row for each budget and variant: means over those people whom every variant can code in this budget (`people`
    of them), and how many this variant could not (`too_small`)."""
    out = []
    for budget in budgets:
        rows = {name: [coded(space, codec, p, budget) for p in people] for name, codec in codecs.items()}
        shared = [k for k in range(len(people)) if all(found[k] is not None for found in rows.values())]
        for name, found in rows.items():
            row: dict[str, Any] = {"variant": name, "budget_bytes": budget, "people": len(shared)}
            row["too_small"] = sum(r is None for r in found)
            picked = [r for k in shared if (r := found[k]) is not None]
            out.append(row | (mean_over_actions(picked) if picked else {}))
    return out


# -- where the bits go ------------------------------------------------------------------------------------------------


def bits_table(codec: LabelCodec, streams: Sequence[bytes]) -> dict[str, Any]:
    """Mean bytes of files and the mean bits in them by label group and level: {"bytes", "bits", "groups": [{group,
    labels, sent, bits, levels}]}. What the bytes hold more is the header and the ends of the streams."""
    vocabulary = codec.vocabulary
    decoded = [codec.symbols(unpack(data)[0].layers) for data in streams]
    bits = np.mean([symbol_bits(symbols, vocabulary, codec.tables) for symbols in decoded], 0)
    sent = np.mean([symbols[:, 0] >= 0 for symbols in decoded], 0)
    groups = [_group_row(vocabulary, name, bits, sent) for name in vocabulary.groups]
    mean_bytes = float(np.mean([len(data) for data in streams]))
    return {"bytes": mean_bytes, "bits": float(bits.sum()), "groups": [g for g in groups if g["labels"]]}


def _group_row(vocabulary: Vocabulary, name: str, bits: np.ndarray, sent: np.ndarray) -> dict[str, Any]:
    members = vocabulary.group_indices(name)
    levels = bits[members].sum(0)
    return {"group": name, "labels": len(members), "sent": float(sent[members].sum()), "bits": float(levels.sum()),
            "levels": levels.tolist()}  # fmt: skip


# -- the smallest stream that still is the person ---------------------------------------------------------------------


def smallest_within(
    space: LabelSpace,
    codec: LabelCodec,
    people: Sequence[Said],
    limit_mm: float = 10.0,
    states: Sequence[int] = STATES,
) -> dict[str, Any]:
    """The smallest mean file whose mean MPJPE over all people is at most `limit_mm` above that of the full file.

    Every network state of `states` and every number of layers is tried, the same for all people. Returns bytes,
    network_state, layers, mpjpe_mm; full_bytes, full_mpjpe_mm; and "front": the tried ones that no smaller file beats.
    """
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for person in people:
        for state in states:
            layers = encode_layers(person.symbols, state, codec.vocabulary, codec.tables)
            for count in range(1, len(layers) + 1):
                data = stream(codec, layers[:count], state)
                error = 1000 * float(mpjpe(person.truth_joints, joints_of(space, received(codec, data))))
                row = {"action": person.action, "bytes": len(data), "mpjpe_mm": error}
                found.setdefault((state, count), []).append(row)
    tried = [
        {"network_state": state, "layers": count, **mean_over_actions(rows)}
        for (state, count), rows in found.items()
        if len(rows) == len(people)  # a state may leave a layer empty for some
    ]
    full = _full(space, codec, people)
    tried.sort(key=lambda row: (row["bytes"], row["mpjpe_mm"]))
    near = next((row for row in tried if row["mpjpe_mm"] - full["mpjpe_mm"] <= limit_mm), None)
    front: list[dict[str, Any]] = []
    for row in tried:
        if not front or row["mpjpe_mm"] < front[-1]["mpjpe_mm"]:
            front.append(row)
    out: dict[str, Any] = dict(near or {"bytes": full["bytes"], "mpjpe_mm": full["mpjpe_mm"]})
    return out | {"full_bytes": full["bytes"], "full_mpjpe_mm": full["mpjpe_mm"], "front": front}


def _full(space: LabelSpace, codec: LabelCodec, people: Sequence[Said]) -> dict[str, float]:
    """Mean bytes and MPJPE of the files that hold everything."""
    rows = []
    for person in people:
        data = pack(codec.payload(person.symbols))
        error = 1000 * float(mpjpe(person.truth_joints, joints_of(space, received(codec, data))))
        rows.append({"action": person.action, "bytes": len(data), "mpjpe_mm": error})
    return mean_over_actions(rows)
