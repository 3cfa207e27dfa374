"""Stage 2 of the AFLSC recipe: the vocabulary's tables, the importance of labels, the coding tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from somacast.data.motion import MotionLibrary
from somacast.data.people import draw_shape
from somacast.data.scene import draw_view
from somacast.human.body import load_body
from somacast.semantics.importance import ImportanceModel
from somacast.semantics.label_coding import CodingTables
from somacast.systems.aflsc.chart import OFFSET_UNIT_M, load_chart
from somacast.systems.aflsc.labels import COLOR_UNIT, SHAPE_LABELS, LabelSpace, build_label_space

_MOVE_UNIT_M, _COLOR_COST_UNIT = 0.05, 0.15  # a displacement and a colour error that hurt alike


def chart_rows(charts: dict[str, np.ndarray]) -> np.ndarray:
    """Charts of train/charts.py as rows [N, T, 4] in the units of the appearance basis."""
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


def fit_importance(space: LabelSpace, poses: np.ndarray) -> ImportanceModel:
    """tau of eq. 14 from measured sensitivity: how far joints move, or colours change, when a label is lost.

    Each pose, root and shape label is set to its mean on real poses; the root mean square move of the joints is its
    cost. Appearance costs its share of the chart's colour. Embeddings are the places of the coarse symbols.
    """
    body, vocabulary = load_body(), space.vocabulary
    rng = np.random.default_rng(0)
    pick = poses[rng.choice(len(poses), 40, replace=False)]
    n = len(pick)
    state = {
        "rotations": pick, "shape": rng.normal(0, 1, (n, SHAPE_LABELS)), "attributes": np.zeros((n, 5)),
        "codes": np.zeros((n, len(space.appearance_std))), "curl": np.full((n, 2), 0.4), "pelvis": np.zeros((n, 3)),
    }  # fmt: skip
    values = space.values(state)

    def joints(v: np.ndarray) -> np.ndarray:
        out = []
        for row in v:
            s = space.state(row)
            place = body.joints(body.rest(s.shape)[1], s.rotations)
            out.append(place - place[0])
        return np.stack(out)

    truth = joints(values)
    texels = space.appearance_mean.size
    tau, embeddings = [], []
    for i, label in enumerate(vocabulary.labels):
        if label.group in ("root", "pose", "shape"):
            lost = values.copy()
            lost[:, i] = label.mean
            cost = np.sqrt(np.square(joints(lost) - truth).sum(-1).mean()) / _MOVE_UNIT_M
        elif label.group == "appearance":
            cost = label.std / np.sqrt(texels) * COLOR_UNIT / _COLOR_COST_UNIT * 2
        else:
            cost = {"attributes": 1.0, "hands": 0.05, "camera": 0.1}[label.group]
        tau.append(int(np.clip(round(1000 * cost), 1, 65535)))
        size = label.alphabets[0]
        embeddings.append(np.round(np.arange(size) * (1000 / max(size - 1, 1))).astype(np.int16)[:, None])
    return ImportanceModel(np.array(tau, np.uint16), tuple(embeddings), sigma=1000)


def build(
    charts: dict[str, np.ndarray], assets: Path | None, seed: int = 3
) -> tuple[LabelSpace, np.ndarray, np.ndarray]:
    """Label space from training charts and motions; also the poses drawn and the charts' codes [N, 128]."""
    poses = draw_poses(8000, assets, seed)
    rows = chart_rows(charts)
    space = build_label_space(poses, rows, draw_scalars(3000))
    space = LabelSpace.from_arrays(space.to_arrays())  # as it will be read back, rounding included
    return space, poses, space.codes(rows)


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


def build_tables(space: LabelSpace, values: np.ndarray, model: ImportanceModel) -> CodingTables:
    """Coding tables counted from label values [N, L]."""
    return CodingTables.build(space.vocabulary, space.vocabulary.quantise(values), model)
