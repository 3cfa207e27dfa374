"""The built-in wardrobe and motions: fit, truthful attributes, determinism, splits."""

import numpy as np
import pytest

from somacast.body.clothing import ATTRIBUTES, MATERIALS
from somacast.body.table import BODY_VERTICES, load_body, skin_vertices, vertex_normals
from somacast.errors import SomacastError
from somacast.kernels import compiled
from somacast.synthetic.motion.builtin import BUILTIN_ACTIONS, builtin_clip, draw_builtin_pose
from somacast.synthetic.people import PHENOTYPE, dress
from somacast.synthetic.wardrobe import skins
from somacast.synthetic.wardrobe import textures as builtin_textures
from somacast.synthetic.wardrobe.builtin import TEST_STYLES, BuiltinWardrobe
from somacast.synthetic.wardrobe.shapes import clip

PEOPLE = 40
SHELLS = ("top", "bottom", "shoes")


def _anchors() -> np.ndarray:
    """People spread over all heights, with the shortest (1.1 m) and the tallest (2.0 m) there are."""
    body = load_body()
    basis = body.shape_basis[:, :BODY_VERTICES, 1].astype(np.float32)
    ends = [int(body.shape_mean[:BODY_VERTICES, 1].argmax()), int(body.shape_mean[:BODY_VERTICES, 1].argmin())]
    mean = body.shape_mean[ends[0], 1] - body.shape_mean[ends[1], 1]
    height = mean + body.anchor_shape @ (basis[:, ends[0]] - basis[:, ends[1]])
    near = [int(np.abs(height - want).argmin()) for want in np.linspace(1.1, 2.0, PEOPLE)]
    assert np.abs(height[near[0]] - 1.1) < 0.03 and np.abs(height[near[-1]] - 2.0) < 0.04
    return np.array(near)


def _phenotype(anchor: int) -> dict[str, float]:
    return {k: float(v) for k, v in zip(PHENOTYPE, load_body().anchor_phenotype[anchor], strict=True)}


@pytest.fixture(scope="module")
def wardrobe() -> BuiltinWardrobe:
    return BuiltinWardrobe()


@pytest.fixture(scope="module")
def people(wardrobe):
    out = []
    for number, anchor in enumerate(_anchors()):
        person = _phenotype(anchor)
        outfit = wardrobe.outfit(np.random.default_rng([5, number]), person, "test" if number % 4 == 0 else "train")
        out.append((int(anchor), person, outfit))
    return out


def test_shapes_and_attributes(people):
    for _, _, outfit in people:
        assert outfit.skin.shape == (256, 256, 4) and outfit.skin.dtype == np.uint8
        assert set(outfit.attributes) == set(ATTRIBUTES)
        assert all(value in ATTRIBUTES[name] for name, value in outfit.attributes.items())
        materials = set()
        for layer in outfit.layers:
            g = layer.garment
            count = len(g.index)
            assert g.index.shape == g.weight.shape == g.offset.shape == (count, 3)
            assert g.index.min() >= 0 and g.index.max() < 19158
            assert np.allclose(g.weight.sum(1), 1, atol=1e-4) and g.weight.min() > -1e-4
            assert np.isfinite(g.offset).all() and np.abs(g.offset).max() < 1.2
            assert g.faces.min() >= 0 and g.faces.max() < count and g.faces.shape == g.face_uvs.shape
            assert g.face_uvs.max() < len(g.uvs) and np.isfinite(g.uvs).all()
            assert (g.faces[:, 0] != g.faces[:, 1]).all() and (g.faces[:, 1] != g.faces[:, 2]).all()
            assert g.texture.shape == (256, 256, 4) and g.texture.dtype == np.uint8
            assert g.face_material.shape == (len(g.faces),) and g.face_material.max() < len(MATERIALS)
            assert layer.color_matrix.shape == (3, 4)
            materials.add(MATERIALS[g.face_material[0]])
        assert {"top", "bottom", "eyes"} <= materials
        assert ("hair" in materials) == (outfit.attributes["hair"] != "none")
        assert ("hat" in materials) == (outfit.attributes["hat"] == "hat")
        assert ("shoes" in materials) == (outfit.attributes["shoes"] == "shoes")


def test_sleeves_and_legs_reach_as_far_as_said(people):
    """Attributes against the fitted geometry, in the rest pose."""
    body = load_body()
    for anchor, _, outfit in people:
        rest, bones = body.rest(body.anchor_shape[anchor], helpers=True)
        joints = bones[body.joint_bone]
        place = {"top": [], "bottom": []}
        for layer in outfit.layers:
            kind = MATERIALS[layer.garment.face_material[0]]
            if kind in place:
                place[kind].append(layer.garment.fit(rest))
        reach = np.concatenate(place["top"])[:, 0].max()
        elbow, wrist = joints[7, 0], joints[8, 0]
        size = rest[:BODY_VERTICES, 1].max() - rest[:BODY_VERTICES, 1].min()
        want = outfit.attributes["sleeves"]
        if want == "long":
            assert reach > 0.4 * elbow + 0.6 * wrist
        else:
            assert reach < elbow + 0.05 * size
        low = np.concatenate(place["bottom"])[:, 1].min()
        knee, ankle = joints[14, 1], joints[15, 1]
        if outfit.attributes["legs"] == "trousers":
            assert low < 0.6 * knee + 0.4 * ankle
        if outfit.attributes["legs"] == "shorts":
            assert low > 0.75 * knee + 0.25 * ankle


@compiled()
def _rays_that_miss(origin, direction, vertices, faces, reach):
    """How many rays [N, 3] hit no triangle within `reach` metres."""
    missed = 0
    for n in range(len(origin)):
        hit = False
        o, d = origin[n], direction[n]
        for f in range(len(faces)):
            a = vertices[faces[f, 0]]
            e0, e1, s = vertices[faces[f, 1]] - a, vertices[faces[f, 2]] - a, o - a
            px, py, pz = d[1] * e1[2] - d[2] * e1[1], d[2] * e1[0] - d[0] * e1[2], d[0] * e1[1] - d[1] * e1[0]
            det = e0[0] * px + e0[1] * py + e0[2] * pz
            if abs(det) < 1e-12:
                continue
            u = (s[0] * px + s[1] * py + s[2] * pz) / det
            if u < 0 or u > 1:
                continue
            qx, qy, qz = s[1] * e0[2] - s[2] * e0[1], s[2] * e0[0] - s[0] * e0[2], s[0] * e0[1] - s[1] * e0[0]
            v = (d[0] * qx + d[1] * qy + d[2] * qz) / det
            if v < 0 or u + v > 1:
                continue
            t = (e1[0] * qx + e1[1] * qy + e1[2] * qz) / det
            if 0 < t < reach:
                hit = True
                break
        missed += not hit
    return missed


@pytest.mark.parametrize("pose", ["rest", "walking"])
def test_garments_enclose_the_body(people, pose):
    """From skin that a garment hides, looking outwards, one meets cloth (starting 2 mm inside the skin)."""
    body = load_body()
    rng = np.random.default_rng(3)
    shares = []
    for anchor, person, outfit in people:
        dressed = dress(body.anchor_shape[anchor], person, outfit)
        rest, bones = body.rest(body.anchor_shape[anchor], helpers=True)
        if pose == "rest":
            transform = np.broadcast_to(np.eye(3, 4, dtype=np.float32), (len(bones), 3, 4)).copy()
        else:
            transform, _ = body.transforms(bones, draw_builtin_pose(rng, "walking", "train"))
        cloth = np.empty_like(dressed.vertices)
        skin_vertices(dressed.vertices, dressed.skin_index, dressed.skin_weight, transform, cloth)
        skin = np.empty_like(rest)
        skin_vertices(rest, body.skin_index, body.skin_weight, transform, skin)
        normals = np.empty((BODY_VERTICES, 3), np.float32)
        vertex_normals(np.ascontiguousarray(skin[:BODY_VERTICES]), body.faces, normals)
        worn = np.isin(dressed.face_material, [MATERIALS.index(m) for m in SHELLS])
        hidden = np.unique(np.concatenate([layer.garment.hidden for layer in outfit.layers
                                           if MATERIALS[layer.garment.face_material[0]] in SHELLS]))  # fmt: skip
        some = rng.choice(hidden, 150, replace=False)
        start = (skin[some] - 0.002 * normals[some]).astype(np.float32)
        missed = _rays_that_miss(start, normals[some], cloth, dressed.faces[worn], 0.5)
        shares.append(missed / len(some))
    assert np.mean(shares) < (0.01 if pose == "rest" else 0.03), shares
    assert max(shares) < (0.04 if pose == "rest" else 0.10), shares


def test_same_seed_same_outfit(wardrobe):
    person = _phenotype(12)
    one = wardrobe.outfit(np.random.default_rng(8), person, "train")
    two = BuiltinWardrobe().outfit(np.random.default_rng(8), person, "train")
    assert one.attributes == two.attributes and np.array_equal(one.skin, two.skin)
    for a, b in zip(one.layers, two.layers, strict=True):
        assert a.garment.name == b.garment.name and np.array_equal(a.garment.offset, b.garment.offset)
        assert np.array_equal(a.garment.texture, b.garment.texture)
        assert np.array_equal(a.color_matrix, b.color_matrix)
    other = wardrobe.outfit(np.random.default_rng(9), person, "train")
    assert not np.array_equal(one.skin, other.skin)


def test_training_never_sees_test_styles(wardrobe, monkeypatch):
    seen: dict[str, set[str]] = {"train": set(), "test": set()}
    blank = np.zeros((256, 256, 4), np.uint8)
    monkeypatch.setattr(skins, "skin_texture", lambda *a, **k: blank)
    monkeypatch.setattr(builtin_textures, "hair_texture", lambda *a, **k: blank)

    def fake_cloth(rng, layout, pattern, split, *rest, **more):
        patterns[split].add(pattern)
        return blank

    patterns: dict[str, set[str]] = {"train": set(), "test": set()}
    monkeypatch.setattr(builtin_textures, "cloth", fake_cloth)
    for split in seen:
        for number in range(60):
            person = _phenotype((2, 0)[number % 2])  # few kinds of body: shapes are built once per kind
            outfit = wardrobe.outfit(np.random.default_rng([1, number]), person, split)
            seen[split] |= {layer.garment.name.removeprefix("builtin/").rstrip("0123456789") for layer in outfit.layers}
    assert not seen["train"] & TEST_STYLES
    assert len(seen["test"] & TEST_STYLES) > 6
    assert not patterns["train"] & set(builtin_textures.TEST_PATTERNS)
    assert patterns["test"] & set(builtin_textures.TEST_PATTERNS)


def test_clip_cuts_at_zero():
    field = np.array([1.0, -1.0, -3.0])
    pair, share, faces = clip(field, np.array([[0, 1, 2]]))
    assert len(faces) == 1
    place = np.array([[0.0, 0], [1, 0], [0, 1]])
    cut = place[pair[:, 0]] * (1 - share)[:, None] + place[pair[:, 1]] * share[:, None]
    assert np.allclose(sorted(map(tuple, np.round(cut, 6))), [(0, 0), (0, 0.25), (0.5, 0)])
    assert len(clip(-field, np.array([[0, 1, 2]]))[2]) == 2


@pytest.mark.parametrize("action", BUILTIN_ACTIONS)
def test_builtin_motion(action):
    pose = draw_builtin_pose(np.random.default_rng(4), action, "test")
    assert pose.shape == (21, 3, 3) and pose.dtype == np.float32
    assert np.allclose(pose @ pose.transpose(0, 2, 1), np.eye(3), atol=1e-5)
    assert np.allclose(np.linalg.det(pose), 1, atol=1e-5)
    assert abs(np.arctan2(pose[0, 0, 2], pose[0, 2, 2])) < 1e-4  # the pelvis faces +z
    assert np.array_equal(pose, draw_builtin_pose(np.random.default_rng(4), action, "test"))
    assert not np.allclose(pose, draw_builtin_pose(np.random.default_rng(4), action, "train"))
    rotations, path = builtin_clip(np.random.default_rng(4), action, 2.0, 60)
    assert rotations.shape == (120, 21, 3, 3) and path.shape == (120, 3)
    step = np.linalg.norm((rotations - np.roll(rotations, 1, 0)).reshape(120, -1), axis=1)
    assert step[0] <= step[1:].max() * 1.05 and step.max() < 1.6  # it loops, and nothing jumps
    assert np.abs(np.diff(path[:, 1], 2)).max() < 0.02


def test_builtin_motion_says_what_is_wrong():
    with pytest.raises(SomacastError, match="flying"):
        draw_builtin_pose(np.random.default_rng(0), "flying", "train")
    with pytest.raises(SomacastError, match="valid"):
        draw_builtin_pose(np.random.default_rng(0), "walking", "valid")
