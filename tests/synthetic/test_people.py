"""Data sets of synthetic people, loaders of anybody's people, splits, and the check of asset folders."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import trimesh
from PIL import Image

from somacast.body.table import Body, load_body
from somacast.errors import SomacastError
from somacast.formats.meshes import load_mesh, save_mesh
from somacast.geometry.rasteriser import render_camera
from somacast.synthetic.datasets import loaders
from somacast.synthetic.datasets import writer as synth
from somacast.synthetic.datasets.writer import SynthConfig, synthesise
from somacast.synthetic.motion.clips import TEST_CLIPS, Clip, MotionLibrary
from somacast.synthetic.people import draw_shape
from somacast.synthetic.samples import SceneConfig, SyntheticPeople
from somacast.synthetic.wardrobe.assets import check_assets
from somacast.types import Camera, Mesh


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> SynthConfig:
    """A finished set of two test people, stereo, 64 px."""
    out = tmp_path_factory.mktemp("synth") / "set"
    config = SynthConfig(out, 2, views=1, size_px=64, split="test", stereo=True, seed=3)
    synthesise(config)
    return config


# -- somacast data synth ----------------------------------------------------------------------------------------------


def test_same_bytes_on_any_number_of_processes(people, tmp_path):
    # People 1 and 2 meet another history in each process than in one, which must not show.
    other = replace(people, out=tmp_path / "other", processes=2)
    synthesise(other)
    assert contents(other.out) == contents(people.out)
    reseeded = replace(people, out=tmp_path / "reseeded", people=1, seed=4)
    assert synthesise(reseeded)["files"] != {k: v for k, v in contents(people.out).items() if "000000" in k}
    name = "people/000000/view_00.png"
    assert (reseeded.out / name).read_bytes() != (people.out / name).read_bytes()


def test_goes_on_where_it_stopped(people, tmp_path, monkeypatch):
    config = replace(people, out=tmp_path / "set")
    write, calls = synth._write_person, []

    def stop(source, config, number):
        calls.append(number)
        if number == 1 and len(calls) == 2:
            (synth.person_folder(config.out, 1)).mkdir(parents=True)
            (synth.person_folder(config.out, 1) / "view_00.png").write_bytes(b"half")
            raise KeyboardInterrupt
        write(source, config, number)

    monkeypatch.setattr(synth, "_write_person", stop)
    with pytest.raises(KeyboardInterrupt):
        synthesise(config)
    assert not (config.out / synth.MANIFEST_FILE).exists()
    synthesise(config)
    assert calls == [0, 1, 1]  # the whole person was kept, the half one made again
    assert contents(config.out) == contents(people.out)
    (synth.person_folder(config.out, 0) / "view_00.ply").write_bytes(b"ply")  # damage is found, too
    synthesise(config)
    assert calls[3:] == [0] and contents(config.out) == contents(people.out)


def test_a_set_grows_but_never_mixes(people, tmp_path):
    config = replace(people, out=tmp_path / "set", people=1)
    synthesise(config)
    with pytest.raises(SomacastError, match="seed"):
        synthesise(replace(config, seed=99))
    synthesise(replace(config, people=2))
    assert contents(config.out) == contents(people.out)
    with pytest.raises(SomacastError, match="more than 1 people"):
        synthesise(config)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(SomacastError, match=r"letter\.txt"):
        synthesise(replace(config, out=tmp_path / "mine"))
    for wrong in ({"split": "all"}, {"people": 0}, {"size_px": 8}, {"seed": -1}):
        with pytest.raises(SomacastError):
            synthesise(replace(config, out=tmp_path / "new", **wrong))
    assert not (tmp_path / "new").exists()


def test_manifest(people):
    manifest = json.loads((people.out / synth.MANIFEST_FILE).read_text())
    on_disk = {k: v for k, v in contents(people.out).items() if not k.endswith(".json")}
    assert manifest["files"] == {k: hashlib.sha256(v).hexdigest() for k, v in on_disk.items()}
    lines = "".join(f"{manifest['files'][k]}  {k}\n" for k in sorted(on_disk))
    assert manifest["sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    assert manifest["seed"] == 3 and manifest["split"] == "test" and len(manifest["people"]) == 2
    assert any("CC0" in text for text in manifest["licences"]) and "numpy" in manifest["versions"]
    assert str(people.out) not in json.dumps(manifest)


def test_a_sample_agrees_with_itself(people):
    """The cameras, the mesh, the maps and the joints tell of one scene."""
    folder = synth.person_folder(people.out, 0)
    with np.load(folder / "view_00.npz", allow_pickle=False) as file:
        truth = {name: file[name] for name in file.files}
    mesh = load_mesh(folder / "view_00.ply")
    rendered = []
    for n in range(2):
        camera = Camera(truth["camera_rotation"][n], truth["camera_translation_m"][n], *truth["camera_focal_px"][n],
                        *truth["camera_center_px"][n], 64, 64)  # fmt: skip
        rendered.append(render_camera(mesh, camera))
        if n == 0:
            np.testing.assert_allclose(camera.project(truth["joints_m"])[:, :2], truth["joints_px"], atol=1e-3)
    inside = truth["silhouette"] == 255
    seen, covered = rendered[0].mask, truth["silhouette"] > 0
    # A pixel that is covered wholly or not at all says the same at its centre.
    assert (inside & ~seen).sum() + (seen & ~covered).sum() <= 0.015 * seen.sum()
    both = inside & seen & np.isfinite(truth["depth_m"])
    gap = np.abs(rendered[0].depth - truth["camera_translation_m"][0][2] - truth["depth_m"])[both]
    assert np.median(gap) < 0.01
    # The right camera stands to the right, so that the person moves to the left in its picture.
    assert rendered[1].mask.nonzero()[1].mean() < rendered[0].mask.nonzero()[1].mean() - 0.2
    assert (
        set(np.unique(truth["parts"])) <= set(range(22)) and (truth["parts"] > 0).sum() == (truth["material"] > 0).sum()
    )
    with Image.open(folder / "view_00.png") as left, Image.open(folder / "view_00_right.png") as right:
        assert left.size == right.size == (64, 64) and left.tobytes() != right.tobytes()


def test_weld_changes_no_triangle():
    rng = np.random.default_rng(0)
    vertices = rng.integers(0, 3, (300, 3)).astype(np.float32) - 1
    colors = rng.integers(0, 2, (300, 3)) / 255
    mesh = Mesh(vertices, np.arange(300, dtype=np.int32).reshape(-1, 3), colors.astype(np.float32))
    small = synth.weld(mesh)
    assert len(small.vertices) == len(np.unique(np.concatenate([vertices, colors], 1), axis=0)) < 300
    np.testing.assert_array_equal(small.vertices[small.faces], mesh.vertices[mesh.faces])
    np.testing.assert_allclose(small.colors[small.faces], mesh.colors[mesh.faces], atol=1e-7)


# -- splits -----------------------------------------------------------------------------------------------------------


def test_no_test_body_in_training():
    """With unit vectors for anchors, a drawn shape names the anchors it is blended from."""
    table = np.random.default_rng(0).uniform(0, 60, (100, 8))
    body = cast(Body, SimpleNamespace(anchor_shape=np.eye(100, dtype=np.float32), anchor_phenotype=table))
    used: dict[str, set[int]] = {"train": set(), "test": set()}
    for split, anchors in used.items():
        for seed in range(200):
            anchors.update(np.flatnonzero(draw_shape(np.random.default_rng(seed), body, split)[0]).tolist())
    assert used["train"] <= set(range(90)) and len(used["train"]) > 60
    assert used["test"] == set(range(90, 100))
    assert load_body().anchor_shape.shape[0] >= 100


def write_clip(folder: Path, name: str, label: str, pose: np.ndarray) -> dict:
    from scipy.spatial.transform import Rotation

    quat = Rotation.from_matrix(pose.reshape(-1, 3, 3)).as_quat().reshape(1, 21, 4).astype(np.float16)
    np.savez(folder / f"{name}.npz", quat=quat, root=np.zeros((1, 3), np.float32))
    return {"file": f"poses/{name}.npz", "kind": "canonical", "label": label, "fps": 30, "license": "CC0-1.0"}


def test_no_test_motion_in_training(tmp_path):
    poses = tmp_path / "poses"
    poses.mkdir()
    names = ["mh_sit01", "cmu_02_03", "cmu_99_01", "somebodys_walk"]
    entries = [write_clip(poses, name, "walking", np.tile(np.eye(3), (21, 1, 1))) for name in names]
    (poses / "index.json").write_text(json.dumps(entries))
    held = {split: {c.name for c in MotionLibrary(split, tmp_path).clips} for split in ("train", "test")}
    assert held == {"train": {"cmu_99_01", "somebodys_walk"}, "test": {"mh_sit01", "cmu_02_03"}}
    for man in [c for c in TEST_CLIPS if c.startswith("quaternius_m_")]:  # twins stay together
        assert Clip(man.replace("_m_", "_f_"), "", np.zeros(0), 1).split == "test"


def test_val_people_are_none_of_train(tmp_path):
    pictures = {}
    for split in ("train", "val"):
        config = SynthConfig(tmp_path / split, 1, views=1, size_px=32, split=split, seed=1)
        synthesise(config)
        pictures[split] = contents(config.out)["people/000000/view_00.png"]
    assert pictures["train"] != pictures["val"]


# -- loaders ----------------------------------------------------------------------------------------------------------


def test_synthetic_set_comes_back(people):
    assert loaders.count_items(str(people.out), "synthetic", None) == 2
    items = list(loaders.load_items(str(people.out), "synthetic"))
    scene = SceneConfig(size_px=64, views_per_person=1, stereo=True)
    sample = next(iter(SyntheticPeople("test", 3, None, scene).samples(0)))
    first = items[0]
    assert first.action == sample.action and first.frame.image.shape == (64, 64, 3) and first.frame.mask is None
    np.testing.assert_array_equal(np.round(first.frame.image * 255), sample.image)
    np.testing.assert_allclose(first.truth_joints, sample.joints_m, atol=1e-6)
    truth = sample.truth_mesh()
    np.testing.assert_allclose(first.truth.vertices.min(0), truth.vertices.min(0), atol=1e-6)
    assert len(first.truth.faces) == len(truth.faces)
    assert len(list(loaders.load_items(str(people.out), "synthetic", people=1))) == 1
    with pytest.raises(SomacastError, match="manifest"):
        loaders.count_items(str(people.out / "people"), "synthetic", None)


def test_yaw_of_a_turned_person():
    for yaw in (-170.0, -45.0, 0.0, 90.0):
        a = np.radians(yaw)
        turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
        assert loaders.yaw_of(np.tile(turn, (21, 1, 1))) == pytest.approx(yaw)


def test_synthetic_test_takes_the_actions_in_turn():
    actions = [item.action for item in loaders.load_items("synthetic-test", people=6, seed=5)]
    assert actions == ["standing", "walking", "running", "jumping", "sitting", "standing"]
    assert loaders.count_items("synthetic-test", "synthetic", None) == loaders.DEFAULT_PEOPLE


def body_shape(height: float) -> trimesh.Trimesh:
    """A capsule of the given height, red above and blue below, wider in front so that the sides differ."""
    shape = trimesh.creation.capsule(height=1.3, radius=0.2, count=[24, 24])
    shape.apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2, [1, 0, 0]))  # z up to y up
    shape.apply_scale(height / np.ptp(shape.vertices[:, 1]))
    return shape


def write_thuman(folder: Path, number: int) -> None:
    shape = body_shape(1.7)
    low, high = shape.vertices.min(0), shape.vertices.max(0)
    uv = (shape.vertices[:, [0, 1]] - low[[0, 1]]) / (high - low)[[0, 1]]
    place = folder / f"{number:04d}"
    place.mkdir(parents=True)
    lines = ["mtllib material0.mtl", "usemtl material0"]
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in shape.vertices + [0.3, -0.4, 0.2]]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in uv]
    lines += ["f " + " ".join(f"{i}/{i}" for i in face + 1) for face in shape.faces]
    (place / f"{number:04d}.obj").write_text("\n".join(lines) + "\n")
    (place / "material0.mtl").write_text("newmtl material0\nmap_Kd material0.jpeg\n")
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:32], texture[32:] = (220, 20, 20), (20, 20, 220)
    Image.fromarray(texture).save(place / "material0.jpeg", quality=95)


def test_thuman_layout(tmp_path):
    for number in (0, 7):
        write_thuman(tmp_path, number)
    (tmp_path / "0000" / "other.obj").write_text("v 0 0 0\n")  # only NNNN/NNNN.obj counts
    items = list(loaders.load_items(str(tmp_path), "thuman2", seed=1))
    assert [item.name for item in items] == ["0000/0000", "0007/0007"]
    for item in items:
        assert item.truth_joints is None and item.yaw_deg is None and item.action == "unlabelled"
        assert item.frame.image.shape == (loaders.PICTURE_PX, loaders.PICTURE_PX, 3) and item.frame.camera is not None
        vertices, colors = item.truth.vertices, item.truth.colors
        np.testing.assert_allclose(vertices.min(0) + vertices.max(0), 0, atol=1e-5)
        top = vertices[:, 1] > 0.4
        assert colors[top][:, 0].mean() > 0.7 and colors[vertices[:, 1] < -0.4][:, 2].mean() > 0.7
        # the picture shows that mesh through that camera: upper part redder than blue, lower part bluer
        seen = render_camera(item.truth, item.frame.camera)
        pixels = item.frame.image
        y = np.mgrid[: seen.mask.shape[0], : seen.mask.shape[1]][0]
        middle = y[seen.mask].mean()
        upper, lower = seen.mask & (y < middle - 30), seen.mask & (y > middle + 30)
        assert (pixels[upper][:, 0] > pixels[upper][:, 2]).mean() > 0.95
        assert (pixels[lower][:, 2] > pixels[lower][:, 0]).mean() > 0.95
    assert not np.array_equal(items[0].frame.image, items[1].frame.image)
    again = next(iter(loaders.load_items(str(tmp_path), "thuman2", seed=1)))
    np.testing.assert_array_equal(again.frame.image, items[0].frame.image)
    with pytest.raises(SomacastError, match=r"THuman2\.0"):
        loaders.count_items(str(tmp_path / "0000"), "thuman2", None)


def test_folder_of_meshes_in_any_unit(tmp_path):
    (tmp_path / "inner").mkdir()
    for name, height in (("cm.glb", 170), ("mm.ply", 1700), ("inner/metres.obj", 1.7)):
        shape = body_shape(height)
        colors = np.full((len(shape.vertices), 3), 0.25, np.float32)
        save_mesh(Mesh(shape.vertices.astype(np.float32), shape.faces.astype(np.int32), colors), tmp_path / name)
    z_up = body_shape(1.7)
    z_up.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, [1, 0, 0]))
    z_up.export(tmp_path / "zup.ply")
    meshes = [loaders.upright_metres(load_mesh(path)) for path in loaders.mesh_files(tmp_path)]
    assert len(meshes) == 4
    for mesh in meshes:
        assert np.ptp(mesh.vertices[:, 1]) == pytest.approx(1.7, rel=1e-4)
        np.testing.assert_allclose(mesh.vertices.min(0) + mesh.vertices.max(0), 0, atol=1e-5)
        assert trimesh.Trimesh(mesh.vertices, mesh.faces).volume > 0  # no rule mirrors
    item = next(iter(loaders.load_items(str(tmp_path), "meshes", people=1)))
    assert item.name == "cm/00" and item.frame.image.std() > 0
    with pytest.raises(SomacastError, match="found none"):
        (tmp_path / "empty").mkdir()
        loaders.count_items(str(tmp_path / "empty"), "meshes", None)
    (tmp_path / "a.glb").write_bytes(b"glTF")
    with pytest.raises(SomacastError, match="cannot be read"):
        next(iter(loaders.load_items(str(tmp_path), "meshes")))


# -- check-assets -----------------------------------------------------------------------------------------------------


def garment(**changed: np.ndarray) -> dict[str, np.ndarray]:
    whole = {
        "idx": np.arange(12, dtype=np.int32).reshape(4, 3),
        "w": np.full((4, 3), 1 / 3, np.float32),
        "off": np.zeros((4, 3), np.float32),
        "scale_v": np.array([[0, 1], [2, 3], [4, 5]], np.int32),
        "scale_d": np.ones(3, np.float32),
        "uv": np.zeros((4, 2), np.float32),
        "f": np.array([[0, 1, 2], [1, 2, 3]], np.int32),
        "ft": np.array([[0, 1, 2], [1, 2, 3]], np.int32),
        "delete": np.zeros(0, np.int32),
        "z_depth": np.int64(50),
    }
    return whole | changed


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    """The least folder without a fault."""
    folder = tmp_path / "assets"
    entries = []
    for kind, name in (("clothes", "female_suit"), ("clothes", "male_suit"), ("eyes", "low-poly"), ("hair", "bob9")):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        np.savez(folder / kind / f"{name}.npz", **garment())
        Image.new("RGB", (8, 8), (90, 80, 70)).save(folder / kind / f"{name}.png")
        entries.append({"kind": kind, "name": name, "textures": [{"file": f"{name}.png"}]})
    (folder / "skins").mkdir()
    Image.new("RGB", (8, 8), (200, 160, 140)).save(folder / "skins" / "plain.jpg")
    entries.append({"kind": "skins", "name": "plain", "textures": [{"file": "plain.jpg"}]})
    (folder / "index.json").write_text(json.dumps(entries))
    poses = folder / "poses"
    poses.mkdir()
    rotations = np.tile(np.eye(3), (21, 1, 1))
    names = load_body().bone_names
    world = np.tile(np.eye(3, dtype=np.float32), (len(names), 1, 1))
    np.savez(poses / "full.npz", bones=np.array(names), world=world)
    clips = [write_clip(poses, "walk", "walking", rotations)]
    clips.append({"file": "poses/full.npz", "kind": "mh_full_rig", "label": "standing"})
    (poses / "index.json").write_text(json.dumps(clips))
    return folder


def test_sound_assets_have_no_fault(assets):
    assert check_assets(assets) == []
    sample = next(iter(SyntheticPeople("train", 0, assets, SceneConfig(size_px=32, asset_share=1)).samples(0)))
    assert sample.silhouette.any()  # what passes the check can be worn


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"idx": np.full((4, 3), 19158, np.int32)}, "idx: expected numbers from 0 to 19157"),
        ({"idx": np.zeros((4, 3))}, "idx: expected whole numbers"),
        ({"w": np.zeros((3, 3), np.float32)}, "w: expected shape"),
        ({"w": np.zeros((4, 3), np.float32)}, "add up to 1"),
        ({"off": np.full((4, 3), np.nan, np.float32)}, "off: has values that are not finite"),
        ({"scale_d": -np.ones(3, np.float32)}, "scale_d: expected distances"),
        ({"f": np.array([[0, 1, 4]] * 2, np.int32)}, "f: expected numbers from 0 to 3"),
        ({"ft": np.zeros((1, 3), np.int32)}, "ft: expected shape"),
        ({"delete": np.array([-1])}, "delete: expected numbers"),
        ({"z_depth": np.float32(1)}, "z_depth: expected whole"),
    ],
)
def test_faults_of_a_garment(assets, changed, expected):
    np.savez(assets / "clothes" / "male_suit.npz", **garment(**changed))
    faults = check_assets(assets)
    assert len(faults) == 1 and faults[0].startswith("clothes/male_suit.npz: ") and expected in faults[0]


def test_faults_of_files(assets):
    (assets / "clothes" / "male_suit.npz").write_bytes(b"PK")
    short = garment()
    del short["uv"], short["w"]
    np.savez(assets / "hair" / "bob9.npz", **short)
    (assets / "eyes" / "low-poly.npz").unlink()
    (assets / "clothes" / "female_suit.png").unlink()
    (assets / "skins" / "plain.jpg").write_bytes(b"no picture")
    faults = check_assets(assets)
    for start in (
        "clothes/male_suit.npz: cannot be read",
        "hair/bob9.npz: lacks w, uv",
        "eyes/low-poly.npz: is missing",
        "clothes/female_suit.png: is missing",
        "skins/plain.jpg: is not a picture",
    ):
        assert sum(fault.startswith(start) for fault in faults) == 1, (start, faults)
    assert len(faults) == 5


def test_faults_of_the_index(assets):
    path = assets / "index.json"
    entries = json.loads(path.read_text())
    strange = [{"kind": "wigs", "name": "x"}, {"kind": "clothes"}, {"kind": "hair", "name": "quiff"}, entries[0]]
    path.write_text(json.dumps([e for e in entries if e["name"] != "male_suit"] + strange))
    text = "\n".join(check_assets(assets))
    for part in ("wigs/x: unknown kind", "lacks name", "hair/quiff: expected a name that starts with", "listed twice",
                 "starts with male"):  # fmt: skip
        assert part in text
    path.write_text("{")
    assert check_assets(assets)[0].startswith("index.json: cannot be read")
    path.unlink()
    assert check_assets(assets) == ["index.json: is missing"]


def test_faults_of_poses(assets):
    poses = assets / "poses"
    np.savez(poses / "long.npz", quat=np.full((2, 21, 4), 0.7, np.float16))
    np.savez(poses / "few.npz", quat=np.zeros((2, 20, 4), np.float16))
    names = load_body().bone_names
    world = np.tile(np.eye(3, dtype=np.float32), (len(names), 1, 1))
    np.savez(poses / "odd.npz", bones=np.array([*names[:-1], "tail"]), world=world)
    np.savez(poses / "flat.npz", bones=np.array(names), world=world * [1, 1, 0])
    kinds = [
        ("long", "canonical"),
        ("few", "canonical"),
        ("odd", "mh_full_rig"),
        ("flat", "mh_full_rig"),
        ("new", "bvh"),
    ]
    index = [{"file": f"poses/{name}.npz", "kind": kind, "label": "walking"} for name, kind in kinds]
    (poses / "index.json").write_text(json.dumps(index))
    faults = check_assets(assets)
    expected = ("poses/long.npz: quat: expected unit", "poses/few.npz: quat: expected shape", "poses/odd.npz: bones",
                "poses/flat.npz: world: expected rotations", "poses/new.npz: unknown kind")  # fmt: skip
    assert len(faults) == 5 and all(f.startswith(e) for f, e in zip(faults, expected, strict=True)), faults
    assert "tail" in faults[2]


@pytest.mark.skipif("SOMACAST_ASSETS" not in os.environ, reason="SOMACAST_ASSETS names no asset folder")
def test_a_real_folder_has_no_fault():
    assert check_assets(Path(os.environ["SOMACAST_ASSETS"])) == []
