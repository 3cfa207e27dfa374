"""Sender: labels brought to values that their levels can say, all together: what the rounding of one label moves, those
that are rounded after it move back.

Misfit of rounded labels q to labels p that were found: |R (q - p)|^2, R upper triangular with R'R = J'J, J the
derivatives of the joints' places. So labels are rounded from the last to the first, each at the value that is best
given those before it (Babai's nearest plane); what moves the joints most in one step comes first.
"""

from __future__ import annotations

import math

import numpy as np

from somacast.body.rotations import wrap_angle
from somacast.body.skeleton import JOINT_COUNT
from somacast.coding.vocabulary import Label
from somacast.systems.aflsc.sender.evidence import Evidence, SilhouetteAlignment
from somacast.systems.aflsc.sender.kinematics import CAMERA, Problem, jacobian
from somacast.systems.aflsc.sender.refine import Refiner
from somacast.systems.aflsc.sender.rendered_body import WeakCamera

# How much errors of the joints weigh: in crop sides in the picture, in metres; and how many steps a label may lie from
# its own value so that the joints lie where they should. Chosen on people of the training split (docs/log.md).
JOINT_STD, JOINT_STD_M, STRAY = 0.003, 0.006, 0.4
COARSE_PLACE = 0.03  # crop sides, or log scale, in a step


def round_together(
    refiner: Refiner,
    values: np.ndarray,
    levels: np.ndarray,
    camera: WeakCamera,
    lens_px: tuple[float, float],
    side_px: float,
) -> np.ndarray:
    """Label values [L], those that place the joints at what is rebuilt when `levels` [L] of each are known.

    camera: in crop sides, where the labels of the group camera put the pelvis; lens_px: focal lengths, and side_px: of
    the crop, in pixels of the picture.
    """
    vocabulary = refiner.space.vocabulary
    places = vocabulary.group_indices("camera")
    at = np.concatenate([refiner.labels, places])
    slopes = np.ones(len(at))  # of the refinement's parameters by the labels
    slopes[-CAMERA:] = [lens_px[0] / side_px, lens_px[1] / side_px, -1]
    step = np.array([_step(vocabulary.labels[i], int(levels[i])) for i in at])
    fine = ~np.isin(at, places) | (np.abs(step * slopes) < COARSE_PLACE)  # no pose makes up for a coarse place
    moved = (_joint_derivatives(refiner, values, camera) * slopes)[:, fine]
    at, step = at[fine], step[fine]
    labels = [vocabulary.labels[i] for i in at]
    order = np.argsort(np.linalg.norm(moved * step, axis=0))  # the last one is rounded first
    normal = moved.T @ moved + np.diag(1 / np.square(STRAY * step))
    upper = np.linalg.cholesky(normal[np.ix_(order, order)]).T
    out, off = values.copy(), np.zeros(len(at))
    for n in range(len(at) - 1, -1, -1):
        label, index = labels[order[n]], at[order[n]]
        out[index] -= upper[n, n + 1 :] @ off[n + 1 :] / upper[n, n]
        out[index] = label.nearest(float(out[index]), int(levels[index]))
        off[n] = out[index] - values[index]
        if label.kind == "circular":
            off[n] = wrap_angle(off[n])
    return out


def _step(label: Label, levels: int) -> float:
    """Width of the bins of a label in its own unit, when so many levels are known."""
    span = np.pi if label.kind == "circular" else label.span * label.std if levels else label.std
    return 2 * span / math.prod(label.alphabets[:levels])


def _joint_derivatives(refiner: Refiner, values: np.ndarray, camera: WeakCamera) -> np.ndarray:
    """Derivatives [5 * 21, B + 3] of the joints' places in the picture and in metres, over their std."""
    parameters = np.concatenate([values[refiner.labels], camera.place_px, [np.log(camera.scale_px_per_m)]])
    places, metres = np.zeros((JOINT_COUNT, 2)), np.zeros((JOINT_COUNT, 3))
    evidence = Evidence(
        places, np.full(JOINT_COUNT, JOINT_STD), metres, np.full((JOINT_COUNT, 3), JOINT_STD_M), np.zeros(CAMERA)
    )
    problem = Problem(refiner.tables, evidence, SilhouetteAlignment.empty(), camera.focal_px, 1.0)
    out = np.empty((problem.residual_count, len(parameters)))
    jacobian(parameters, problem, out)
    return out
