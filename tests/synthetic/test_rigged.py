"""Rigged people: reading, the split by person, poses, the body inside, other clothes and builds, rigged-test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from somacast.body.clothing import MATERIALS
from somacast.body.rotations import about_axis, rotvec_to_matrix
from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_PARENT, world_rotations
from somacast.body.table import TPOSE, load_body
from somacast.errors import SomacastError
from somacast.options import check_people
from somacast.synthetic.datasets import loaders
from somacast.synthetic.motion.clips import ACTIONS
from somacast.synthetic.people import draw_person
from somacast.synthetic.rigged import dyes, people, regions
from somacast.synthetic.rigged.body_fit import fit_body, resized_shape
from somacast.synthetic.rigged.proportions import draw_scale, resize
from somacast.synthetic.rigged.reader import TEST_PERSONS, check_rigged, list_figures, read_figure
from somacast.synthetic.samples import SceneConfig, SyntheticPeople
from somacast.synthetic.wardrobe.builtin import BuiltinWardrobe
from somacast.synthetic.wardrobe.garments import scale_matrix
from support import rigged_cases as cases
from support.assets import ASSETS, needs_rigged

NAMES = ("Black_M_2_Busi", "Black_M_2_Casual", "White_F_1_Busi", "Ann_F_1_Busi", "Ann_F_1_Casual", "Bob_M_2_Util")


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cases.write_assets(tmp_path_factory.mktemp("assets"), NAMES)


@pytest.fixture(scope="module")
def source(assets: Path) -> people.RiggedPeople:
    return people.RiggedPeople(assets, 64)


@pytest.fixture(scope="module")
def person(source: people.RiggedPeople, assets: Path) -> people.RiggedPerson:
    return source.person(assets / "rigged" / "Ann_F_1_Busi.npz")


def joint(name: str) -> int:
    return CANONICAL_JOINTS.index(name)


# -- reading ----------------------------------------------------------------------------------------------------------


def test_a_file_is_read_in_metres_with_its_colours(person, assets):
    figure = read_figure(assets / "rigged" / "Ann_F_1_Busi.npz", 64)
    names, _, heads = cases.bones()
    assert np.ptp(figure.vertices[:, 1]) == pytest.approx(1.83, abs=0.02) and figure.person == "Ann_F_1"
    np.testing.assert_allclose(figure.heads, heads, atol=1e-6)
    assert len(figure.vertices) < len(figure.uvs)  # corners of a box are shared by its sides
    np.testing.assert_allclose(np.linalg.norm(person.normals(figure.vertices), axis=1), 1, atol=1e-5)
    bone = figure.skin_index[figure.faces[:, 0], 0]
    skin = np.flatnonzero(figure.face_layer == 0)
    color, alpha = person.albedo(skin, np.full((len(skin), 3), 1 / 3))
    expected = np.array([cases.color_of(names[b]) for b in bone[skin]]) / 255
    np.testing.assert_allclose(color, expected, atol=0.02)
    assert (alpha == 1).all() and set(np.unique(figure.face_layer)) == {0, 1}
    assert person.identity == "Ann_F_1" and person.has_face and person.shape_known and not person.attributes_known


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joint": None, "parent": None}, "no rig"),
        ({"texture_0_webp": None, "texture_1_webp": None}, "no textures"),
        ({"vertices_step_m": None}, "no units"),
        ({"uv_i16": np.zeros((3, 2), np.int16)}, "uv_i16 has shape"),
        ({"rest_m": np.full((33, 3), np.nan, np.float32)}, "rest_m"),
        ({"vertices_step_m": np.full(3, 0.01)}, "expected metres"),
        ({"bones": np.array([f"bone{k}" for k in range(33)])}, "expected Mixamo's names"),
        ({"parent": np.full(33, 40, np.int16)}, "parent"),
        ({"texture_0_webp": np.zeros(9, np.uint8)}, "is damaged"),
    ],
)
def test_a_faulty_file_is_named_in_one_line(tmp_path, changes, message):
    path = cases.write_figure(tmp_path / "rigged" / "A_F_1_Busi.npz", **changes)
    with pytest.raises(SomacastError) as caught:
        read_figure(path, 64)
    text = str(caught.value)
    assert "A_F_1_Busi.npz" in text and message in text and "\n" not in text
    (fault,) = check_rigged(tmp_path)
    assert fault.startswith("rigged/A_F_1_Busi.npz: ") and message in fault


def test_a_folder_names_its_faults_file_by_file(tmp_path, assets):
    folder = tmp_path / "rigged"
    cases.write_figure(folder / "A_F_1_Busi.npz", joint=None)
    cases.write_figure(folder / "A_F_1_Casual.npz", texture_0_webp=None)
    cases.write_figure(folder / "A_F_1_Util.npz", vertices_low_m=None)
    cases.write_figure(folder / "B_F_1_Busi.npz")
    (folder / "C_F_1_Busi.npz").write_bytes(b"no zip")
    with pytest.raises(SomacastError) as caught:
        list_figures(tmp_path)
    for part in ("A_F_1_Busi.npz: no rig", "A_F_1_Casual.npz: no textures", "A_F_1_Util.npz: no units",
                 "C_F_1_Busi.npz: cannot be read"):  # fmt: skip
        assert part in str(caught.value)
    assert "B_F_1_Busi" not in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(SomacastError, match="found none"):
        list_figures(tmp_path / "none")
    assert list(list_figures(assets)) == ["Ann_F_1", "Black_M_2", "Bob_M_2", "White_F_1"] and not check_rigged(assets)


# -- poses ------------------------------------------------------------------------------------------------------------


def test_the_t_pose_is_the_rest_pose(person):
    vertices, joints = person.pose(TPOSE)
    np.testing.assert_allclose(vertices, person.vertices - person.anchors[0], atol=1e-5)
    np.testing.assert_allclose(joints, person.anchors - person.anchors[0], atol=1e-5)


def posed_by_hand(person: people.RiggedPerson, rotations: np.ndarray) -> np.ndarray:
    """Vertices with the Hips at their place at rest, bone by bone."""
    names, parent, heads = cases.bones()
    follows = {"Hips": "pelvis", "Spine": "spine", "Spine1": "chest", "Spine2": "chest", "Neck": "neck", "Head": "head",
               "Shoulder": "clavicle", "Arm": "upper_arm", "ForeArm": "lower_arm", "Hand": "hand", "UpLeg": "upper_leg",
               "Leg": "lower_leg", "Foot": "foot", "ToeBase": "toe"}  # fmt: skip
    turn, place = [], []
    for bone, name in enumerate(names):
        side = {"L": "l_", "R": "r_"}[name[0]] if name.startswith(("Left", "Right")) else ""
        stem = name.removeprefix("Left").removeprefix("Right")
        above = parent[bone]
        known = stem in follows
        turn.append(rotations[joint(side + follows[stem])] if known else turn[above])
        place.append(heads[bone] if above < 0 else place[above] + turn[above] @ (heads[bone] - heads[above]))
    b = person.skin_index[:, 0]
    return np.einsum("vij,vj->vi", np.stack(turn)[b], person.vertices - heads[b]) + np.stack(place)[b]


def test_poses_follow_the_canonical_rotations(person):
    local = rotvec_to_matrix(np.random.default_rng(1).normal(0, 0.6, (21, 3)))
    rotations = world_rotations(local).astype(np.float32)
    vertices, joints = person.pose(rotations)
    expected = posed_by_hand(person, rotations)
    shift = expected[0] - vertices[0]
    np.testing.assert_allclose(vertices, expected - shift, atol=1e-4)
    assert np.abs(joints[0]).max() == 0
    # joints stay near the rig's own: the body inside is not somewhere else
    heads = person.rig.transforms(person.bones, rotations, (0, 0))[1][person.rig.joint_bone] - shift
    assert np.linalg.norm(heads - joints, axis=1).max() < 0.2
    elbow, wrist = joint("l_lower_arm"), joint("l_hand")
    assert JOINT_PARENT[wrist] == elbow and 0.15 < np.linalg.norm(joints[wrist] - joints[elbow]) < 0.35


def test_hands_close_by_curl(person):
    names, _, _ = cases.bones()
    open_hand = person.pose(TPOSE)[0]
    for side, curl in (("Left", (1.0, 0.0)), ("Right", (0.0, 1.0))):
        closed = person.pose(TPOSE, curl)[0]
        tip = person.skin_index[:, 0] == names.index(f"{side}HandIndex3")
        other = person.skin_index[:, 0] == names.index(f"{'Right' if side == 'Left' else 'Left'}HandIndex3")
        assert closed[tip, 1].mean() < open_hand[tip, 1].mean() - 0.02  # palms face down
        assert np.abs(closed[tip, 0]).mean() < np.abs(open_hand[tip, 0]).mean() - 0.03
        np.testing.assert_array_equal(closed[other], open_hand[other])
    jaw = person.pose(TPOSE, (0, 0), 0.3)[0]
    np.testing.assert_array_equal(jaw, open_hand)


# -- the split and who is drawn of it ---------------------------------------------------------------------------------


def test_the_splits_share_nobody(source):
    met = {
        split: {source.draw(np.random.default_rng(k), split).identity for k in range(30)} for split in ("train", "test")
    }
    assert met == {"train": {"Ann_F_1", "Bob_M_2"}, "test": {"Black_M_2", "White_F_1"}}
    assert len(TEST_PERSONS) == 5 and {p.split("_")[1] for p in TEST_PERSONS} == {"F", "M"}


def test_test_people_come_as_they_are_and_training_people_change(source, assets):
    plain = source.person(assets / "rigged" / "White_F_1_Busi.npz")
    somebody = source.draw(np.random.default_rng(0), "test")
    same = source.person(assets / "rigged" / f"{somebody.identity}_Busi.npz")
    np.testing.assert_array_equal(somebody.vertices, same.vertices)
    np.testing.assert_array_equal(somebody.textures, same.textures)
    first, second = (source.draw(np.random.default_rng(k), "train") for k in (3, 4))
    assert np.abs(first.vertices - plain.vertices).max() > 0.01
    assert np.abs(first.textures.astype(int) - second.textures).max() > 20
    again = source.draw(np.random.default_rng(3), "train")
    np.testing.assert_array_equal(again.textures, first.textures)
    np.testing.assert_array_equal(again.shape, first.shape)
    untouched = source.person(assets / "rigged" / "Ann_F_1_Busi.npz")
    np.testing.assert_array_equal(untouched.textures, plain.textures)  # what is kept in memory is not painted over


def test_the_same_sample_whatever_came_before(assets):
    scene = SceneConfig(size_px=48, views_per_person=1, rigged_share=1.0)
    fresh = SyntheticPeople("train", 7, assets, scene)
    wanted = next(iter(fresh.samples(5)))
    other = SyntheticPeople("train", 7, assets, scene)
    for index in (2, 0, 9):
        next(iter(other.samples(index)))
    got = next(iter(other.samples(5)))
    np.testing.assert_array_equal(got.image, wanted.image)
    np.testing.assert_array_equal(got.joints_m, wanted.joints_m)
    assert wanted.silhouette.max() == 255 and wanted.jaw == 0
    seen = wanted.part > 0
    assert set(np.unique(wanted.part)) <= set(range(22)) and len(np.unique(wanted.part[seen])) > 5
    assert np.isfinite(wanted.depth_m[seen]).all() and np.abs(wanted.depth_m[seen]).max() < 1.5


def test_people_without_rigged_ones_are_drawn_as_before():
    """One choice of the source and then the person, from the generator of the number."""
    somebody, rng = SyntheticPeople("train", 5).person(3)
    before = np.random.default_rng([5, 3, 0])
    before.choice(1, p=[1.0])
    expected = draw_person(before, BuiltinWardrobe(), "train")
    np.testing.assert_array_equal(somebody.vertices, expected.vertices)
    assert rng.bit_generator.state == before.bit_generator.state and somebody.identity is None and not somebody.has_face
    with pytest.raises(SomacastError, match="--assets"):
        SyntheticPeople("train", 5, None, SceneConfig(rigged_share=0.5))


# -- builds and clothes -----------------------------------------------------------------------------------------------


def test_a_body_scaled_as_a_whole_is_a_taller_body(assets):
    figure = read_figure(assets / "rigged" / "Ann_F_1_Busi.npz", 64)
    fit = fit_body(figure)
    at = figure.rig.joint_bone
    for factor in (1.0, 1.06):
        scale = np.full((21, 3), factor)
        new = resize(figure, scale, fit.joints)
        expected = figure.heads[0] + factor * (figure.vertices - figure.heads[0])
        np.testing.assert_allclose(new.vertices, expected, atol=1e-5)
        shape = resized_shape(fit, figure.heads[at], new.heads[at], scale)
        heights = [np.ptp(load_body().rest(s)[0][:, 1]) for s in (fit.shape, shape)]
        assert heights[1] / heights[0] == pytest.approx(factor, abs=0.012)
    scales = np.stack([draw_scale(np.random.default_rng(k)) for k in range(200)])
    assert scales.min() > 0.85 and scales.max() < 1.2 and np.abs(scales[:, :, 0] - scales[:, :, 1]).max() > 0.03


def test_clothes_are_told_from_skin_and_dyed(assets):
    figure = read_figure(assets / "rigged" / "Ann_F_1_Busi.npz", 64)
    found = regions.find_regions(figure)
    names, parent, _ = cases.bones()
    wanted = {cases.RED: regions.TOP, cases.BLUE: regions.BOTTOM, cases.BLACK: regions.SHOES, cases.SKIN: regions.SKIN}
    cell = 64 // cases.CELLS
    for bone, above in enumerate(parent):
        row, column = divmod(bone, cases.CELLS)
        middle = found.region[row * cell + cell // 2, column * cell + cell // 2]
        if above >= 0:
            assert middle == wanted[cases.color_of(names[above])], names[above]
    count = len(regions.REGIONS)
    matrices = np.stack([scale_matrix(1.0)] * count)
    plain = dyes.Dye(matrices, np.zeros(count, np.int64), np.ones(count), np.ones(count), np.ones((count, 3)))
    texture = figure.textures[0]
    np.testing.assert_array_equal(dyes.dyed(texture, found, plain), texture)
    matrices = matrices.copy()
    matrices[regions.TOP] = dyes.to_color(np.array([10.0, 200.0, 30.0]), float(found.brightness[regions.TOP]))
    green = dyes.dyed(texture, found, plain._replace(matrices=matrices))
    top = found.region == regions.TOP
    np.testing.assert_allclose(np.median(green[top][:, :3], axis=0), [10, 200, 30], atol=3)
    np.testing.assert_array_equal(green[~top], texture[~top])
    for pattern in (dyes.STRIPES, dyes.RINGS, dyes.CHECKS, dyes.DOTS):
        kinds = np.zeros(count, np.int64)
        kinds[regions.TOP] = pattern
        ink = np.full((count, 3), 0.3)
        printed = dyes.dyed(texture, found, plain._replace(pattern=kinds, ink=ink, pitch_m=np.full(count, 0.02),
                                                           part=np.full(count, 0.5)))  # fmt: skip
        share = (printed[top] != texture[top]).any(1).mean()
        assert 0.05 < share < 0.95 and (printed[~top] == texture[~top]).all(), pattern
    material = {MATERIALS[m] for m in np.unique(people._materials(figure, found))}
    assert material == {"skin", "top", "bottom", "shoes", "hair"}


# -- rigged-test ------------------------------------------------------------------------------------------------------


def test_items_of_rigged_test_are_whole(assets, monkeypatch):
    monkeypatch.setattr(loaders, "PICTURE_PX", 64)
    items = list(loaders.load_items("rigged-test", people=10, assets=assets, seed=2))
    assert [i.identity for i in items[:4]] == ["Black_M_2", "White_F_1"] * 2
    assert "Black_M_2_Busi" in items[0].name and "Black_M_2_Casual" in items[2].name
    assert len({i.name for i in items}) == 10 and {i.action for i in items} == set(ACTIONS)
    for item in items:
        assert item.has_face and item.camera and item.pose and item.subject and item.height_m
        assert item.frame.image.shape == (64, 64, 3) and item.silhouette is not None and item.truth_joints is not None
        assert 1.3 < item.height_m < 2.1 and item.yaw_deg is not None and np.abs(item.truth_joints[0]).max() == 0
        mesh = item.subject.posed_mesh(item.pose)
        np.testing.assert_allclose(mesh.vertices, item.truth.vertices, atol=1e-5)
        inside = item.camera.project(item.truth.vertices)[:, :2]
        rows, columns = np.nonzero(item.silhouette > 0.5)
        np.testing.assert_allclose([inside[:, 0].min(), inside[:, 1].max()], [columns.min(), rows.max() + 1], atol=1.5)
    again = next(iter(loaders.load_items("rigged-test", people=1, assets=assets, seed=2)))
    np.testing.assert_array_equal(again.frame.image, items[0].frame.image)
    assert loaders.count_items("rigged-test", "synthetic", None) == 40


def test_rigged_test_says_what_it_lacks(tmp_path, assets):
    for folder, message in ((None, "--assets"), (tmp_path, "expected rigged people")):
        with pytest.raises(SomacastError, match=message) as caught:
            loaders.load_items("rigged-test", assets=folder)
        assert "\n" not in str(caught.value)
    with pytest.raises(SomacastError, match="--assets"):
        check_people("rigged-test", None)
    check_people("synthetic-test", None)
    lone = cases.write_assets(tmp_path / "lone", ("Ann_F_1_Busi",))
    with pytest.raises(SomacastError, match="no rigged people for test"):
        loaders.load_items("rigged-test", assets=lone)
    (lone / "poses" / "index.json").unlink()
    with pytest.raises(SomacastError, match="no poses/index.json"):
        loaders.load_items("rigged-test", assets=lone)


def test_synthetic_people_are_somebody_else_each():
    item = next(iter(loaders.load_items("synthetic-test", people=1, seed=5)))
    assert item.identity == item.name and not item.has_face


# -- the real folder --------------------------------------------------------------------------------------------------


@needs_rigged
def test_real_people_are_20_and_their_bodies_are_found():
    found = list_figures(ASSETS)
    assert len(found) == 20 and set(TEST_PERSONS) <= set(found)
    for name in ("Hispanic_M_1", "X_NHPI_F_2"):
        figure = read_figure(found[name][0], 64)
        fit = fit_body(figure)
        assert fit.residual_m < 0.008 and np.abs(fit.shape).max() < 3
        heads = figure.heads[figure.rig.joint_bone]
        assert np.linalg.norm(fit.joints - heads, axis=1).max() < 0.13
        for hand in ("l_hand", "r_hand", "l_lower_leg", "r_foot"):
            assert np.linalg.norm(fit.joints - heads, axis=1)[joint(hand)] < 0.05, hand


@needs_rigged
def test_real_people_lift_their_arms():
    source = people.RiggedPeople(ASSETS, 64)
    person = source.person(list_figures(ASSETS)["White_M_2"][0])
    rotations = TPOSE.copy()
    up = about_axis("z", np.pi / 2).astype(np.float32)
    rotations[[joint("l_upper_arm"), joint("l_lower_arm"), joint("l_hand")]] = up
    vertices, joints = person.pose(rotations)
    assert joints[joint("l_hand"), 1] > joints[joint("head"), 1] + 0.2
    arm = np.isin(person.bone_joint[person.skin_index[:, 0]], [joint("l_hand")])
    assert vertices[arm, 1].min() > joints[joint("head"), 1]
