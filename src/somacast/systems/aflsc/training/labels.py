"""Stage 2 of the AFLSC recipe: the vocabulary's tables, the importance of labels, the coding tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from somacast.body.skeleton import joint_rotvecs
from somacast.body.table import BODY_VERTICES, hand_and_jaw_rotations, load_body, skin_vertices
from somacast.coding.importance import ImportanceModel
from somacast.coding.label_coding import CodingTables
from somacast.coding.vocabulary import Vocabulary
from somacast.synthetic.motion.clips import MotionLibrary
from somacast.synthetic.people import draw_shape
from somacast.synthetic.scenes import draw_view
from somacast.systems.aflsc.labels.appearance_basis import COLOR_UNIT, AppearanceBasis, join_bases
from somacast.systems.aflsc.labels.chart import OFFSET_UNIT_M, face_texels, load_chart
from somacast.systems.aflsc.labels.pose_basis import PoseBasis
from somacast.systems.aflsc.labels.schema import (
    APPEARANCE_LABELS,
    BASES,
    FACE_LABELS,
    FITTED_LABELS,
    FLOOR_BITS,
    LABELS,
    SCALAR_NAMES,
    SHAPE_LABELS,
)
from somacast.systems.aflsc.labels.space import LabelSpace

_MOVE_UNIT_M, _COLOR_COST_UNIT = 0.05, 0.15  # a displacement and a colour error that hurt alike
_STEP = 0.05  # width of the finest bins, in the cost that both units are one of
_SIGMA = 4000  # labels far from their context lose little: the embeddings of neighbours differ by up to 1000
FACE_WEIGHT = 4.0  # people look at faces


def chart_rows(charts: dict[str, np.ndarray]) -> np.ndarray:
    """Charts of systems/aflsc/training/charts.py as rows [N, T, 4] in the units of the appearance basis."""
    inside = load_chart().inside
    color = charts["color"][:, inside].astype(np.float32) / 255 / COLOR_UNIT
    offset = np.clip(charts["offset"][:, inside].astype(np.float32) / OFFSET_UNIT_M, -1, 7.5)
    return np.concatenate([color, offset[..., None]], -1)


def draw_poses(count: int, assets: Path | None, seed: int = 3) -> np.ndarray:
    """World rotations [count, 21, 3, 3] of training poses seen from training views."""
    rng = np.random.default_rng(seed)
    library = MotionLibrary("train", assets)
    return np.stack([draw_view(rng, "train") @ library.draw(rng)[0] for _ in range(count)]).astype(np.float32)


def draw_scalars(count: int, seed: int = 4) -> dict[str, np.ndarray]:
    """Samples of the labels that are neither poses nor charts, for their means and spreads."""
    rng = np.random.default_rng(seed)
    body = load_body()
    shapes = np.stack([draw_shape(rng, body, "train")[0] for _ in range(count)])
    out = {f"shape_{k:02d}": shapes[:, k] for k in range(SHAPE_LABELS)}
    out |= {"tilt_x": rng.normal(0.1, 0.35, count), "tilt_z": rng.normal(0, 0.3, count)}
    out |= {name: rng.beta(1.2, 1.8, count) for name in ("curl_left", "curl_right")}
    out |= {"pelvis_x": rng.normal(0, 0.2, count), "pelvis_y": rng.normal(0, 0.2, count)}
    out |= {"log_depth": rng.normal(np.log(3.0), 0.4, count)}
    return out


def _principal(flat: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Leading components of centred rows [N, D]: orthonormal rows [count, D] (0 beyond the rank), std [count]."""
    w, u = np.linalg.eigh((flat @ flat.T).astype(np.float64))
    top = np.argsort(-w)[:count]
    basis = np.zeros((count, flat.shape[1]), np.float32)
    basis[: len(top)] = (u[:, top] / np.sqrt(np.maximum(w[top], 1e-9))).T.astype(np.float32) @ flat
    std = np.full(count, 1e-3, np.float32)
    std[: len(top)] = np.maximum(np.sqrt(np.maximum(w[top], 0) / len(flat)), 1e-3)
    return basis, std


def fit_pose_basis(poses: np.ndarray) -> PoseBasis:
    """Principal components of poses [N, 21, 3, 3]."""
    rotvecs = joint_rotvecs(poses)
    mean = rotvecs.mean(0)
    values, vectors = np.linalg.eigh(np.cov((rotvecs - mean).T))
    order = np.argsort(-values)
    return PoseBasis(mean, vectors[:, order].T, np.sqrt(np.maximum(values[order], 1e-12)))


def fit_appearance_basis(rows: np.ndarray) -> AppearanceBasis:
    """Principal components of charts [M, T, 4] in basis units (see `chart_rows`), then of what they leave of faces."""
    flat = rows.reshape(len(rows), -1)
    mean, texel_shape, at = flat.mean(0), rows.shape[1:], face_texels()
    look, look_std = _principal(flat - mean, APPEARANCE_LABELS)
    codes = (flat - mean) @ look.T
    explained = np.einsum("nk,ktc->ntc", codes, look.reshape(APPEARANCE_LABELS, *texel_shape)[:, at])
    rest = (rows - mean.reshape(texel_shape))[:, at] - explained
    face, face_std = _principal(rest.reshape(len(rows), -1), FACE_LABELS)
    std = np.concatenate([look_std, face_std])
    return AppearanceBasis(mean.reshape(texel_shape), join_bases(look, face, texel_shape), std)


def fit_label_space(
    poses: np.ndarray, rows: np.ndarray, scalars: dict[str, np.ndarray], bits: np.ndarray | None = None
) -> LabelSpace:
    """Fit the tables: poses [N, 21, 3, 3] of training motions, rows [M, T, 4] of charts (see `chart_rows`), scalars
    name -> samples, bits [len(FITTED_LABELS)]: 5 each unless given."""
    statistics = {n: (float(scalars[n].mean()), float(max(scalars[n].std(), 1e-3))) for n in SCALAR_NAMES}
    bits = np.full(len(FITTED_LABELS), 5) if bits is None else bits
    return LabelSpace(fit_pose_basis(poses), fit_appearance_basis(rows), statistics, bits)


def label_costs(space: LabelSpace, poses: np.ndarray, people: int = 40, seed: int = 0) -> dict[str, float]:
    """How much the person changes when one label moves by its spread: name -> cost, 1 = 5 cm of the skin or 0.15 of
    colour (root mean square over the skin). This is the measured sensitivity behind tau and the labels' bits.

    Each pose, root, shape and hand label is moved on real poses and the skin is posed again; a code moves the chart by
    its row of the basis, the face's texels counting `FACE_WEIGHT` times.
    """
    body = load_body()
    rng = np.random.default_rng(seed)
    pick = poses[rng.choice(len(poses), people, replace=False)]
    n = len(pick)
    state = {
        "rotations": pick, "shape": rng.normal(0, 1, (n, SHAPE_LABELS)), "attributes": np.zeros((n, 5)),
        "codes": np.zeros((n, len(space.appearance.std))), "curl": np.full((n, 2), 0.4), "pelvis": np.zeros((n, 3)),
    }  # fmt: skip
    values = space.values(state)
    some = rng.choice(BODY_VERTICES, 600, replace=False)
    index, weight = body.skin_index[some], body.skin_weight[some]

    def skin(row: np.ndarray) -> np.ndarray:
        s = space.state(row)
        rest, bones = body.rest(s.shape)
        transform, joints = body.transforms(bones, s.rotations, hand_and_jaw_rotations(*s.curl))
        out = np.empty((len(some), 3), np.float32)
        skin_vertices(np.ascontiguousarray(rest[some]), index, weight, transform, out)
        return out - joints[0]

    truth = np.stack([skin(row) for row in values])
    costs = {}
    for i, label in enumerate(space.vocabulary.labels):
        if label.group in ("root", "pose", "shape", "hands"):
            moved = values.copy()
            moved[:, i] += label.std if label.kind == "scalar" else 0.3
            change = np.square(np.stack([skin(row) for row in moved]) - truth).sum(-1).mean()
            costs[label.name] = float(np.sqrt(change)) / _MOVE_UNIT_M / (1 if label.kind == "scalar" else 0.3)
    weight = np.where(face_texels(), FACE_WEIGHT, 1.0)
    weight = weight / weight.sum()
    appearance = space.appearance
    for entry in (entry for entry in LABELS if entry.part == "codes"):
        row = np.square(appearance.basis[entry.number] * appearance.std[entry.number])
        color = (row[:, :3].mean(1) * weight).sum() * (COLOR_UNIT / _COLOR_COST_UNIT) ** 2
        move = (row[:, 3] * weight).sum() * (OFFSET_UNIT_M / _MOVE_UNIT_M) ** 2
        costs[entry.name] = float(np.sqrt(color + move))
    return costs


def fit_bits(costs: dict[str, float]) -> np.ndarray:
    """Bits of the labels [len(FITTED_LABELS)], so that the last bit of each changes the person alike: bins of cost
    _STEP."""
    bits = []
    for entry in FITTED_LABELS:
        span = 2 * np.pi if entry.kind == "circular" else 6.4
        size = int(np.clip(np.rint(np.log2(span * costs.get(entry.name, 0.0) / _STEP + 1e-9)), 0, 8))
        bits.append(size if entry.part in BASES else max(size, 1))
    return np.array(bits)


def fit_importance(vocabulary: Vocabulary, floor_bits: int = FLOOR_BITS, alike: bool = False) -> ImportanceModel:
    """tau of eq. 14 from the measured sensitivities, by way of the bits they gave each label: at the strongest
    compression a label keeps all but `floor_bits` of its bits, so that all labels err alike there too. Embeddings are
    the places of the coarse symbols. alike: every label but the first is as unimportant as any other (ablation)."""
    tau, embeddings = [], []
    for label in vocabulary.labels:
        extra = len(label.alphabets) - label.minimum_levels
        share = 1 - floor_bits / extra if extra > floor_bits else 0.0
        if label.kind == "class":
            share = 1.0
        share = {"yaw": 1.0}.get(label.name, 0.0 if alike or label.group == "camera" else share)
        tau.append(int(np.clip(round(60_000 * share), 1, 65535)))
        size = label.alphabets[0]
        embeddings.append(np.round(np.arange(size) * (1000 / max(size - 1, 1))).astype(np.int16)[:, None])
    return ImportanceModel(np.array(tau, np.uint16), tuple(embeddings), sigma=_SIGMA)


def build(
    charts: dict[str, np.ndarray], assets: Path | None, seed: int = 3
) -> tuple[LabelSpace, np.ndarray, np.ndarray]:
    """Label space from training charts and motions; also the poses drawn and the charts' codes [N, K]."""
    poses = draw_poses(8000, assets, seed)
    rows = chart_rows(charts)
    scalars = draw_scalars(3000)
    space = fit_label_space(poses, rows, scalars)
    space = replace(space, bits=fit_bits(label_costs(space, poses)))
    space = LabelSpace.from_arrays(space.to_arrays())  # as it will be read back, rounding included
    return space, poses, space.appearance.codes(rows)


def training_values(
    space: LabelSpace, poses: np.ndarray, codes: np.ndarray, charts: dict, count: int, seed: int
) -> np.ndarray:
    """Label values [count, L] of random combinations of poses, charts and scalars."""
    rng = np.random.default_rng(seed)
    who, how = rng.integers(0, len(codes), count), rng.integers(0, len(poses), count)
    scalars = draw_scalars(count, seed + 1)
    pelvis = np.stack([scalars[n] for n in ("pelvis_x", "pelvis_y", "log_depth")], 1)
    curl = np.stack([scalars[n] for n in ("curl_left", "curl_right")], 1)
    return space.values(
        {
            "rotations": poses[how],
            "shape": charts["shape"][who],
            "attributes": charts["attributes"][who],
            "codes": codes[who],
            "curl": curl,
            "pelvis": pelvis,
        }
    )


def build_tables(
    space: LabelSpace, values: np.ndarray, model: ImportanceModel, conditional: bool = True
) -> CodingTables:
    """Coding tables counted from label values [N, L]."""
    return CodingTables.build(space.vocabulary, space.vocabulary.quantise(values), model, conditional)
