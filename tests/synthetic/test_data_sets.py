"""Loaders of data sets, and data sets that are written: whatever is asked for comes back, or is refused in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from somacast.body.table import TPOSE, load_body
from somacast.errors import SomacastError
from somacast.formats.meshes import load_mesh, save_mesh
from somacast.geometry.rasteriser import render_camera
from somacast.synthetic.datasets import loaders
from somacast.synthetic.samples import SceneConfig, SyntheticPeople
from somacast.synthetic.wardrobe.assets import check_assets
from somacast.types import Mesh
from support.people_cases import write_clip
from support.texture_cases import body_texture, checkered_picture


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


@pytest.mark.parametrize("name", ["ours.glb", "ours.obj"])
def test_people_that_we_wrote_are_seen_with_their_texture(tmp_path, name):
    """In the picture, and in the truth that results are compared with: finer than the vertices."""
    texture = body_texture(checkered_picture(512, 32))
    save_mesh(Mesh(load_body().pose(np.zeros(12), TPOSE)[0], load_body().faces, None, texture), tmp_path / name)
    item = next(iter(loaders.load_items(str(tmp_path), "meshes", people=1)))
    assert item.truth.texture is not None and item.truth.texture.image.shape == (512, 512, 3)
    assert item.frame.camera is not None
    colored = render_camera(Mesh(item.truth.vertices, item.truth.faces, item.truth.colors), item.frame.camera)
    textured = render_camera(item.truth, item.frame.camera)
    inside = textured.mask
    shown = item.frame.image[inside].astype(np.float32).mean(1) / 255
    likeness = [np.corrcoef(shown, one.rgb[inside].mean(1))[0, 1] for one in (textured, colored)]
    assert likeness[0] > 0.8 and likeness[0] > likeness[1] + 0.1


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
