"""How the numbers of a warp move the body across the view: each part along and across its limb, and what hangs on it.

Each of the 21 joints carries five numbers, in heights of the canvas: a shift along and across its limb, and what its
skin moves besides, across the limb as one goes along it (swing), along it (stretch), and across as one goes across
(widen). A joint goes where the part that it hangs on takes it; skin follows its joints as in skinning.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_COUNT, JOINT_PARENT
from somacast.geometry.rig import body_joint_weights
from somacast.systems.aflsc.picture_layer.warp import NUMBERS

MIN_REACH = 0.005  # heights: no part is taken to be smaller
MIN_LIMB = 1e-4  # heights: of a limb that points at the camera the direction says nothing


def _next_joints() -> np.ndarray:
    """The joint to which the limb of each leads, [21]; -1 for the last ones."""
    children = [np.flatnonzero(joint == JOINT_PARENT) for joint in range(JOINT_COUNT)]
    onwards = np.array([found[0] if len(found) else -1 for found in children])
    onwards[CANONICAL_JOINTS.index("chest")] = CANONICAL_JOINTS.index("neck")
    return onwards


NEXT = _next_joints()


@lru_cache(maxsize=1)
def _shares() -> np.ndarray:
    """How much of each joint's skin each vertex is, [13380, 21] float64, columns sum to 1."""
    weights = body_joint_weights().astype(np.float64)
    return weights / weights.sum(0)


@dataclass(frozen=True)
class Limbs:
    """places [V, 2] of the body's skin, joints [21, 2], on its canvas, in heights of it, x to the right, y down; basis
    [21 * 3 * 2, 105]: numbers of all joints to each joint's affine move, (1, x, y) to (right, down)."""

    places: np.ndarray
    joints: np.ndarray
    basis: np.ndarray

    @classmethod
    def of(cls, places: np.ndarray, joints: np.ndarray) -> Limbs:
        """Of a posed body, places of its skin [13380, 2] and of its joints [21, 2]."""
        shares = _shares()
        middles = shares.T @ places
        limb = np.where(NEXT[:, None] < 0, middles, joints[NEXT]) - joints
        length = np.linalg.norm(limb, axis=1, keepdims=True)
        along = np.where(length > MIN_LIMB, limb / np.maximum(length, MIN_LIMB), [0.0, 1.0])
        across = np.stack([-along[:, 1], along[:, 0]], 1)
        products = _products(shares, places, joints)
        reach = [np.sqrt(np.einsum("ja,jab,jb->j", axis, products, axis)) for axis in (along, across)]
        up, out = (axis / np.maximum(r, MIN_REACH)[:, None] for axis, r in zip((along, across), reach, strict=True))

        basis = np.zeros((JOINT_COUNT, 3, 2, JOINT_COUNT, NUMBERS))
        for j in range(JOINT_COUNT):
            parent = JOINT_PARENT[j]
            if parent >= 0:  # where the part above takes this joint
                basis[j, 0] = np.einsum("a,acjn->cjn", [1.0, *joints[j]], basis[parent])
            own = np.zeros((3, 2, NUMBERS))
            own[0, :, 0], own[0, :, 1] = along[j], across[j]
            for number, (away, move) in enumerate(((up, across), (up, along), (out, across)), 2):
                own[1:, :, number] = away[j][:, None] * move[j]
                own[0, :, number] = -(away[j] @ joints[j]) * move[j]
            basis[j, :, :, j] += own
        return cls(places, joints, basis.reshape(-1, JOINT_COUNT * NUMBERS))

    def moves(self, numbers: np.ndarray) -> np.ndarray:
        """How far the skin moves [V, 2] by numbers [105], in heights."""
        affine = (self.basis @ numbers).reshape(JOINT_COUNT, 6).astype(np.float32)
        a = (body_joint_weights() @ affine).astype(np.float64)
        x, y = self.places.T
        return np.stack([a[:, 0] + a[:, 2] * x + a[:, 4] * y, a[:, 1] + a[:, 3] * x + a[:, 5] * y], 1)

    def joint_move(self, joint: int, numbers: np.ndarray) -> np.ndarray:
        """How far a joint moves with its own part [2] by numbers [105], in heights."""
        affine = (self.basis @ numbers).reshape(JOINT_COUNT, 3, 2)[joint]
        return np.array([1.0, *self.joints[joint]]) @ affine

    def slopes(self, corners: np.ndarray, shares: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """How far points of the skin move along normals [N, 2] with each number, [N, 105]: each lies among its
        triangle's corners [N, 3], vertices, by shares [N, 3]."""
        weights = np.einsum("nk,nkj->nj", shares, body_joint_weights()[corners])
        place = np.einsum("nk,nkc->nc", shares, self.places[corners])
        terms = np.concatenate([np.ones((len(place), 1)), place], 1)
        each = weights[:, :, None, None] * (terms[:, :, None] * normals[:, None, :])[:, None]
        return each.reshape(len(place), -1) @ self.basis


def _products(shares: np.ndarray, places: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Mean of the products [21, 2, 2] of each part's places [V, 2], from its joint [21, 2]."""
    means = shares.T @ places
    x, y = places.T
    found = (shares.T @ np.stack([x * x, x * y, x * y, y * y], 1)).reshape(-1, 2, 2)
    return (
        found - means[:, :, None] * joints[:, None] - joints[:, :, None] * means[:, None]
        + joints[:, :, None] * joints[:, None]
    )  # fmt: skip
