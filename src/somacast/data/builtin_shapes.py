"""Geometry of the built-in wardrobe, part one: reference bodies and shells of the body surface (tops and trousers).

A garment is built on the reference body of the wearer's kind (sex or child, slim or heavy) and bound to hm08
vertices, so that it fits every shape. Shells are clipped exactly where a signed field crosses zero: clean hems.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from somacast.data.wardrobe import TEXTURE_SIZE_PX, Garment
from somacast.human.body import BODY_VERTICES, load_body, vertex_normals
from somacast.human.skeleton import CANONICAL_JOINTS

KINDS = ("f_slim", "f_heavy", "m_slim", "m_heavy", "child")
_J = {name: i for i, name in enumerate(CANONICAL_JOINTS)}
_FAR = 9.0
_EMPTY = np.zeros((TEXTURE_SIZE_PX, TEXTURE_SIZE_PX, 4), np.uint8)  # kept garments share it
TAIL_HEM = 0.13  # a top that ends lower than this goes on as a skirt-like tail (else it would follow each leg)


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
    1 at elbow or knee, 2 at wrist or ankle; arm_share [13380]: skinning weight on the arms; radial distance and unit
    direction from the limb's axis.
    """

    kind: str
    vertices: np.ndarray
    normals: np.ndarray
    joints: np.ndarray
    share: np.ndarray
    arm_share: np.ndarray
    arm: np.ndarray
    arm_radius: np.ndarray
    arm_out: np.ndarray
    leg: np.ndarray
    leg_radius: np.ndarray
    leg_out: np.ndarray
    scale_vertices: np.ndarray
    scale_distance_m: np.ndarray

    def at(self, joint: str) -> np.ndarray:
        """Place [3] of a joint by its canonical name."""
        return self.joints[_J[joint]]

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
    arm, arm_radius, arm_out = _limb(folded, *(joints[_J[f"l_{n}"]] for n in ("upper_arm", "lower_arm", "hand")))
    leg, leg_radius, leg_out = _limb(folded, *(joints[_J[f"l_{n}"]] for n in ("upper_leg", "lower_leg", "foot")))
    # Offsets follow shoulder width, height and chest depth.
    chest = np.flatnonzero(np.abs(skin[:, 1] - joints[_J["chest"], 1]) < 0.03)
    chest = chest[np.abs(skin[chest, 0]) < 0.03]
    pairs = np.array([
        [_nearest(skin, joints[_J["l_upper_arm"]]), _nearest(skin, joints[_J["r_upper_arm"]])],
        [int(skin[:, 1].argmax()), int(skin[:, 1].argmin())],
        [chest[skin[chest, 2].argmax()], chest[skin[chest, 2].argmin()]],
    ])  # fmt: skip
    distance = np.abs([skin[pairs[k, 0], k] - skin[pairs[k, 1], k] for k in range(3)])
    arms = share[:, [_J[f"{s}_{n}"] for s in "lr" for n in ("upper_arm", "lower_arm", "hand")]].sum(1)
    return Reference(kind, vertices, normals, joints, share, arms, arm, arm_radius, arm_out * side, leg, leg_radius,
                     leg_out * side, pairs, distance.astype(np.float32))  # fmt: skip


def _nearest(points: np.ndarray, place: np.ndarray) -> int:
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
    sex = {"f": "f", "m": "m", "c": "any"}[ref.kind[0]]
    return Garment(
        name=name, sex=sex, index=part.index.astype(np.int32), weight=part.weight.astype(np.float32),
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


def _smooth(place: np.ndarray, faces: np.ndarray, rounds: int) -> np.ndarray:
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


@dataclass(frozen=True)
class TopStyle:
    """A top. sleeve: where it ends along the arm (0 shoulder, 1 elbow, 2 wrist; below 0 there is none);
    neck: crew, v, scoop, open or high; hem: height over the crotch in torso lengths (below TAIL_HEM: with a tail);
    gap_m: distance from the skin; loose in [0, 1]; opening_m: half width of an open front at the hem."""

    sleeve: float
    neck: str
    hem: float
    gap_m: float
    loose: float
    opening_m: float = -1.0
    cuff: bool = False
    collar: str = "none"


@dataclass(frozen=True)
class LegStyle:
    """Trousers or shorts. end: along the leg (1 knee, 2 ankle); wide in [0, 1]; taper: the hem closes again."""

    end: float
    wide: float
    gap_m: float = 0.007
    cuff: bool = False


def _waist_y(ref: Reference) -> float:
    return float(0.45 * ref.at("spine")[1] + 0.55 * ref.at("pelvis")[1]) + 0.03 * ref.size


def _crotch_y(ref: Reference) -> float:
    return float(ref.at("l_upper_leg")[1]) - 0.09 * ref.size


def top_field(ref: Reference, style: TopStyle) -> np.ndarray:
    """Signed field [13380], positive where the top is, about metres near its borders."""
    p, s = ref.vertices[:BODY_VERTICES], ref.size
    neck, crotch = ref.at("neck"), _crotch_y(ref)
    on_arm = ref.arm_share > 0.5
    hem = crotch + max(style.hem, TAIL_HEM) * (neck[1] - crotch)
    low = np.where(on_arm, _FAR, p[:, 1] - hem)
    front = smoothstep((p[:, 2] - neck[2] + 0.02 * s) / (0.05 * s))
    base = neck[1] - 0.012 * s - 0.55 * (p[:, 2] - neck[2])
    x = np.abs(p[:, 0])
    if style.neck == "high":
        base = base + 0.035 * s
    high = base - p[:, 1]
    if style.neck in ("v", "open", "scoop"):
        deep = {"v": 0.11, "open": 0.085, "scoop": 0.085}[style.neck] * s
        bottom = neck[1] - 0.05 * s - deep
        shape = bottom + (x * 1.75 if style.neck != "scoop" else x**2 * 14 / s)
        high = np.minimum(high, np.where(front > 0.5, shape - p[:, 1], high))
    high = np.where(on_arm, _FAR, high)
    if style.sleeve < 0:
        shoulders = ref.share[:, [_J["l_clavicle"], _J["r_clavicle"]]].sum(1)
        sleeve = (0.33 + style.sleeve * 0.2 - ref.arm_share - 0.0 * shoulders) * 0.12
    else:
        length = np.linalg.norm(ref.at("l_lower_arm") - ref.at("l_upper_arm"))
        sleeve = (style.sleeve - ref.arm) * length + np.maximum(0, 0.5 - ref.arm_share) * 2.0
    field = np.minimum(np.minimum(low, high), sleeve)
    if style.opening_m >= 0:
        chest = ref.at("chest")[1] + 0.1 * s
        width = 0.012 * s + (style.opening_m * s) * np.clip((chest + 0.14 * s - p[:, 1]) / (0.45 * s), 0, 1)
        ahead = p[:, 2] > ref.at("spine")[2] + 0.02 * s
        field = np.where(ahead & ~on_arm, np.minimum(field, x - width), field)
    return field


def leg_field(ref: Reference, style: LegStyle) -> np.ndarray:
    """Signed field [13380], positive where the trousers are."""
    p = ref.vertices[:BODY_VERTICES]
    length = np.linalg.norm(ref.at("l_foot") - ref.at("l_lower_leg"))
    legs = np.where(p[:, 1] < _crotch_y(ref) + 0.05, (style.end - ref.leg) * length, _FAR)
    field = np.minimum(legs, _waist_y(ref) - p[:, 1])
    return np.where(ref.arm_share > 0.2, -0.1, field)


def covered(field: np.ndarray, ring_m: float = 0.025) -> np.ndarray:
    """Body vertices well inside a field: their skin is not drawn. A ring at the hem stays."""
    return np.flatnonzero(field > ring_m)


def _waves(rng: np.random.Generator, place: np.ndarray, size: float) -> np.ndarray:
    """Smooth noise in about [-1, 1] over places, wavelengths of 8 to 20 cm."""
    total = np.zeros(len(place))
    for _ in range(5):
        direction = rng.normal(0, 1, 3) * [1, 0.55, 1]
        direction *= rng.uniform(30, 75) / (np.linalg.norm(direction) * size)
        total += np.sin(place @ direction + rng.uniform(0, 6.28))
    return total / 3


def _bind_shell(ref: Reference, field: np.ndarray):
    pair, share, faces = clip(field, load_body().faces)
    index = np.stack([pair[:, 0], pair[:, 1], pair[:, 0]], 1)
    weight = np.stack([1 - share, share, 0 * share], 1)

    def mix(values: np.ndarray) -> np.ndarray:
        if values.ndim == 1:
            return values[pair[:, 0]] * (1 - share) + values[pair[:, 1]] * share
        return values[pair[:, 0]] * (1 - share)[:, None] + values[pair[:, 1]] * share[:, None]

    return index, weight, faces, mix


def _push_out(place: np.ndarray, skin: np.ndarray, normal: np.ndarray, gap: np.ndarray | float) -> np.ndarray:
    lack = gap - ((place - skin) * normal).sum(1)
    return place + normal * np.maximum(lack, 0)[:, None]


def _wrap(u: np.ndarray) -> np.ndarray:
    """u [F, 3] in turns, made continuous within each face."""
    return u[:, :1] + (u - u[:, :1] + 0.5) % 1 - 0.5


def shell_top(ref: Reference, style: TopStyle, seed: int) -> tuple[Part, np.ndarray]:
    """A top as a shell of torso and arms, and its field over the body."""
    rng = np.random.default_rng(seed)
    field, s = top_field(ref, style), ref.size
    index, weight, faces, mix = _bind_shell(ref, field)
    skin, normal = mix(ref.vertices[:BODY_VERTICES]), mix(ref.normals)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    arms, along = mix(ref.arm_share), mix(ref.arm)
    gap = style.gap_m * s * np.ones(len(skin))
    if style.hem < 0.2:  # worn over the trousers: clear of their waistband
        hem = _crotch_y(ref) + max(style.hem, TAIL_HEM) * (ref.at("neck")[1] - _crotch_y(ref))
        gap += 0.007 * s * smoothstep((hem + 0.2 * s - skin[:, 1]) / (0.1 * s)) * (1 - smoothstep(arms / 0.3))
    place = skin + normal * gap[:, None]
    # sleeves: away from the arm's axis, wider in the middle of each part, tight at a cuff
    wide = style.loose * 0.024 * s * smoothstep((along - 0.15) / 0.5) * (0.6 + 0.4 * np.cos(along * 5.0))
    if style.cuff:
        wide *= smoothstep((style.sleeve - along) / 0.15)
    place += mix(ref.arm_out) * (wide * smoothstep((arms - 0.4) / 0.4))[:, None]
    table, z, low, high = hang_table(ref, style.gap_m * s, 0.75 - 0.7 * style.loose)
    turn = np.arctan2(place[:, 0], place[:, 2] - z)
    radius = np.hypot(place[:, 0], place[:, 2] - z)
    hang = look_up(table, turn, (place[:, 1] - low) / (high - low))
    fade = smoothstep((high - 0.06 * s - place[:, 1]) / (0.12 * s)) * (1 - smoothstep(arms / 0.25))
    grow = np.clip(hang - radius, 0, 0.10 * s) * fade * min(1.0, style.loose * 1.4)
    if style.cuff:  # the waistband holds a sweater
        grow *= smoothstep((place[:, 1] - place[arms < 0.3, 1].min()) / (0.07 * s)) * 0.9 + 0.1
    place += np.stack([np.sin(turn), 0 * turn, np.cos(turn)], 1) * grow[:, None]
    place = _smooth(place, faces, 4 + int(10 * style.loose))
    fold = _waves(rng, place, s) * (0.0015 + 0.006 * style.loose) * s
    fold += 0.0035 * s * style.loose * np.cos(along * 34) * np.exp(-(((along - 1) / 0.22) ** 2)) * arms
    place = _push_out(place + normal * fold[:, None], skin, normal, 0.75 * gap)
    uvs = _top_uvs(ref, place, arms, along, faces, z)
    flat = np.arange(3 * len(faces)).reshape(-1, 3)
    return Part(index, weight, place, faces, uvs, flat), field


def _top_uvs(ref, place, arms, along, faces, z) -> np.ndarray:
    """Torso around and along in the upper 0.6 of the texture, front in the middle; the sleeves below it."""
    s, neck = ref.size, ref.at("neck")[1] + 0.03 * ref.size
    floor = _crotch_y(ref) - 0.25 * s
    u = np.arctan2(place[:, 0], place[:, 2] - z)[faces] / (2 * np.pi) + 0.5
    v = 0.4 + 0.6 * np.clip((place[:, 1] - floor) / (neck - floor), 0, 1)
    uv = np.stack([_wrap(u), v[faces]], -1)
    side = np.where(place[:, 0] < 0, -1.0, 1.0)
    root, elbow, wrist = (ref.at(f"l_{n}") for n in ("upper_arm", "lower_arm", "hand"))
    t = np.clip(along, 0, 2)[:, None]
    axis = np.where(t < 1, root + t * (elbow - root), elbow + (t - 1) * (wrist - elbow))
    away = place * np.stack([side, side * 0 + 1, side * 0 + 1], 1) - axis
    around = np.arctan2(away[:, 2], away @ np.array([0.74, 0.67, 0])) / (2 * np.pi)
    half = (side[faces].sum(1) < 0)[:, None] * 0.5
    sleeve = np.stack(
        [half + 0.25 + 0.5 * np.clip(_wrap(around[faces]), -0.5, 0.5), 0.385 * (1 - along[faces] / 2)], -1
    )
    is_arm = arms[faces].mean(1) > 0.5
    return np.where(is_arm[:, None, None], sleeve, uv).reshape(-1, 2)


def shell_legs(ref: Reference, style: LegStyle, seed: int) -> tuple[Part, np.ndarray]:
    """Trousers or shorts as a shell of hips and legs, and their field over the body."""
    rng = np.random.default_rng(seed)
    field, s = leg_field(ref, style), ref.size
    index, weight, faces, mix = _bind_shell(ref, field)
    skin, normal = mix(ref.vertices[:BODY_VERTICES]), mix(ref.normals)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    along, radius, out = mix(ref.leg), mix(ref.leg_radius), mix(ref.leg_out)
    below = smoothstep((_crotch_y(ref) + 0.02 * s - skin[:, 1]) / (0.16 * s))
    gap = (0.005 + (style.gap_m - 0.005) * below) * s  # flat at the hips, where tops lie over it
    place = skin + normal * gap[:, None]
    # a straight leg hangs from the thigh: below it the cloth keeps a part of the thigh's radius
    thigh = 0.088 * s
    goal = thigh * (0.52 + 0.62 * style.wide) * np.clip(along - 0.15, 0, 1) + thigh * style.wide**2 * 0.35 * np.clip(
        along - 1, 0, 1
    )
    if style.cuff:
        goal = goal * smoothstep((style.end - along) / 0.12)
    grow = np.clip(goal - radius - gap, 0, 0.11 * s) * below
    if style.end < 1.3:
        grow = np.maximum(grow, style.wide * 0.022 * s * below * smoothstep((along - 0.1) / 0.5))
    place += out * grow[:, None]
    place = _smooth(place, faces, 5 + int(8 * style.wide))
    fold = _waves(rng, place, s) * (0.0012 + 0.006 * style.wide) * s * (0.1 + 0.9 * below)
    fold += 0.003 * s * np.cos(along * 40) * (np.exp(-(((along - 1) / 0.14) ** 2)) + (along > 1.7) * 0.8) * below
    place = _push_out(place + normal * fold[:, None], skin, normal, 0.75 * gap)
    side = np.where(skin[:, 0] < 0, -1.0, 1.0)
    inner = np.abs(skin[:, 0]) > 0.004 * s
    place[inner, 0] = (np.maximum(place[:, 0] * side, 0.002 * s) * side)[inner]  # the legs do not cross
    root = ref.at("l_upper_leg")
    t = np.clip(along, 0, 2)[:, None]
    knee, ankle = ref.at("l_lower_leg"), ref.at("l_foot")
    axis = np.where(t < 1, root + t * (knee - root), knee + (t - 1) * (ankle - knee))
    away = place * np.stack([side, side * 0 + 1, side * 0 + 1], 1) - axis
    around = np.arctan2(away[:, 2], away[:, 0]) / (2 * np.pi)  # 0 outside, a quarter in front, a half inside
    half = (side[faces].sum(1) < 0)[:, None] * 0.5
    v = (place[:, 1] - ankle[1]) / (_waist_y(ref) + 0.01 - ankle[1])
    uv = np.stack([half + 0.25 + 0.49 * np.clip(_wrap(around[faces]), -0.5, 0.5), np.clip(v, 0.002, 0.998)[faces]], -1)
    return Part(index, weight, place, faces, uv.reshape(-1, 2), np.arange(3 * len(faces)).reshape(-1, 3)), field
