"""The tables of the motion coder: how far labels move in a thirtieth of a second, counted on training motions."""

from __future__ import annotations

import numpy as np

from somacast.body.rotations import about_axis, continuous_quaternions, quaternion_to_matrix
from somacast.coding.label_coding import CodingTables
from somacast.coding.motion_coding import SCALES, SMALLEST_SCALE, MotionModel, residual_tables
from somacast.errors import SomacastError
from somacast.synthetic.motion.builtin import BUILTIN_ACTIONS, builtin_clip
from somacast.synthetic.motion.clips import read_clips
from somacast.synthetic.scenes import draw_view
from somacast.systems.aflsc.labels.schema import SHAPE_LABELS
from somacast.systems.aflsc.live.motion import FLOOR_BITS, MotionSpace, motion_vocabulary, save_motion
from somacast.systems.aflsc.networks.loading import load_tables
from somacast.systems.aflsc.training.config import MotionRecipe
from somacast.systems.aflsc.training.labels import draw_poses, draw_scalars, fit_importance

FPS = 30.0


def at_fps(rotations: np.ndarray, fps: float) -> np.ndarray:
    """A clip [T, 21, 3, 3] of any rate brought to 30 frames a second, quaternions blended between its frames."""
    count = int(np.floor((len(rotations) - 1) / fps * FPS)) + 1
    place = np.arange(count) / FPS * fps
    low = np.minimum(place.astype(int), len(rotations) - 2)
    share = (place - low)[:, None, None]
    quaternions = continuous_quaternions(rotations)
    return quaternion_to_matrix((1 - share) * quaternions[low] + share * quaternions[low + 1])


def training_clips(recipe: MotionRecipe) -> list[tuple[np.ndarray, np.ndarray]]:
    """World rotations [T, 21, 3, 3] and pelvis paths [T, 3] of training motions, each seen from one view."""
    rng = np.random.default_rng(recipe.seed)
    found = []
    for action in BUILTIN_ACTIONS:
        for _ in range(recipe.clips):
            found.append(builtin_clip(rng, action, recipe.seconds, FPS, "train"))
    for clip in read_clips(recipe.assets) if recipe.assets else []:
        if clip.split == "train" and len(clip.rotations) > 3 and clip.fps > 1:
            world = at_fps(clip.rotations, clip.fps)[: round(recipe.seconds * FPS)]
            found.append((world, np.zeros((len(world), 3))))
    out = []
    for world, path in found:
        turn = np.cumsum(rng.normal(0, np.radians(0.5), len(world)))  # people turn while they walk
        view = draw_view(rng, "train") @ about_axis("y", turn)
        out.append((view[:, None] @ world, path))
    return out


def values_of(space: MotionSpace, rotations: np.ndarray, path: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Values [T, M] of a clip at a drawn place before the camera, hands at rest."""
    count = len(rotations)
    depth, curl = rng.uniform(2.5, 6), rng.beta(1.2, 1.8, 2)
    side = path + [rng.uniform(-0.5, 0.5), rng.uniform(-0.3, 0.3), 0]
    away = depth - path[:, 2]
    pelvis = np.stack([side[:, 0] / away, -side[:, 1] / away, np.log(away)], 1)
    label_space = space.space
    state = {
        "rotations": rotations, "shape": np.zeros((count, SHAPE_LABELS)), "attributes": np.zeros((count, 5)),
        "codes": np.zeros((count, len(label_space.appearance.std))), "curl": np.tile(curl, (count, 1)),
        "pelvis": pelvis,
    }  # fmt: skip
    return label_space.values(state)[:, space.columns]


def build(recipe: MotionRecipe) -> MotionModel:
    """Tables of a first frame from stills, scales of differences from clips."""
    if recipe.assets and not recipe.assets.is_dir():
        raise SomacastError(f"{recipe.assets}: no such folder; expected one with assets")
    label_space, rng = load_tables().space, np.random.default_rng(recipe.seed)
    vocabulary = motion_vocabulary(label_space)
    blank = np.zeros((0, len(vocabulary.labels), vocabulary.levels), np.int16)
    importance = fit_importance(vocabulary, FLOOR_BITS)
    empty = MotionModel(
        vocabulary, CodingTables.build(vocabulary, blank, importance),
        np.zeros(len(vocabulary.labels), np.uint8), residual_tables(),
    )  # fmt: skip
    space = MotionSpace(label_space, empty)
    poses, scalars = draw_poses(recipe.poses, recipe.assets, recipe.seed), draw_scalars(recipe.poses, recipe.seed)
    state = {
        "rotations": poses, "shape": np.zeros((recipe.poses, SHAPE_LABELS)), "attributes": np.zeros((recipe.poses, 5)),
        "codes": np.zeros((recipe.poses, len(label_space.appearance.std))),
        "curl": np.stack([scalars["curl_left"], scalars["curl_right"]], 1),
        "pelvis": np.stack([scalars[n] for n in ("pelvis_x", "pelvis_y", "log_depth")], 1),
    }  # fmt: skip
    stills = vocabulary.quantise(label_space.values(state)[:, space.columns])
    errors = []
    for rotations, path in training_clips(recipe):
        index = space.indices(values_of(space, rotations, path, rng))
        step = np.diff(index, axis=0)
        size = 1 << empty.bits
        step = np.where(empty.circular, (step + size // 2) % size - size // 2, step)
        errors.append(np.abs(step[1:] - step[:-1] * 3 // 4))  # of a prediction that goes on with most of the last step
    mean = np.maximum(np.concatenate(errors).mean(0), 2 ** (SMALLEST_SCALE / 2))
    scales = np.clip(np.round(2 * np.log2(mean)) - SMALLEST_SCALE, 0, SCALES - 1).astype(np.uint8)
    tables = CodingTables.build(vocabulary, stills, importance)
    return MotionModel(vocabulary, tables, scales, residual_tables())


def main(recipe: MotionRecipe) -> str:
    """Write the weights file; a line about it."""
    model = build(recipe)
    save_motion(recipe.out, model)
    return f"{recipe.out}: {len(model.scales)} labels, {recipe.out.stat().st_size:,} bytes"
