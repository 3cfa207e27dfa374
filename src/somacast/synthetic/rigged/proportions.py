"""Other builds of rigged people: parts longer, shorter, wider or thinner along the axes of the T-pose."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.body.table import skin_vertices
from somacast.synthetic.rigged.reader import Figure


class Resized(NamedTuple):
    """vertices [V, 3], heads [B, 3] of the bones and anchors [21, 3] at rest, all float32, metres."""

    vertices: np.ndarray
    heads: np.ndarray
    anchors: np.ndarray


def draw_scale(rng: np.random.Generator) -> np.ndarray:
    """Scale [21, 3] of the parts along x, y, z of the T-pose: all together by up to 6 %, trunk, arms and legs in length
    by up to 4 % and in girth by up to 8 % more, the head by up to 3 %."""
    whole = rng.uniform(0.94, 1.06)
    trunk, arm, leg = rng.uniform(0.96, 1.04, 3) * whole
    girth = rng.uniform(0.94, 1.08) * whole
    limbs = girth * rng.uniform(0.97, 1.03, 2)
    head = rng.uniform(0.97, 1.03) * whole
    scale = np.empty((len(CANONICAL_JOINTS), 3))
    for joint, name in enumerate(CANONICAL_JOINTS):
        if name in ("neck", "head"):
            scale[joint] = head
        elif name.endswith("hand"):
            scale[joint] = np.sqrt(arm * whole)
        elif name.endswith("arm"):
            scale[joint] = arm, limbs[0], limbs[0]
        elif name.endswith(("foot", "toe")):
            scale[joint] = np.sqrt(leg * whole)
        elif name.endswith("leg"):
            scale[joint] = limbs[1], leg, limbs[1]
        else:
            scale[joint] = girth, trunk, girth
    return scale


def resize(figure: Figure, scale: np.ndarray, anchors: np.ndarray) -> Resized:
    """A figure and its anchors [21, 3] with every part scaled about the head of its bone by scale [21, 3]."""
    rig, old = figure.rig, figure.heads
    each = scale[rig.joint].astype(np.float32)
    heads = old.copy()
    for bone, above in enumerate(rig.parent):
        if above >= 0:
            heads[bone] = heads[above] + each[above] * (old[bone] - old[above])
    transform = np.zeros((len(old), 3, 4), np.float32)
    transform[:, [0, 1, 2], [0, 1, 2]] = each
    transform[..., 3] = heads - each * old
    vertices = np.empty_like(figure.vertices)
    skin_vertices(figure.vertices, figure.skin_index, figure.skin_weight, transform, vertices)
    return Resized(vertices, heads, rig.carried(transform, anchors))
