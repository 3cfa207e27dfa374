"""The emotes that ship in the package: limits, what is seen in them, and, with the archive, their conversion."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_COUNT, local_rotations, mirror_pose
from somacast.body.table import load_body
from somacast.errors import SomacastError
from somacast.synthetic.motion.clips import MotionLibrary
from somacast.synthetic.motion.emotes import EMOTE_ACTIONS, EMOTES, FPS, Emote, convert_emote, load_emotes, write_emotes
from somacast.synthetic.samples import SceneConfig, SyntheticPeople

SHA256 = "9beffc32f43a3dd702f9fedb637bee5c3eed4fc5fcf77aff9f5b830c8ad2a194"
ARCHIVE = os.environ.get("SOMACAST_EMOTES", "")  # path of dcl-wearable-preview-1.28.1.tgz


def emote(name: str) -> Emote:
    return next(e for e in load_emotes() if e.name == name)


def joints(motion: Emote) -> dict[str, np.ndarray]:
    """Places [T, 3] of the joints of the average person, pelvis at the origin."""
    _, bones = load_body().rest(np.zeros(1))
    places = np.stack([load_body().joints(bones, pose) for pose in motion.rotations])
    places = places - places[:, :1]
    return {name: places[:, k] for k, name in enumerate(CANONICAL_JOINTS)}


def test_the_table_is_the_one_that_was_made():
    assert hashlib.sha256(EMOTES.read_bytes()).hexdigest() == SHA256
    assert EMOTES.stat().st_size <= 350_000
    assert {e.name: e.action for e in load_emotes()} == EMOTE_ACTIONS
    assert sum(len(e.rotations) for e in load_emotes()) == 2197
    for motion in load_emotes():
        assert motion.rotations.shape[1:] == (JOINT_COUNT, 3, 3) and motion.rotations.dtype == np.float32
        assert motion.curl.shape == (len(motion.rotations), 2) and 0 <= motion.curl.min() <= motion.curl.max() <= 1
        unit = motion.rotations @ np.swapaxes(motion.rotations, -1, -2)
        np.testing.assert_allclose(unit, np.broadcast_to(np.eye(3), unit.shape), atol=1e-5)


def test_motions_are_smooth_and_limbs_are_not_twisted():
    for motion in load_emotes():
        local = local_rotations(motion.rotations)
        step = np.swapaxes(local[:-1], -1, -2) @ local[1:]
        angle = np.degrees(np.arccos(np.clip((np.trace(step, axis1=-2, axis2=-1) - 1) / 2, -1, 1)))
        assert angle.max() < (110 if motion.name == "jump" else 60), motion.name  # per frame; a jump starts at once
        bend = np.degrees(np.arccos(np.clip(local[..., 1, 1], -1, 1)))  # of the long axis in trunk and legs
        for joint, limit in (("spine", 60), ("chest", 60), ("neck", 60), ("head", 70)):
            assert bend[:, CANONICAL_JOINTS.index(joint)].max() < limit, (motion.name, joint)
        for side in "lr":  # knees bend backwards only, the lower leg's y axis swings to the front
            knee = local[:, CANONICAL_JOINTS.index(f"{side}_lower_leg")]
            assert np.degrees(np.arctan2(knee[:, 2, 1], knee[:, 1, 1])).min() > -12, motion.name


def test_people_stand_upright_on_their_feet():
    place = joints(emote("idle"))
    assert (place["head"][:, 1] > 0.55).all() and (place["l_foot"][:, 1] < -0.7).all()
    assert np.abs(place["l_foot"][:, 1] - place["r_foot"][:, 1]).max() < 0.04
    assert (place["l_hand"][:, 0] > 0.15).all() and (place["r_hand"][:, 0] < -0.15).all()  # left is left
    assert (place["l_toe"] - place["l_foot"])[:, 2].min() > 0.08  # toes point forward
    rotations = emote("idle").rotations
    assert np.degrees(np.arccos(rotations[:, [0, 2, 4], 1, 1])).max() < 15


@pytest.mark.parametrize("name", ["walk", "run"])
def test_walking_goes_forward(name):
    """A foot is lifted while it swings forward and stands while it goes back."""
    place = joints(emote(name))
    for side in "lr":
        foot = place[f"{side}_foot"]
        forward = np.gradient(foot[:, 2])
        height = foot[:, 1]
        assert height[forward > 0].mean() > height[forward < 0].mean() + 0.05
    apart = np.corrcoef(place["l_foot"][:, 2], place["r_foot"][:, 2])[0, 1]
    arm = np.corrcoef(place["l_foot"][:, 2], place["l_hand"][:, 2])[0, 1]
    assert apart < -0.5 and arm < -0.5  # legs take turns; an arm goes with the other leg


def test_a_wave_waves_and_a_fist_is_a_fist():
    place = joints(emote("wave"))
    up = place["r_hand"][:, 1] > place["r_lower_arm"][:, 1] + 0.1
    assert up.mean() > 0.5 and place["r_hand"][up, 1].max() > 0.6 and place["l_hand"][:, 1].max() < 0.2
    steps = np.diff(place["r_hand"][up, 0])
    assert (np.diff(np.sign(steps[np.abs(steps) > 1e-4])) != 0).sum() >= 4  # to and fro
    assert emote("wave").curl.mean() < 0.3 < 0.8 < emote("fist-pump").curl.mean()
    palms = joints(emote("clap"))
    assert np.linalg.norm(palms["l_hand"] - palms["r_hand"], axis=1).min() < 0.2


def test_only_training_draws_emotes(monkeypatch):
    assert MotionLibrary("train").emotes and not MotionLibrary("test").emotes
    library = MotionLibrary("train")
    rng = np.random.default_rng(0)
    poses = [library.draw_with_hands(rng) for _ in range(1200)]
    known = [(pose, label, curl) for pose, label, curl in poses if curl is not None]
    assert 50 < len(known) < 130
    assert {label for _, label, _ in known} == set(EMOTE_ACTIONS.values())
    assert all(pose.shape == (21, 3, 3) and pose.dtype == np.float32 for pose, _, _ in poses)
    assert all(curl.shape == (2,) and 0 <= curl.min() <= curl.max() <= 1 for _, _, curl in known)
    assert all(library.draw_with_hands(rng, "sitting")[1] == "sitting" for _ in range(50))
    before = [MotionLibrary("test").draw_with_hands(np.random.default_rng(k)) for k in range(20)]
    monkeypatch.setattr("somacast.synthetic.motion.clips.load_emotes", lambda: pytest.fail("test people need none"))
    after = [MotionLibrary("test").draw(np.random.default_rng(k)) for k in range(20)]
    for (pose, label, curl), (other, other_label) in zip(before, after, strict=True):
        np.testing.assert_array_equal(pose, other)
        assert label == other_label and curl is None


def test_hands_go_with_the_arms_they_belong_to():
    """One hand of a fist, one flat: mirrored with the pose, and given to the person in the picture."""
    library = MotionLibrary("train", emote_share=1.0)
    pose = mirror_pose(np.tile(np.eye(3), (21, 1, 1)))
    pose[CANONICAL_JOINTS.index("l_hand")] = np.diag([-1.0, 1.0, -1.0])  # a mark of the left side
    library.emotes = (Emote("mark", "standing", pose[None].astype(np.float32), np.array([[0.9, 0.1]], np.float32)),)
    rng = np.random.default_rng(0)
    sides = set()
    for _ in range(30):
        turned, _, curl = library.draw_with_hands(rng, "standing")
        left = np.trace(local_rotations(turned)[CANONICAL_JOINTS.index("l_hand")]) < 1
        assert curl is not None and (curl[0] > curl[1]) == left
        sides.add(bool(left))
    assert sides == {True, False}
    scene = SceneConfig(size_px=32, views_per_person=1)
    people = SyntheticPeople("train", 0, config=scene, actions=("standing",))
    people.motions = library
    sample = next(iter(people.samples(0)))
    assert sorted(sample.curl) == pytest.approx([0.1, 0.9], abs=0.2)
    assert sample.curl.dtype == np.float32


def test_files_that_are_none_are_refused(tmp_path):
    import tarfile

    archive, file = tmp_path / "other.tgz", tmp_path / "walk.glb"
    file.write_bytes(b"glTF")
    with tarfile.open(archive, "w:gz") as files:
        files.add(file, "package/walk.glb")
    with pytest.raises(SomacastError, match=r"expected package/emotes/clap.glb"):
        write_emotes(archive, tmp_path / "out.npz")
    with pytest.raises(SomacastError, match="cannot be read as glTF"):
        convert_emote(file)


@pytest.mark.skipif(not ARCHIVE, reason="SOMACAST_EMOTES does not name the archive of the package")
def test_the_conversion_gives_the_table(tmp_path):
    write_emotes(Path(ARCHIVE), tmp_path / "emotes.npz")
    made, kept = np.load(tmp_path / "emotes.npz"), np.load(EMOTES)
    assert made.files == kept.files
    for key in kept.files:
        if kept[key].dtype.kind == "f":
            np.testing.assert_allclose(made[key], kept[key], atol=2e-3)  # half precision
        else:
            np.testing.assert_array_equal(made[key], kept[key])
    assert int(np.diff(kept["starts"]).min()) > 0.7 * FPS
