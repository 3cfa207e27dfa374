"""Data sets of synthetic people, loaders of anybody's people, splits, and the check of asset folders."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from PIL import Image

from somacast.body.table import Body, load_body
from somacast.errors import SomacastError
from somacast.formats.meshes import load_mesh
from somacast.geometry.rasteriser import render_camera
from somacast.synthetic.datasets import loaders
from somacast.synthetic.datasets import writer as synth
from somacast.synthetic.datasets.writer import SynthConfig, synthesise
from somacast.synthetic.motion.clips import TEST_CLIPS, Clip, MotionLibrary
from somacast.synthetic.people import draw_shape
from somacast.synthetic.samples import SceneConfig, SyntheticPeople
from somacast.types import Camera, Mesh
from support.people_cases import write_clip


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
