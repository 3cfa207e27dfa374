"""Sender: what of the person is not seen, outside of the picture or behind something, and what is guessed instead.

The networks give every joint a place, whether it is there or not; of joints that are not seen these places are worth
nothing. Legs that are not seen stand, what else is not seen is as it usually is, and the report says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.body.rotations import about_axis
from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_COUNT, JOINT_PARENT
from somacast.body.table import TPOSE, load_body
from somacast.capture.cropping import SquareBox
from somacast.capture.landmarks import MIRRORED, PRESENT
from somacast.capture.masks import hull_area
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.sender.evidence import Evidence

# Landmark of each joint that has one, left; right is the next.
_SIDED = {"upper_arm": 11, "lower_arm": 13, "hand": 15, "upper_leg": 23, "lower_leg": 25, "foot": 27, "toe": 31}
_LANDMARK = {CANONICAL_JOINTS.index(f"{s}_{n}"): k + i for n, k in _SIDED.items() for i, s in enumerate("lr")}
_LANDMARK[CANONICAL_JOINTS.index("head")] = 0  # the nose
_LEGS = [CANONICAL_JOINTS.index(f"{s}_{n}") for s in "lr" for n in ("upper_leg", "lower_leg", "foot", "toe")]
# What is missing, by the joint nearest to the trunk that is; what comes first is said alone.
_PARTS = (
    ("upper_leg", "legs", "leg"),
    ("lower_leg", "legs from the knees on", "leg from the knee on"),
    ("foot", "legs below the knees", "leg below the knee"),
    ("toe", "feet", "foot"),
    ("upper_arm", "arms", "arm"),
    ("lower_arm", "arms from the elbows on", "arm from the elbow on"),
    ("hand", "hands", "hand"),
)
OUTSIDE = 0.01  # crop sides beyond the picture's edge from which on a landmark is not in it
HIDDEN_VISIBILITY = 0.7  # and the mask must not be there either
REACH = 0.03  # crop sides around a landmark in which the mask is looked for
OFF_MASK = 0.3
UNSEEN_STD = 1e3  # crop sides or metres: as good as nothing
STANDING_STD_M = 0.1
# Of true masks of synthetic people all landmarks that are seen are on them, and their area over that of the convex hull
# of all landmarks is 0.56 to 1.4, of those who sit or squat up to 1.9.
_SEEN = [0, *range(11, 17), *range(23, 29)]
AGREES, SMALL_AREA, LARGE_AREA = 0.85, 0.4, 2.0
_OFF = "the given mask does not agree with the person who is seen: {} of {} landmarks are not on it"
_SIZE = "the given mask is far {} than the person who is seen"


@dataclass(frozen=True)
class Unseen:
    """Joints [21] bool that are outside of the picture, and those that something else hides."""

    outside: np.ndarray
    hidden: np.ndarray

    @property
    def joints(self) -> np.ndarray:
        """Either, [21] bool."""
        return self.outside | self.hidden

    @property
    def notes(self) -> list[str]:
        """What is guessed, a line for each reason."""
        reasons = (("not in the picture", self.outside), ("hidden", self.hidden & ~self.outside))
        return [f"{_and(parts)} {reason}: guessed" for reason, which in reasons if (parts := _parts(which))]


def _parts(joints: np.ndarray) -> list[tuple[str, bool]]:
    """Names of what lacks, and whether each is several."""
    out = [("head", False)] if joints[CANONICAL_JOINTS.index("head")] else []
    left = {side: {"leg", "foot", "arm", "hand"} for side in "lr"}
    for name, both, one in _PARTS:
        limb = {"leg", "foot"} if "leg" in one or "foot" in one else {"arm", "hand"}
        sides = [s for s in "lr" if joints[CANONICAL_JOINTS.index(f"{s}_{name}")] and left[s] & limb]
        for side in sides:
            left[side] -= limb
        if len(sides) == 2:
            out.append((both, True))
        elif sides:
            out.append((f"{'left' if sides == ['l'] else 'right'} {one}", False))
    return out


def _and(parts: list[tuple[str, bool]]) -> str:
    names = [name for name, _ in parts]
    text = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{text} {'are' if len(parts) > 1 or parts[0][1] else 'is'}"


def in_picture(box: SquareBox, shape: tuple[int, ...], size_px: int) -> np.ndarray:
    """Which pixels of a crop lie in a picture of that shape, [size_px, size_px] bool."""
    middles = (np.arange(size_px) + 0.5) / size_px * box.side
    column, row = (box.corner[axis] + middles for axis in (0, 1))
    return ((row > 0) & (row < shape[0]))[:, None] & ((column > 0) & (column < shape[1]))


def find_unseen(landmarks: np.ndarray, mask: np.ndarray, box: SquareBox, shape: tuple[int, ...]) -> Unseen:
    """What a crop does not show: landmarks [33, 8] (see `find_landmarks`), mask [M, M] in [0, 1], and the shape of the
    picture that the crop is from. Whoever hangs on an unseen joint is not seen either."""
    joints = np.array(list(_LANDMARK))
    points = landmarks[list(_LANDMARK.values())]
    place = box.to_picture(points[:, :2] + 0.5, 1)
    beyond = np.maximum(-place, place - [shape[1], shape[0]]).max(1)
    outside, hidden = np.zeros(JOINT_COUNT, bool), np.zeros(JOINT_COUNT, bool)
    pairs = (landmarks[list(_LANDMARK.values()), 4] + landmarks[MIRRORED[list(_LANDMARK.values())], 4]) / 2
    absent = (pairs < PRESENT) & np.isin(joints, _LEGS)  # no leg goes without the other
    outside[joints] = (beyond > OUTSIDE * box.side) | absent
    on = [_nearby(mask, point) > OFF_MASK for point in points[:, :2]]
    hidden[joints] = ~outside[joints] & (points[:, 3] < HIDDEN_VISIBILITY) & ~np.array(on)
    for joint in range(1, JOINT_COUNT):
        parent = JOINT_PARENT[joint]
        if parent in _LANDMARK:
            outside[joint] |= outside[parent]
            hidden[joint] |= hidden[parent]
    return Unseen(outside, hidden & ~outside)


def mask_notes(landmarks: np.ndarray, mask: np.ndarray) -> list[str]:
    """What is strange about a user's mask [M, M] of a crop with landmarks [33, 8], a line each."""
    points = landmarks[_SEEN]
    seen = (points[:, 3] >= HIDDEN_VISIBILITY) & (points[:, 4] >= PRESENT) & (np.abs(points[:, :2]).max(1) < 0.5)
    off = [_nearby(mask, point) <= OFF_MASK for point in points[seen, :2]]
    notes = [_OFF.format(sum(off), len(off))] if sum(off) > (1 - AGREES) * len(off) else []
    hull = hull_area(landmarks[:, :2])
    share = float((mask > OFF_MASK).mean()) / max(hull, 1e-6)
    if not SMALL_AREA < share < LARGE_AREA:
        notes.append(_SIZE.format("larger" if share > 1 else "smaller"))
    return notes


def _nearby(mask: np.ndarray, point: np.ndarray) -> float:
    """The most that a mask [M, M] says around a point [2] in crop sides from its centre."""
    size = len(mask)
    column, row = np.clip((point + 0.5) * size, 0, size - 1).astype(int)
    reach = round(REACH * size)
    return float(mask[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1].max())


def without_unseen(evidence: Evidence, unseen: np.ndarray, standing: np.ndarray) -> Evidence:
    """Evidence that says nothing about the unseen joints [21] bool, but that the legs among them are where they are
    while standing [21, 3]: metres from the pelvis, view frame."""
    std, points, points_std = evidence.std.copy(), evidence.points.copy(), evidence.points_std.copy()
    std[unseen], points_std[unseen] = UNSEEN_STD, UNSEEN_STD
    legs = [joint for joint in _LEGS if unseen[joint]]
    points[legs], points_std[legs] = standing[legs], STANDING_STD_M
    return evidence._replace(std=std, points=points, points_std=points_std)


def stand(
    space: LabelSpace, values: np.ndarray, unseen: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Label values [L] with legs that hang straight down from the last joint that is seen, and where the joints [21, 3]
    are then, in metres from the pelvis (view frame); points [21, 3]: where the seen ones are."""
    state = space.state(values)
    forward = state.rotations[0, :, 2]
    upright = about_axis("y", float(np.arctan2(forward[0], forward[2])))
    body = load_body()
    rest = body.joints(body.rest(state.shape)[1], TPOSE)
    rotations, places = state.rotations.copy(), points.astype(np.float64)
    for joint in _LEGS:
        parent = JOINT_PARENT[joint]
        if unseen[joint]:
            places[joint] = places[parent] + upright @ (rest[joint] - rest[parent])
            rotations[joint] = upright
            if parent in _LEGS:
                rotations[parent] = upright  # the bone to a joint that is not seen belongs to the joint above
    truth = {name: space.part_of(values, name)[None] for name in space.parts}
    found = space.values({**truth, "rotations": rotations[None]})[0]
    out = values.copy()
    out[space.parts["pose"].labels] = found[space.parts["pose"].labels]
    return out, places
