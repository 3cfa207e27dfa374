"""Sender: the labels are pulled towards the sender's own maps before they are coded.

Damped Gauss-Newton over root, pose, build and camera: joints must fall on the heat maps (each with the map's own
standard deviation) and where the joint tokens place them, the body's edge must fall on the silhouette's edge, and the
labels stay where the semantic coder believes them to be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from somacast.body.rotations import wrap_angle
from somacast.body.skeleton import JOINT_COUNT, JOINT_PARENT
from somacast.body.table import TPOSE, load_body
from somacast.systems.aflsc.labels.schema import SHAPE_LABELS
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.sender.evidence import Evidence, SilhouetteAlignment
from somacast.systems.aflsc.sender.kinematics import (
    CAMERA,
    BodyTables,
    PosedJoints,
    Problem,
    jacobian,
    pose_joints,
    residuals,
)
from somacast.systems.aflsc.sender.rendered_body import WeakCamera


@dataclass(frozen=True)
class RefinerConfig:
    """How the refinement weighs and steps. Standard deviations are chosen on people of the training split
    (docs/log.md)."""

    iterations: int = 10
    edge_std: float = 0.04  # of a skin point from the silhouette's edge, in crop sides: clothes are not skin
    dressed_edge_std: float = 0.01  # the same where it is known how far they stand off
    kept_depth_std_m: float = 0.005  # how firmly joints then keep their distance from the camera
    camera_std: tuple[float, float, float] = (0.1, 0.1, 0.25)  # of the pose head's camera: x, y, log scale
    min_label_std: float = 1e-3  # no label is believed more exactly
    robust_scale: float = 3.0  # residual, in its std, at which its pull is halved (Cauchy): wrong peaks lose theirs
    damping: float = 1e-2  # at the start, in shares of the normal matrix' diagonal (Marquardt)
    damping_after_gain: float = 0.4  # factors of the damping
    damping_after_loss: float = 6.0
    min_gain: float = 1e-3  # share of the cost that a step must gain for another to follow


@dataclass(frozen=True)
class Refined:
    """values [L] of all labels; camera in crop sides from the crop's centre; joint_residual: mean of the joints in the
    picture, in their std; parameters [B + 3] (see `kinematics`)."""

    values: np.ndarray
    camera: WeakCamera
    joint_residual: float
    parameters: np.ndarray


@dataclass
class Refiner:
    """Refines label values. The tables are made once from the label space."""

    space: LabelSpace
    config: RefinerConfig = field(default_factory=RefinerConfig)

    @cached_property
    def tables(self) -> BodyTables:
        """How the parameters move the body."""
        body = load_body()
        rest = body.joints(body.bone_mean, TPOSE).astype(np.float64)
        shapes = [body.joints(body.bone_mean + body.bone_basis[k], TPOSE) - rest for k in range(SHAPE_LABELS)]
        return BodyTables(
            _contiguous(self.space.pose.mean),
            _contiguous(self.space.pose.basis[self.space.parts["pose"].numbers].T),
            rest,
            _contiguous(np.stack(shapes, -1)),
            JOINT_PARENT.astype(np.int64),
        )

    @cached_property
    def labels(self) -> np.ndarray:
        """Vocabulary indices of the labels that are refined, in the order of the parameters."""
        return np.concatenate([self.space.vocabulary.group_indices(g) for g in ("root", "pose", "shape")])

    @cached_property
    def alignable(self) -> np.ndarray:
        """Numbers of the parameters that the silhouette's edge may change. Build and scale are not among them: cloth
        stands off the skin, and a body that is made to fill it would grow."""
        shape = self.space.vocabulary.group_indices("shape")
        kept = np.flatnonzero(~np.isin(self.labels, shape))
        return np.concatenate([kept, len(self.labels) + np.arange(2)])

    def joints(self, parameters: np.ndarray) -> PosedJoints:
        """Joints of parameters [B + 3]."""
        posed = PosedJoints(np.empty((JOINT_COUNT, 3)), np.empty((JOINT_COUNT, 3, 3)))
        pose_joints(parameters, self.tables, *posed, np.empty((JOINT_COUNT, 3, 3)))
        return posed

    def __call__(
        self,
        values: np.ndarray,
        std: np.ndarray,
        evidence: Evidence,
        focal: float,
        alignment: SilhouetteAlignment | None = None,
        start: np.ndarray | None = None,
        edge_std: float | None = None,
    ) -> Refined:
        """Label values [L], with the std [L] that the coder gives them, to those that fit the evidence.

        focal: length in crop sides; start: parameters to begin from, and then only `alignable` ones change; None: those
        of `values`, all change; edge_std: another than the configuration's.
        """
        config, at = self.config, self.labels
        prior = Prior(
            np.concatenate([values[at], evidence.camera]),
            np.concatenate([np.maximum(std[at], config.min_label_std), config.camera_std]),
        )
        problem = Problem(
            self.tables,
            Evidence(*map(_contiguous, evidence)),
            alignment or SilhouetteAlignment.empty(),
            float(focal),
            edge_std or config.edge_std,
        )
        begin = prior.mean if start is None else start
        free = np.arange(len(begin)) if start is None else self.alignable
        parameters, rest = minimise(problem, prior, begin, free, config)
        refined = values.copy()
        refined[at] = parameters[:-CAMERA]
        refined[0] = wrap_angle(refined[0])
        camera = WeakCamera(parameters[-3:-1].copy(), float(np.exp(parameters[-1])), float(focal))
        return Refined(refined, camera, float(np.abs(rest[: 2 * JOINT_COUNT]).mean()), parameters)


@dataclass(frozen=True)
class Prior:
    """What is believed of the parameters before the maps are looked at: mean and std [B + 3]."""

    mean: np.ndarray
    std: np.ndarray


def minimise(
    problem: Problem, prior: Prior, start: np.ndarray, free: np.ndarray, config: RefinerConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Levenberg-Marquardt from parameters `start` [B + 3] over those with numbers `free`: parameters of a lower cost
    (Cauchy on the residuals, squares on the prior) and their residuals [R]."""

    def cost(at: np.ndarray, rest: np.ndarray) -> float:
        believed = np.square((at - prior.mean) / prior.std).sum()
        return float(config.robust_scale**2 * np.log1p(np.square(rest / config.robust_scale)).sum() + believed)

    p, damping = start.copy(), config.damping
    rest, trial = np.empty(problem.residual_count), np.empty(problem.residual_count)
    full = np.empty((len(rest), len(p)))
    precision = 1 / np.square(prior.std)
    residuals(p, problem, rest)
    lowest, moved = cost(p, rest), True
    normal = gradient = np.empty(0)
    for _ in range(config.iterations):
        if moved:
            jacobian(p, problem, full)
            slopes = full[:, free]
            weighted = slopes / (1 + np.square(rest / config.robust_scale))[:, None]
            normal = slopes.T @ weighted
            normal[np.diag_indices_from(normal)] += precision[free]
            gradient = weighted.T @ rest + ((p - prior.mean) * precision)[free]
        candidate = p.copy()
        candidate[free] -= np.linalg.solve(normal + damping * np.diag(np.diag(normal)), gradient)
        residuals(candidate, problem, trial)
        reached = cost(candidate, trial)
        moved = reached < lowest
        if not moved:
            damping *= config.damping_after_loss
            continue
        gain, lowest = lowest - reached, reached
        p, damping = candidate, damping * config.damping_after_gain
        rest, trial = trial, rest
        if gain < config.min_gain * lowest:
            break
    return p, rest


def _contiguous(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float64)
