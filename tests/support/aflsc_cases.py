"""What the AFLSC tests share: a few built-in people, their charts, and a label space fitted to them (no weights)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from somacast.body.clothing import ATTRIBUTES
from somacast.synthetic.motion.clips import MotionLibrary
from somacast.synthetic.samples import Sample, SceneConfig, SyntheticPeople
from somacast.synthetic.scenes import draw_view
from somacast.systems.aflsc.labels.appearance_basis import COLOR_UNIT
from somacast.systems.aflsc.labels.chart import OFFSET_UNIT_M, load_chart
from somacast.systems.aflsc.labels.schema import FITTED_LABELS, SCALAR_NAMES, SHAPE_LABELS
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.training.labels import fit_label_space
from somacast.systems.aflsc.training.outer_surface import clean_offsets, outer_surface

SEED = 3
PEOPLE = 2


@lru_cache(maxsize=1)
def people() -> SyntheticPeople:
    """Built-in people of the training split, one picture each."""
    return SyntheticPeople("train", SEED, config=SceneConfig(views_per_person=1))


@lru_cache(maxsize=PEOPLE)
def sample(index: int) -> Sample:
    """The picture of person number `index` with all truths."""
    return next(people().samples(index))


@lru_cache(maxsize=1)
def charts() -> dict[str, np.ndarray]:
    """The people's charts in the form of systems/aflsc/training/charts.py."""
    rows: dict[str, list] = {k: [] for k in ("color", "offset", "shape", "attributes")}
    for index in range(PEOPLE):
        person = sample(index).person
        offset, color, material = outer_surface(person)
        rows["color"].append((color * 255 + 0.5).astype(np.uint8))
        rows["offset"].append(clean_offsets(offset, material).astype(np.float16))
        rows["shape"].append(person.shape)
        rows["attributes"].append([ATTRIBUTES[k].index(person.outfit.attributes[k]) for k in ATTRIBUTES])
    return {k: np.stack(v) for k, v in rows.items()}


def attribute_numbers(person_sample: Sample) -> np.ndarray:
    """Class numbers [5] of what the person wears."""
    return np.array([ATTRIBUTES[k].index(person_sample.person.outfit.attributes[k]) for k in ATTRIBUTES])


@lru_cache(maxsize=1)
def poses() -> np.ndarray:
    """World rotations [160, 21, 3, 3] of built-in motions seen from training views."""
    rng = np.random.default_rng(SEED)
    library = MotionLibrary("train", emote_share=0)
    return np.stack([draw_view(rng, "train") @ library.draw(rng)[0] for _ in range(160)]).astype(np.float32)


def bits() -> np.ndarray:
    """Bits of the labels [len(FITTED_LABELS)] as training gives them: less from component to component, 0 for the last
    looks and faces, so that there are mandatory, optional and missing labels. Every pose component has a label."""
    out = []
    for entry in FITTED_LABELS:
        group, _, number = entry.name.partition("_")
        k = int(number) if number.isdigit() else 0
        falling = {"pose": max(3, 7 - k // 10), "shape": 6 - k // 4, "look": 7 - k // 16, "face": max(0, 6 - k // 3)}
        out.append(falling.get(group, {"yaw": 8, "tilt": 6, "curl": 3}.get(group, 0)))
    return np.array(out)


@lru_cache(maxsize=1)
def space() -> LabelSpace:
    """A label space whose appearance basis spans the people's charts (blends of them and noise), and the motions."""
    rng = np.random.default_rng(SEED)
    inside = load_chart().inside
    color = charts()["color"][:, inside].astype(np.float32) / 255 / COLOR_UNIT
    offset = charts()["offset"][:, inside].astype(np.float32) / OFFSET_UNIT_M
    own = np.concatenate([color, offset[..., None]], -1)
    blend = rng.dirichlet(np.full(PEOPLE, 0.6), 140).astype(np.float32)
    rows = np.tensordot(blend, own, 1) + 0.02 * rng.standard_normal((140, *own.shape[1:]), np.float32)
    value_std = {"tilt_x": 0.35, "tilt_z": 0.3, "pelvis_x": 0.2, "pelvis_y": 0.2, "log_depth": 0.4}
    value_std |= {f"shape_{k:02d}": 1.0 for k in range(SHAPE_LABELS)}
    scalars = {n: rng.normal(0, value_std.get(n, 0.2), 400) for n in SCALAR_NAMES}
    return fit_label_space(poses(), rows, scalars, bits())


def random_values(count: int, seed: int = 0, strength: float = 0.5) -> np.ndarray:
    """Label values [count, L] of plausible people: poses of the motions, the rest drawn by the labels' spreads."""
    rng = np.random.default_rng(seed)
    state = {
        "rotations": poses()[rng.integers(0, len(poses()), count)],
        "shape": strength * rng.standard_normal((count, SHAPE_LABELS)),
        "attributes": np.stack([rng.integers(0, len(c), count) for c in ATTRIBUTES.values()], 1),
        "codes": strength * space().appearance.std * rng.standard_normal((count, len(space().appearance.std))),
        "curl": rng.uniform(0, 1, (count, 2)),
        "pelvis": rng.normal(0, 0.2, (count, 3)),
    }
    return space().values(state)
