"""Geometry of the built-in wardrobe, part one: reference bodies, and the parts that garments are made of.

A garment is built on the reference body of the wearer's kind (sex or child, slim or heavy) and bound to hm08
vertices, so that it fits every shape. Shells are clipped exactly where a signed field crosses zero: clean hems.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.body.table import BODY_VERTICES, load_body, vertex_normals
from somacast.synthetic.wardrobe.garments import TEXTURE_SIZE_PX, Garment

KINDS = ("f_slim", "f_heavy", "m_slim", "m_heavy", "child")
JOINT = {name: i for i, name in enumerate(CANONICAL_JOINTS)}
_EMPTY = np.zeros((TEXTURE_SIZE_PX, TEXTURE_SIZE_PX, 4), np.uint8)  # kept garments share it


def kind_of(person: dict[str, float]) -> str:
    """Reference body of a person."""
    build = "heavy" if person.get("weight", 0.5) > 0.55 else "slim"
    if person["age_years"] < 14:
        return "child"
    return f"{'f' if person['gender'] > 0.5 else 'm'}_{build}"


def smoothstep(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


@dataclass(frozen=True)
class Reference:
    """A reference body at rest, metres; sided fields are measured on the nearer side.

    vertices [19158, 3], normals [13380, 3], joints [21, 3]; arm and leg [13380]: place along the limb, 0 at its root,
    1 at elbow or knee, 2 at wrist or ankle; arm_share [13380]: skinning weight on the arms; unit direction from the
    limb's axis, of the legs the distance from it too.
    """

    kind: str
    vertices: np.ndarray
    normals: np.ndarray
    joints: np.ndarray
    share: np.ndarray
    arm_share: np.ndarray
    arm: np.ndarray
    arm_out: np.ndarray
    leg: np.ndarray
    leg_radius: np.ndarray
    leg_out: np.ndarray
    scale_vertices: np.ndarray
    scale_distance_m: np.ndarray

    def at(self, joint: str) -> np.ndarray:
        """Place [3] of a joint by its canonical name."""
        return self.joints[JOINT[joint]]

    @property
    def size(self) -> float:
        """Body height over that of an average grown-up."""
        return float((self.vertices[:BODY_VERTICES, 1].max() - self.vertices[:BODY_VERTICES, 1].min()) / 1.70)


def _limb(points: np.ndarray, root: np.ndarray, bend: np.ndarray, end: np.ndarray):
    """Place along a two-part limb, distance from its axis and direction away from it."""
    first, second = bend - root, end - bend
    t0 = (points - root) @ first / (first @ first)
    t1 = (points - bend) @ second / (second @ second)
    upper = (t0 < 1) & ((t1 < 0) | (t0 < 0.9))
    t = np.where(upper, np.minimum(t0, 1), 1 + np.maximum(t1, 0))
    axis = np.where(upper[:, None], root + t0[:, None] * first, bend + t1[:, None] * second)
    away = points - axis
    radius = np.linalg.norm(away, axis=1)
    return t, radius, away / np.maximum(radius[:, None], 1e-6)


@lru_cache(maxsize=len(KINDS))
def reference(kind: str) -> Reference:
    """The reference body of a kind: the mean of the body table's training people of that kind."""
    body = load_body()
    count = int(len(body.anchor_shape) * 0.9)  # people.py keeps the last tenth for test people
    table = body.anchor_phenotype[:count]
    child = table[:, 1] < 14
    group = child if kind[0] == "c" else ~child & ((table[:, 0] > 0.5) == (kind[0] == "f"))
    if kind != "child":
        group &= (table[:, 6] > 0.55) == kind.endswith("heavy")
    vertices, bones = body.rest(body.anchor_shape[:count][group].mean(0), helpers=True)
    skin = vertices[:BODY_VERTICES]
    normals = np.empty_like(skin)
    vertex_normals(np.ascontiguousarray(skin), body.faces, normals)
    joints = bones[body.joint_bone]
    share = np.zeros((BODY_VERTICES, len(CANONICAL_JOINTS)), np.float32)
    rows = np.repeat(np.arange(BODY_VERTICES), body.skin_index.shape[1])
    np.add.at(share, (rows, body.bone_joint[body.skin_index[:BODY_VERTICES]].ravel()),
              body.skin_weight[:BODY_VERTICES].ravel())  # fmt: skip
    folded = skin * [1, 1, 1]
    folded[:, 0] = np.abs(folded[:, 0])
    side = np.where(skin[:, :1] < 0, -1.0, 1.0) * [1, 0, 0] + [0, 1, 1]
    arm, _, arm_out = _limb(folded, *(joints[JOINT[f"l_{n}"]] for n in ("upper_arm", "lower_arm", "hand")))
    leg, leg_radius, leg_out = _limb(folded, *(joints[JOINT[f"l_{n}"]] for n in ("upper_leg", "lower_leg", "foot")))
    # Offsets follow shoulder width, height and chest depth.
    chest = np.flatnonzero(np.abs(skin[:, 1] - joints[JOINT["chest"], 1]) < 0.03)
    chest = chest[np.abs(skin[chest, 0]) < 0.03]
    pairs = np.array([
        [nearest_vertex(skin, joints[JOINT["l_upper_arm"]]), nearest_vertex(skin, joints[JOINT["r_upper_arm"]])],
        [int(skin[:, 1].argmax()), int(skin[:, 1].argmin())],
        [chest[skin[chest, 2].argmax()], chest[skin[chest, 2].argmin()]],
    ])  # fmt: skip
    distance = np.abs([skin[pairs[k, 0], k] - skin[pairs[k, 1], k] for k in range(3)])
    arms = share[:, [JOINT[f"{s}_{n}"] for s in "lr" for n in ("upper_arm", "lower_arm", "hand")]].sum(1)
    return Reference(kind, vertices, normals, joints, share, arms, arm, arm_out * side, leg, leg_radius,
                     leg_out * side, pairs, distance.astype(np.float32))  # fmt: skip


def nearest_vertex(points: np.ndarray, place: np.ndarray) -> int:
    return int(((points - place) ** 2).sum(1).argmin())


@dataclass
class Part:
    """A mesh bound to hm08 vertices, before it becomes a Garment: place [V, 3] on the reference body."""

    index: np.ndarray
    weight: np.ndarray
    place: np.ndarray
    faces: np.ndarray
    uvs: np.ndarray
    face_uvs: np.ndarray


def join(parts: list[Part]) -> Part:
    """Several parts as one."""
    vertex, uv = 0, 0
    faces, face_uvs = [], []
    for part in parts:
        faces.append(part.faces + vertex)
        face_uvs.append(part.face_uvs + uv)
        vertex, uv = vertex + len(part.index), uv + len(part.uvs)
    index, weight, place, uvs = (
        np.concatenate([getattr(p, n) for p in parts]) for n in ("index", "weight", "place", "uvs")
    )
    return Part(index, weight, place, np.concatenate(faces), uvs, np.concatenate(face_uvs))


def finish(
    ref: Reference, part: Part, name: str, material: int, hidden: np.ndarray, depth: int, cut_out: bool
) -> Garment:
    """A part as a garment with an empty texture."""
    bound = np.einsum("vk,vkc->vc", part.weight, ref.vertices[part.index])
    return Garment(
        name=name, index=part.index.astype(np.int32), weight=part.weight.astype(np.float32),
        offset=(part.place - bound).astype(np.float32), scale_vertices=ref.scale_vertices.astype(np.int64),
        scale_distance_m=ref.scale_distance_m, uvs=part.uvs.astype(np.float32), faces=part.faces.astype(np.int32),
        face_uvs=part.face_uvs.astype(np.int32), face_material=np.full(len(part.faces), material, np.uint8),
        hidden=hidden.astype(np.int64), depth=depth, texture=_EMPTY, cut_out=cut_out,
    )  # fmt: skip


def clip(field: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The part of a mesh where field [V] > 0: new vertices as (pair [N, 2], share of the second [N]), faces [F, 3].

    Triangles that straddle zero are cut along it.
    """
    field = np.where(np.abs(field) < 1e-5, 1e-5, field)
    inside = field > 0
    count = inside[faces].sum(1)
    whole = faces[count == 3]
    pairs: list[np.ndarray] = [np.stack([whole.ravel()] * 2, 1)]
    for want in (1, 2):
        some = faces[count == want]
        odd = (inside[some] == (want == 1)).argmax(1)  # the corner alone on its side
        a, b, c = (some[np.arange(len(some)), (odd + k) % 3] for k in range(3))
        ab, ac = np.stack([a, b], 1), np.stack([a, c], 1)
        if want == 1:
            pairs.append(np.stack([np.stack([a, a], 1), ab, ac], 1).reshape(-1, 2))
        else:
            bb, cc = np.stack([b, b], 1), np.stack([c, c], 1)
            pairs += [np.stack(t, 1).reshape(-1, 2) for t in ((ab, bb, cc), (ab, cc, ac))]
    corners = np.sort(np.concatenate(pairs), 1)
    key = corners[:, 0].astype(np.int64) * len(field) + corners[:, 1]
    unique, inverse = np.unique(key, return_inverse=True)
    pair = np.stack([unique // len(field), unique % len(field)], 1)
    f0, f1 = field[pair[:, 0]], field[pair[:, 1]]
    share = np.where(pair[:, 0] == pair[:, 1], 0.0, f0 / np.where(f0 == f1, 1, f0 - f1))
    return pair, share, inverse.reshape(-1, 3)


def smoothed(place: np.ndarray, faces: np.ndarray, rounds: int) -> np.ndarray:
    """Laplacian smoothing; border vertices move along the border only."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    both = np.concatenate([edges, edges[:, ::-1]])
    n = len(place)
    links, uses = np.unique(both[:, 0].astype(np.int64) * n + both[:, 1], return_counts=True)
    vertex, neighbour = links // n, links % n
    single = uses == 1
    border = np.zeros(n, bool)
    border[vertex[single]] = True
    counts = single | ~border[vertex]
    vertex, neighbour = vertex[counts], neighbour[counts]
    share = 1 / np.maximum(np.bincount(vertex, minlength=n), 1)
    for _ in range(rounds):
        total = [np.bincount(vertex, place[neighbour, axis], n) * share for axis in range(3)]
        place = 0.45 * place + 0.55 * np.stack(total, 1)
    return place


def hang_table(ref: Reference, gap: float, slope: float, columns: int = 48, rows: int = 60):
    """Radius [columns, rows] of cloth that hangs from the torso: the body's own plus `gap`, never shrinking faster
    downwards than `slope`. Also (z of the axis, lowest y, highest y)."""
    skin = ref.vertices[:BODY_VERTICES]
    low, high = ref.at("l_foot")[1], ref.at("l_upper_arm")[1]
    mask = (ref.arm_share < 0.25) & (skin[:, 1] > low - 0.02) & (skin[:, 1] < high)
    p = skin[mask]
    z = float(ref.at("spine")[2] * 0.5 + p[:, 2].mean() * 0.5)
    turn = np.arctan2(p[:, 0], p[:, 2] - z)
    col = np.floor((turn / (2 * np.pi) + 0.5) * columns).astype(int) % columns
    row = np.clip(((p[:, 1] - low) / (high - low) * rows).astype(int), 0, rows - 1)
    radius = np.zeros((columns, rows))
    np.maximum.at(radius, (col, row), np.hypot(p[:, 0], p[:, 2] - z))
    for _ in range(4):  # fill bins that no vertex fell into
        near = np.maximum.reduce([np.roll(radius, s, 0) for s in (-1, 1)])
        near = np.maximum(
            near, np.maximum(np.pad(radius, ((0, 0), (1, 0)))[:, :-1], np.pad(radius, ((0, 0), (0, 1)))[:, 1:])
        )
        radius = np.where(radius == 0, near, radius)
    smooth = np.maximum(radius, (np.roll(radius, 1, 0) + radius + np.roll(radius, -1, 0)) / 3) + gap
    step = (high - low) / rows
    for r in range(rows - 2, -1, -1):
        smooth[:, r] = np.maximum(smooth[:, r], smooth[:, r + 1] - slope * step)
    for _ in range(2):
        smooth = np.maximum(radius + gap * 0.8, (np.roll(smooth, 1, 0) + 2 * smooth + np.roll(smooth, -1, 0)) / 4)
    return smooth, z, float(low), float(high)


def look_up(table: np.ndarray, turn: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Bilinear values of table [columns, rows] at turn in radians and height in [0, 1]."""
    columns, rows = table.shape
    c = (turn / (2 * np.pi) + 0.5) * columns - 0.5
    r = np.clip(height * rows - 0.5, 0, rows - 1.001)
    c0, r0 = np.floor(c).astype(int), r.astype(int)
    fc, fr = c - c0, r - r0
    c0, c1 = c0 % columns, (c0 + 1) % columns
    return ((1 - fc) * (1 - fr) * table[c0, r0] + fc * (1 - fr) * table[c1, r0]
            + (1 - fc) * fr * table[c0, r0 + 1] + fc * fr * table[c1, r0 + 1])  # fmt: skip


def waist_y(ref: Reference) -> float:
    return float(0.45 * ref.at("spine")[1] + 0.55 * ref.at("pelvis")[1]) + 0.03 * ref.size
