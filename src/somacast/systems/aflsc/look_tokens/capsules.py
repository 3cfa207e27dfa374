"""What both ends know of the person exactly: capsules around the bones on the canvas of the look tokens.

labels --> rotations, joints --> canvas, and how deep each cell of its finest grid lies in each body part

Which cells have tokens, and how likely those are, depends on these numbers, so that every machine must find the same
ones. The labels' values are 32-bit numbers that all machines round alike (none lies between two, which a test checks);
from there on there is only IEEE arithmetic on single numbers in a given order, no library's sine, no matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_PARENT
from somacast.body.table import load_body
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.picture_layer.canvas import Canvas

HEIGHT_PX, WIDTH_PX = 144, 96  # of the canvas, whatever the person does
GRID = (36, 24)  # cells of the finest grid
PARTS = ("head", "trunk", "l_upper_arm", "l_lower_arm", "r_upper_arm", "r_lower_arm",
         "l_upper_leg", "l_lower_leg", "r_upper_leg", "r_lower_leg")  # fmt: skip
DEPTHS = 4  # steps of how deep a cell lies in a part, as many as of how far outside; one step is STEP_CELLS
STEP_CELLS = 0.5
MIN_DEPTH = DEPTHS - 2  # from which on cells may have tokens: clothes and hair stand off the body
MARGIN = 0.03  # around the capsules, of the longer side of their box
_HEAD_END_M = (0.0, 0.12, 0.02)
_CAPSULES = (  # from, to, radius in metres, part
    ("root", "spine03", 0.15, "trunk"), ("spine03", "spine01", 0.14, "trunk"), ("spine01", "neck01", 0.11, "trunk"),
    ("neck01", "head", 0.065, "head"), ("head", "head_end", 0.105, "head"),
    *((f"{bone}.{end}", f"{to}.{end}", radius, part if part == "trunk" else f"{side}_{part}")
      for end, side in (("L", "l"), ("R", "r"))
      for bone, to, radius, part in (
          ("clavicle", "upperarm01", 0.08, "trunk"), ("upperarm01", "lowerarm01", 0.06, "upper_arm"),
          ("lowerarm01", "wrist", 0.05, "lower_arm"), ("wrist", "finger3-3", 0.05, "lower_arm"),
          ("upperleg01", "lowerleg01", 0.095, "upper_leg"), ("lowerleg01", "foot", 0.065, "lower_leg"),
          ("foot", "toe2-3", 0.05, "lower_leg"))),
)  # fmt: skip


@dataclass(frozen=True)
class Capsules:
    """canvas: around them; depths [parts, 36, 24] int64, 0 .. 2 * DEPTHS: how deep the cells lie in each part, DEPTHS
    at its surface."""

    canvas: Canvas
    depths: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, space: LabelSpace) -> Capsules:
        """Of label values [L] as they are received."""
        exact = np.asarray(values, np.float32).astype(np.float64)
        numbers = {name: space.part_of(exact, name) for name in ("root", "pose", "shape", "pelvis")}
        places = _places(numbers, space)
        x, y, log_depth = numbers["pelvis"]
        pelvis_m = _exp(log_depth)
        ends = [(places[a], places[b]) for a, b, _, _ in _CAPSULES]
        depth = pelvis_m - np.array([[a[2], b[2]] for a, b in ends])  # [C, 2] metres before the camera
        depth = np.maximum(depth, 0.2 * pelvis_m)
        across = np.array([[a[0], b[0]] for a, b in ends]) / depth
        down = np.array([[-a[1], -b[1]] for a, b in ends]) / depth
        tangents = np.stack([x * pelvis_m / depth + across, y * pelvis_m / depth + down], -1)  # [C, 2, 2]
        radius = np.array([r for _, _, r, _ in _CAPSULES])[:, None] / depth  # [C, 2]
        low = (tangents - radius[..., None]).min((0, 1))
        high = (tangents + radius[..., None]).max((0, 1))
        canvas = _canvas(low, high, np.array([x * pelvis_m, y * pelvis_m, pelvis_m]))
        return cls(canvas, _depths(tangents, radius, canvas))


def _canvas(low: np.ndarray, high: np.ndarray, pelvis_m: np.ndarray) -> Canvas:
    """A box with a margin, widened to WIDTH_PX : HEIGHT_PX."""
    width, height = high - low
    margin = 2 * MARGIN * max(width, height)
    width, height = width + margin, height + margin
    height = max(height, width * HEIGHT_PX / WIDTH_PX)
    half = np.array([height * WIDTH_PX / HEIGHT_PX, height]) / 2
    middle = (low + high) / 2
    return Canvas(middle - half, middle + half, pelvis_m)


def _depths(tangents: np.ndarray, radius: np.ndarray, canvas: Canvas) -> np.ndarray:
    """Ends [C, 2, 2] and radii [C, 2] of capsules to `Capsules.depths`."""
    cell = (canvas.high - canvas.low)[1] / GRID[0]
    rows = canvas.low[1] + cell * (np.arange(GRID[0]) + 0.5)
    columns = canvas.low[0] + cell * (np.arange(GRID[1]) + 0.5)
    out = np.zeros((len(PARTS), *GRID), np.int64)
    for (start, end), (thick, thin), (_, _, _, part) in zip(tangents, radius, _CAPSULES, strict=True):
        way = end - start
        length = max(way[0] * way[0] + way[1] * way[1], 1e-12)
        along = ((columns[None] - start[0]) * way[0] + (rows[:, None] - start[1]) * way[1]) / length
        along = np.minimum(np.maximum(along, 0.0), 1.0)
        right = columns[None] - (start[0] + along * way[0])
        below = rows[:, None] - (start[1] + along * way[1])
        inside = (thick + along * (thin - thick)) - np.sqrt(right * right + below * below)
        steps = np.floor(inside / (cell * STEP_CELLS)) + DEPTHS
        number = PARTS.index(part)
        out[number] = np.maximum(out[number], np.minimum(np.maximum(steps, 0), 2 * DEPTHS).astype(np.int64))
    return out


@lru_cache(maxsize=1)
def _chain() -> tuple[list[int], dict[str, int]]:
    """Bones that capsules hang on, those above first, and their numbers by name."""
    body = load_body()
    numbers = {name: body.bone_names.index(name) for a, b, _, _ in _CAPSULES for name in (a, b) if name != "head_end"}
    wanted = set()
    for bone in numbers.values():
        while bone >= 0:
            wanted.add(bone)
            bone = int(body.parent[bone])
    return sorted(wanted), numbers


def _places(numbers: dict[str, np.ndarray], space: LabelSpace) -> dict[str, np.ndarray]:
    """Ends of bones [3] in the view frame, the pelvis joint at the origin, metres."""
    body = load_body()
    rotvecs = _weighted(space.pose.mean, numbers["pose"], space.pose.basis).reshape(-1, 3)
    yaw, tilt_x, tilt_z = numbers["root"]
    sine, cosine = _sine_cosine(yaw)
    turn = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    world = [_product(turn, _rotation(np.array([tilt_x, 0.0, tilt_z])))]
    for joint in range(1, len(CANONICAL_JOINTS)):
        world.append(_product(world[JOINT_PARENT[joint]], _rotation(rotvecs[joint - 1])))
    order, names = _chain()
    rest = _weighted(body.bone_mean.astype(np.float64), numbers["shape"], body.bone_basis.astype(np.float64))
    rotated, heads = {}, {}
    for bone in order:
        above = int(body.parent[bone])
        rotated[bone] = _product(world[body.bone_joint[bone]], body.bone_tpose[bone].astype(np.float64))
        heads[bone] = rest[bone] if above < 0 else heads[above] + _applied(rotated[above], rest[bone] - rest[above])
    origin = heads[int(body.joint_bone[0])]
    places = {name: heads[bone] - origin for name, bone in names.items()}
    return places | {"head_end": places["head"] + _applied(rotated[names["head"]], np.array(_HEAD_END_M))}


def _weighted(mean: np.ndarray, weights: Sequence[float] | np.ndarray, rows: np.ndarray) -> np.ndarray:
    """mean + weights @ rows, one after the other."""
    total = mean
    for weight, row in zip(weights, rows, strict=False):
        if weight:
            total = total + weight * row
    return total


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, :1] * b[:1] + a[:, 1:2] * b[1:2] + a[:, 2:] * b[2:]


def _applied(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return matrix[:, 0] * vector[0] + matrix[:, 1] * vector[1] + matrix[:, 2] * vector[2]


def _sine_cosine(angle: float) -> tuple[float, float]:
    """By series at a 32nd of the angle, then doubled."""
    x = angle / 32
    square = x * x
    sine = x * (1 - square / 6 * (1 - square / 20 * (1 - square / 42 * (1 - square / 72))))
    cosine = 1 - square / 2 * (1 - square / 12 * (1 - square / 30 * (1 - square / 56)))
    for _ in range(5):
        sine, cosine = 2 * sine * cosine, cosine * cosine - sine * sine
    return sine, cosine


def _rotation(vector: np.ndarray) -> np.ndarray:
    """Rotation vector [3] to a matrix [3, 3]."""
    angle = np.sqrt(vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2])
    if angle < 1e-9:
        return np.eye(3)
    x, y, z = vector / angle
    sine, cosine = _sine_cosine(angle)
    rest = 1 - cosine
    return np.array([
        [cosine + x * x * rest, x * y * rest - z * sine, x * z * rest + y * sine],
        [y * x * rest + z * sine, cosine + y * y * rest, y * z * rest - x * sine],
        [z * x * rest - y * sine, z * y * rest + x * sine, cosine + z * z * rest],
    ])  # fmt: skip


def _exp(x: float) -> float:
    """e^x by its series at x / 64, then squared."""
    small = max(min(x, 5.0), -3.0) / 64
    value = 1 + small * (1 + small / 2 * (1 + small / 3 * (1 + small / 4 * (1 + small / 5))))
    for _ in range(6):
        value = value * value
    return value
