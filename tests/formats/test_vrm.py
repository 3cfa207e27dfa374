"""VRM by the rules of its specification, by a reader of our own, and by the readers of others where they are."""

import io

import numpy as np
import pytest
from PIL import Image

from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_COUNT
from somacast.errors import SomacastError
from somacast.formats import color_cells
from somacast.formats.color_cells import CELL_PX, bake_colors
from somacast.formats.export import VrmTerms
from somacast.formats.gltf_scene import GltfScene
from somacast.formats.vrm import HUMAN_BONES, LICENSE_URL, encode_vrm
from somacast.geometry.rasteriser import sample_texture
from somacast.geometry.rig import in_tpose
from somacast.types import Mesh
from support.format_cases import Glb
from support.rig_cases import bare_rig

SIDES = ("left", "right")
PARENTS = {  # of the specification, the nearest that is there
    "spine": "hips", "chest": "spine", "neck": "chest", "head": "neck",
} | {f"{side}{bone}": parent if parent[0].islower() else side + parent for side in SIDES for bone, parent in {
    "Shoulder": "chest", "UpperArm": "Shoulder", "LowerArm": "UpperArm", "Hand": "LowerArm",
    "UpperLeg": "hips", "LowerLeg": "UpperLeg", "Foot": "LowerLeg", "Toes": "Foot"}.items()}  # fmt: skip
META = {  # of the schema: what is required, and the values that there are
    "name": str, "version": str, "authors": list, "licenseUrl": str, "thumbnailImage": int, "otherLicenseUrl": str,
    "avatarPermission": ("onlyAuthor", "onlySeparatelyLicensedPerson", "everyone"),
    "commercialUsage": ("personalNonProfit", "personalProfit", "corporation"),
    "creditNotation": ("required", "unnecessary"),
    "modification": ("prohibited", "allowModification", "allowModificationRedistribution"),
    "allowExcessivelyViolentUsage": bool, "allowExcessivelySexualUsage": bool, "allowPoliticalOrReligiousUsage": bool,
    "allowAntisocialOrHateUsage": bool, "allowRedistribution": bool,
}  # fmt: skip


def joints_of(glb: Glb) -> dict[str, np.ndarray]:
    """World places of all nodes by name; no node may be turned or scaled."""
    nodes, places = glb.document["nodes"], {}
    waiting = [(root, np.zeros(3)) for root in glb.document["scenes"][0]["nodes"]]
    while waiting:
        number, above = waiting.pop()
        node = nodes[number]
        assert "scale" not in node and "matrix" not in node
        np.testing.assert_allclose(node.get("rotation", (0, 0, 0, 1)), (0, 0, 0, 1), atol=1e-6)
        places[node["name"]] = above + node.get("translation", (0, 0, 0))
        waiting += [(child, places[node["name"]]) for child in node.get("children", [])]
    assert len(places) == len(nodes)
    return places


@pytest.mark.parametrize("in_t", [True, False])
def test_vrm_1_is_what_its_schema_says(in_t):
    glb = Glb(encode_vrm(bare_rig(in_t), "Jo"))
    document = glb.document
    assert document["extensionsUsed"] == ["VRMC_vrm", "VRMC_materials_mtoon"] and "animations" not in document
    vrm = document["extensions"]["VRMC_vrm"]
    assert vrm["specVersion"] == document["materials"][0]["extensions"]["VRMC_materials_mtoon"]["specVersion"] == "1.0"
    meta = vrm["meta"]
    assert meta["name"] == "Jo" and meta["authors"] == ["unknown"] and meta["licenseUrl"] == LICENSE_URL
    for key, value in meta.items():
        rule = META[key]
        assert value in rule if isinstance(rule, tuple) else isinstance(value, rule), key
    assert (meta["avatarPermission"], meta["modification"]) == ("onlyAuthor", "prohibited")
    assert not any(value for key, value in meta.items() if key.startswith("allow"))
    bones = vrm["humanoid"]["humanBones"]
    names = {number: node["name"] for number, node in enumerate(document["nodes"])}
    assert set(bones) == {"hips", *PARENTS} and len({bone["node"] for bone in bones.values()}) == JOINT_COUNT
    parent_of = {child: k for k, node in enumerate(document["nodes"]) for child in node.get("children", [])}
    for bone, parent in PARENTS.items():
        assert parent_of[bones[bone]["node"]] == bones[parent]["node"]
    assert names[bones["leftUpperArm"]["node"]] == "l_upper_arm" and names[bones["rightToes"]["node"]] == "r_toe"
    root = parent_of[bones["hips"]["node"]]
    assert names[root] == "root" and "translation" not in document["nodes"][root]
    assert vrm["firstPerson"]["meshAnnotations"] == [{"node": JOINT_COUNT, "type": "auto"}]
    assert vrm["lookAt"]["type"] == "bone" and len(vrm["lookAt"]["offsetFromHeadBone"]) == 3


@pytest.mark.parametrize("in_t", [True, False])
@pytest.mark.parametrize(("version", "front"), [("1.0", 1), ("0.x", -1)])
def test_it_stands_in_the_t_pose_and_faces_the_right_way(tmp_path, version, front, in_t):
    path = tmp_path / "person.vrm"
    path.write_bytes(encode_vrm(bare_rig(in_t), "Jo", VrmTerms(version=version)))
    glb = Glb(path.read_bytes())
    places = joints_of(glb)
    assert places["pelvis"][[0, 2]] == pytest.approx([0, 0])
    arm = places["l_hand"] - places["l_upper_arm"]
    assert front * arm[0] > 0.35 and abs(arm[1:]).max() < 0.1 and places["l_hand"][0] * places["r_hand"][0] < 0
    assert front * (places["l_toe"] - places["l_foot"])[2] > 0.05
    vertices = GltfScene(path).mesh(finest=0).vertices
    assert vertices[:, 1].min() == pytest.approx(0, abs=1e-6) and 1.4 < vertices[:, 1].max() < 2.1
    assert np.ptp(vertices[:, 0]) > 0.85 * np.ptp(vertices[:, 1])  # a T
    skin = glb.document["skins"][0]
    inverse = glb.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    for joint, name in enumerate(CANONICAL_JOINTS):
        np.testing.assert_allclose(inverse[joint][:3, 3], -places[name], atol=1e-5)


def test_weights_and_places_are_those_of_the_rig():
    rig = in_tpose(bare_rig(True))
    glb = Glb(encode_vrm(rig, "Jo"))
    primitive = glb.document["meshes"][0]["primitives"][0]
    attributes, at = primitive["attributes"], glb.array(primitive["indices"])[:, 0]
    assert "COLOR_0" not in attributes  # readers would multiply it with the texture
    corners = rig.mesh.faces.reshape(-1)
    up = [0, -float(rig.mesh.vertices[:, 1].min()), 0]
    np.testing.assert_allclose(glb.array(attributes["POSITION"])[at], rig.mesh.vertices[corners] + up, atol=1e-5)
    joints, weights = rig.influences
    np.testing.assert_array_equal(glb.array(attributes["JOINTS_0"])[at], joints[corners])
    np.testing.assert_array_equal(glb.array(attributes["WEIGHTS_0"])[at], weights[corners])


def test_terms_are_kept_and_everything_else_stays_forbidden():
    terms = VrmTerms("Jo Doe", "licensed-persons", "https://example.org/terms")
    meta = Glb(encode_vrm(bare_rig(True), "x", terms)).document["extensions"]["VRMC_vrm"]["meta"]
    assert meta["authors"] == ["Jo Doe"] and meta["otherLicenseUrl"] == "https://example.org/terms"
    assert meta["avatarPermission"] == "onlySeparatelyLicensedPerson" and meta["modification"] == "prohibited"
    old = VrmTerms("Jo Doe", "everyone", version="0.x")
    document = Glb(encode_vrm(bare_rig(True), "x", old)).document
    meta = document["extensions"]["VRM"]["meta"]
    assert document["extensionsUsed"] == ["VRM"] and "VRMC_vrm" not in document["extensions"]
    assert (meta["title"], meta["author"], meta["allowedUserName"]) == ("x", "Jo Doe", "Everyone")
    assert meta["commercialUssageName"] == meta["sexualUssageName"] == meta["violentUssageName"] == "Disallow"
    bones = {b["bone"]: b["node"] for b in document["extensions"]["VRM"]["humanoid"]["humanBones"]}
    assert list(bones) == list(HUMAN_BONES)
    assert document["textures"][meta["texture"]]["source"] == 1


def test_pictures_are_inside_and_the_thumbnail_is_square():
    glb = Glb(encode_vrm(bare_rig(True), "Jo"))
    pictures = []
    for image in glb.document["images"]:
        view = glb.document["bufferViews"][image["bufferView"]]
        data = glb.binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        pictures.append(Image.open(io.BytesIO(data)))
        assert image["mimeType"] == "image/png" and pictures[-1].format == "PNG"
    colors, thumbnail = pictures
    assert thumbnail.size == (512, 512) and np.ptp(np.asarray(thumbnail)) > 60
    assert all(side & (side - 1) == 0 for side in colors.size)
    assert glb.document["extensions"]["VRMC_vrm"]["meta"]["thumbnailImage"] == 1


@pytest.mark.parametrize("count", [1, 3, 20, 257])
def test_texture_shows_every_triangle_its_own_colours(count):
    """At the corners, along the edges and inside; read bilinearly, and at half the size too."""
    rng = np.random.default_rng(count)
    vertices = rng.normal(size=(3 * count, 3)).astype(np.float32)
    colors = rng.uniform(0.4, 0.6, vertices.shape).astype(np.float32)  # nothing is cut off beyond the corners
    faces = rng.permutation(3 * count).reshape(-1, 3).astype(np.int32)
    cells = bake_colors(Mesh(vertices, faces, colors))
    picture, uv = cells.image, cells.corners
    high, wide = picture.shape[:2]
    assert wide in (high, 2 * high) and high & (high - 1) == 0 and uv.min() > 0 and uv.max() < 1
    bary = np.concatenate([np.eye(3), rng.dirichlet(np.ones(3), 12)])
    places = np.einsum("bk,fkc->fbc", bary, uv).reshape(-1, 2)
    expected = np.einsum("bk,fkc->fbc", bary, colors[faces]).reshape(-1, 3)
    values = picture.astype(np.float32) / 255
    half = values.reshape(high // 2, 2, wide // 2, 2, 3).mean((1, 3))
    for level in (values, half):
        seen = sample_texture(level, np.c_[places[:, 0], 1 - places[:, 1]])
        np.testing.assert_allclose(seen, expected, atol=1.5 / 255)


def test_cells_are_apart_and_followers_are_neighbours():
    count = 300
    faces = np.arange(3 * count).reshape(-1, 3).astype(np.int32)
    baked = bake_colors(Mesh(np.zeros((3 * count, 3), np.float32), faces))
    cells = (baked.corners * baked.image.shape[1::-1] / CELL_PX).astype(int)
    assert (cells == cells[:, :1]).all() and len({tuple(c) for c in cells[:, 0].tolist()}) == count
    assert np.ptp(cells[:16, 0], axis=0).max() == 3  # sixteen in a row make a square


def test_too_many_triangles_are_one_line(monkeypatch):
    monkeypatch.setattr(color_cells, "_MAX_BITS", 4)
    faces = np.zeros((17, 3), np.int32)
    with pytest.raises(SomacastError, match="at most 16 triangles, got 17"):
        bake_colors(Mesh(np.zeros((3, 3), np.float32), faces))


def test_grey_people_stay_grey():
    rig = bare_rig(True)
    picture = bake_colors(Mesh(rig.mesh.vertices, rig.mesh.faces)).image
    assert set(np.unique(picture)) <= {0, round(0.7 * 255)}
