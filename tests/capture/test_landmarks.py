"""The landmark network, the hint that the extractor takes from it, and its conversion from TensorFlow Lite."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from somacast.body.skeleton import JOINT_COUNT
from somacast.capture.landmarks import (
    INPUT_PX,
    LANDMARK_COUNT,
    MIRRORED,
    are_squeezed,
    box_of_landmarks,
    completed_landmarks,
    find_body,
    find_landmarks,
    legs_are_present,
    mirror_landmarks,
    turn_landmarks,
)
from somacast.synthetic import samples as synthetic
from somacast.synthetic import scenes as scene
from somacast.synthetic.samples import Sample, SceneConfig, SyntheticPeople
from somacast.systems.aflsc.networks.extract import POSE_HIDDEN, ExtractConfig, Hint, MultiTaskViT
from somacast.systems.aflsc.training.extract_losses import to_tensors
from somacast.training.pools import picture_landmarks
from support.landmark_cases import JOINTS, LANDMARKS, SHAPE, random_landmarks

SMALL = ExtractConfig(size_px=64, stem=8, middle=12, dim=24, heads=3)
OTHER_SIDE = np.arange(len(JOINTS)) ^ 1
AXIS = (torch.arange(16) + 0.5) / 16 - 0.5
YAWS_DEG = (0, 0, -60, 60)
FRONT = 2  # the first two face the camera


# --- what the network finds ----------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def samples() -> tuple[Sample, ...]:
    """Four people who stand or walk, two seen from the front and two turned to either side."""
    people = SyntheticPeople("train", 4, None, SceneConfig(views_per_person=1), actions=("standing", "walking"))
    out = []
    for index, yaw_deg in enumerate(YAWS_DEG):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(synthetic, "draw_view", lambda rng, _, yaw=yaw_deg: scene.draw_view(rng, "test", yaw))
            out.append(next(people.samples(index)))
    return tuple(out)


@lru_cache(maxsize=1)
def crops() -> np.ndarray:
    """Their pictures [4, 256, 256, 3]."""
    edge = (INPUT_PX, INPUT_PX)
    large = [Image.fromarray(s.image).resize(edge, Image.Resampling.BICUBIC) for s in samples()]
    return np.stack([np.asarray(x, np.float32) / 255 for x in large])


@lru_cache(maxsize=1)
def found() -> np.ndarray:
    return find_landmarks(crops())[0]


def places(sample: Sample) -> np.ndarray:
    """True joints [12, 2] in crop sides from the centre, in the order of LANDMARKS."""
    return sample.joints_px[JOINTS] / len(sample.image) - 0.5


def test_landmarks_lie_on_the_joints_and_left_is_left() -> None:
    assert found().shape == (len(YAWS_DEG), *SHAPE) and found().dtype == np.float32
    for sample, seen in zip(samples(), found(), strict=True):
        off = np.linalg.norm(seen[LANDMARKS, :2] - places(sample), axis=1)
        swapped = np.linalg.norm(seen[LANDMARKS, :2] - places(sample)[OTHER_SIDE], axis=1)
        assert np.median(off) < 0.04 and off.max() < 0.15
        assert np.median(swapped) > 2 * np.median(off)
    assert np.all((found()[..., 3:5] >= 0) & (found()[..., 3:5] <= 1))
    assert np.median(found()[:, LANDMARKS, 3]) > 0.5  # whole people in the picture are visible


def test_world_axes_are_right_up_and_towards_the_camera() -> None:
    for sample, seen in zip(samples(), found(), strict=True):
        world, truth = seen[LANDMARKS, 5:], sample.joints_m[JOINTS]
        for axis in (0, 1):
            assert np.corrcoef(world[:, axis], truth[:, axis])[0, 1] > 0.8
        assert 0.25 < seen[[11, 12], 6].mean() - seen[[23, 24], 6].mean() < 0.9  # metres from hips up to shoulders
    for seen in found()[:FRONT]:
        assert seen[11, 5] - seen[12, 5] > 0.15  # the left shoulder of who faces us is on our right
    for sample, seen in zip(samples()[FRONT:], found()[FRONT:], strict=True):
        truth = sample.joints_m[JOINTS[0], 2] - sample.joints_m[JOINTS[1], 2]
        assert abs(truth) > 0.15  # one shoulder is nearer
        assert (seen[11, 7] - seen[12, 7]) * np.sign(truth) > 0.08
        assert (seen[11, 2] - seen[12, 2]) * np.sign(truth) < 0  # that of the picture grows away from the camera


def test_batch_equals_singles_and_the_pool_keeps_them_in_16_bit() -> None:
    singles = np.concatenate([find_landmarks(x[None])[0] for x in crops()])
    np.testing.assert_allclose(found(), singles, atol=1e-3)
    assert np.abs(singles[0] - singles[1]).max() > 0.05
    kept = picture_landmarks(np.stack([s.image for s in samples()]))
    assert kept.dtype == np.float16
    np.testing.assert_allclose(kept, singles, atol=3e-3)


def test_masks_are_the_silhouettes_and_cost_the_landmarks_nothing() -> None:
    hints = find_body(crops())
    np.testing.assert_array_equal(hints.landmarks, found())
    assert hints.masks.shape == (len(YAWS_DEG), INPUT_PX, INPUT_PX) and hints.masks.dtype == np.float32
    for sample, mask in zip(samples(), hints.masks, strict=True):
        edge = (INPUT_PX, INPUT_PX)
        true = np.asarray(Image.fromarray(sample.silhouette).resize(edge, Image.Resampling.BILINEAR)) > 127
        assert ((mask > 0.5) & true).sum() / ((mask > 0.5) | true).sum() > 0.9
    assert hints.masks.min() >= 0 and hints.masks.max() <= 1


def test_somebody_lying_is_found_in_the_turned_picture() -> None:
    for quarters in (1, 2, 3):
        lying = np.rot90(crops(), -quarters, (1, 2))
        landmarks, scores = find_landmarks(lying, quarters)
        assert scores.min() > 0.5
        for sample, seen in zip(samples(), landmarks, strict=True):
            x, y = places(sample).T
            expected = {1: (-y, x), 2: (-x, -y), 3: (y, -x)}[quarters]  # turned to the right, so many times
            assert np.median(np.linalg.norm(seen[LANDMARKS, :2] - np.stack(expected, 1), axis=1)) < 0.04
        np.testing.assert_allclose(landmarks, turn_landmarks(found(), -quarters), atol=1e-5)
        mask = find_body(lying[:1], quarters).masks[0]
        np.testing.assert_allclose(np.rot90(mask, quarters), find_body(crops()[:1]).masks[0], atol=1e-3)
    np.testing.assert_array_equal(turn_landmarks(found(), 4), found())
    once = turn_landmarks(found(), 1)
    np.testing.assert_array_equal(turn_landmarks(once, -1), found())
    shoulder, hip = (once[0, k, 5:7] for k in (11, 23))
    assert shoulder[0] < hip[0] - 0.25  # up became left


def test_people_score_high_and_noise_low() -> None:
    assert find_landmarks(crops())[1].min() > 0.5
    noise = np.random.default_rng(0).uniform(0, 1, (2, INPUT_PX, INPUT_PX, 3)).astype(np.float32)
    assert find_landmarks(noise)[1].max() < 0.2


def test_the_box_of_landmarks_is_that_of_the_person() -> None:
    for sample, landmarks in zip(samples(), found(), strict=True):
        rows, columns = np.nonzero(sample.silhouette > 128)
        size = sample.silhouette.shape[0]
        low, high = np.array([columns.min(), rows.min()]) / size, np.array([columns.max() + 1, rows.max() + 1]) / size
        centre, side = box_of_landmarks(landmarks)
        assert abs(side / (high - low).max() - 1) < 0.15
        assert np.abs(centre - ((low + high) / 2 - 0.5)).max() < 0.08


def test_a_mirrored_picture_has_mirrored_landmarks() -> None:
    mirrored = find_landmarks(crops()[:FRONT, :, ::-1])[0]
    for seen, other in zip(mirror_landmarks(found()), mirrored, strict=False):
        off = np.linalg.norm(seen - other, axis=-1)[LANDMARKS]
        assert np.median(off) < 0.5 * np.median(np.linalg.norm(seen - other[MIRRORED], axis=-1)[LANDMARKS])
        assert np.median(np.abs(seen - other)[LANDMARKS, :2]) < 0.02


@pytest.mark.parametrize("shape", [(2, 3, 256, 256), (256, 256, 3), (1, 128, 128, 3), (1, 256, 256, 4)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected crops \[N, 256, 256, 3\], got") as caught:
        find_landmarks(np.zeros(shape, np.float32))
    assert str(list(shape)) in str(caught.value)


def test_mirror_swaps_sides_and_negates_what_points_right() -> None:
    given = random_landmarks(3)
    before, once = given.copy(), mirror_landmarks(given)
    np.testing.assert_array_equal(given, before)  # nothing is changed in place
    np.testing.assert_array_equal(mirror_landmarks(once), given)
    signs = np.array([-1, 1, 1, 1, 1, -1, 1, 1], np.float32)
    for a in range(11, LANDMARK_COUNT, 2):  # from the shoulders down, odd numbers are left
        np.testing.assert_array_equal(once[:, a], given[:, a + 1] * signs)
        np.testing.assert_array_equal(once[:, a + 1], given[:, a] * signs)
    np.testing.assert_array_equal(once[:, 0], given[:, 0] * signs)  # the nose has no other side
    np.testing.assert_array_equal(np.sort(MIRRORED), np.arange(LANDMARK_COUNT))
    assert [MIRRORED[k] for k in (1, 2, 3, 7, 9)] == [4, 5, 6, 8, 10]  # eyes from inside out, ears, mouth
    np.testing.assert_array_equal(mirror_landmarks(given[0]), once[0])


def test_training_mirrors_landmarks_with_the_joints() -> None:
    rng, size = np.random.default_rng(0), 32
    landmarks = random_landmarks(2)
    joints = rng.uniform(-0.5, 0.5, (2, JOINT_COUNT, 2)).astype(np.float32)
    landmarks[:, LANDMARKS, :2] = joints[:, JOINTS]
    world = rng.normal(0, 0.3, (2, JOINT_COUNT, 3)).astype(np.float32)
    landmarks[:, LANDMARKS, 7] = world[:, JOINTS, 2]
    batch = {
        "image": rng.integers(0, 256, (2, size, size, 3), np.uint8),
        "silhouette": rng.integers(0, 256, (2, size, size // 8), np.uint8),
        "depth": rng.uniform(-1, 1, (2, size, size)).astype(np.float16),
        "parts": rng.integers(0, JOINT_COUNT + 1, (2, size, size), np.uint8),
        "joints_px": joints,
        "joints_m": world,
        "rotations": np.tile(np.eye(3, dtype=np.float32), (2, JOINT_COUNT, 1, 1)),
        "curl": rng.uniform(0, 1, (2, 2)).astype(np.float32),
        "shape": rng.normal(0, 1, (2, 12)).astype(np.float32),
        "shot": np.ones((2, 4), np.float32),
        "attributes": np.zeros((2, 5), np.uint8),
        "landmarks": landmarks,
    }
    out = to_tensors({k: v.copy() for k, v in batch.items()}, np.array([False, True]), size)
    np.testing.assert_array_equal(out["landmarks"][0], landmarks[0])
    np.testing.assert_array_equal(out["landmarks"][1], mirror_landmarks(landmarks[1]))
    np.testing.assert_array_equal(out["landmarks"][:, LANDMARKS, :2], out["joints"][:, JOINTS])
    np.testing.assert_array_equal(out["landmarks"][:, LANDMARKS, 7], out["z"][:, JOINTS])


# --- the hint ------------------------------------------------------------------------------------------------------


def blob(channel: int, landmarks: Tensor) -> Tensor:
    """What the hint paints [G, G] into one of its 66 channels."""
    hint = Hint(1, 4, POSE_HIDDEN)
    with torch.no_grad():
        hint.to_map.weight[0, channel] = 1
        return hint(landmarks[None], AXIS)[0][0, 0]


def test_a_blob_sits_where_the_landmark_is() -> None:
    row, column, k = 3, 11, 16
    landmarks = torch.from_numpy(random_landmarks(1)[0])
    landmarks[k] = torch.tensor([AXIS[column], AXIS[row], 0, 0.8, 1, 0, 0, -0.25])
    seen = blob(k, landmarks)
    assert divmod(int(seen.argmax()), 16) == (row, column)
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    bell = torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * 1.2**2))
    torch.testing.assert_close(seen, 0.8 * bell)  # as high as it is visible
    torch.testing.assert_close(blob(LANDMARK_COUNT + k, landmarks), -0.4 * bell)  # twice its metres to the camera
    assert not torch.allclose(blob(k + 1, landmarks), seen)


def test_what_is_not_visible_leaves_no_blob() -> None:
    landmarks = torch.from_numpy(random_landmarks(1)[0]).abs()
    landmarks[5, 3] = 0
    assert not blob(5, landmarks).any() and not blob(LANDMARK_COUNT + 5, landmarks).any()
    assert blob(6, landmarks).max() > 0
    off = landmarks.clone()
    off[6, :2] = 3.0  # far outside the crop
    assert blob(6, off).max() < 1e-6


def fresh_net(**change: bool) -> MultiTaskViT:
    torch.manual_seed(0)
    return MultiTaskViT(replace(SMALL, **change)).eval()


def touched(net: MultiTaskViT) -> set[str]:
    """The outputs that landmarks change."""
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        without, given = net(image), net(image, torch.from_numpy(random_landmarks(2) + 0.2))
    return {k for k in without if not torch.allclose(without[k], given[k], atol=1e-6)}


def shake(layer: torch.nn.Module) -> None:
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))


def test_a_fresh_hint_says_nothing() -> None:
    # what it only hands on, and the body's token, which reads the landmarks by itself and has nothing to say yet
    assert touched(fresh_net()) == {"landmarks", "body"}


@pytest.mark.parametrize(
    ("layer", "expected"),
    [("to_map", {"heat", "pose", "depth"}), ("to_tokens", {"heat", "pose", "depth"}), ("to_pose", {"pose", "hidden"})],
)
def test_every_way_of_the_hint_changes_what_it_should(layer: str, expected: set[str]) -> None:
    net = fresh_net()
    shake(getattr(net.hint, layer))
    got = touched(net) - {"landmarks", "body"}
    assert got == expected if layer == "to_pose" else got >= expected


def test_landmarks_off_ignores_them() -> None:
    net = fresh_net(landmarks=False)
    shake(net.hint)
    assert touched(net) == set()
    with torch.inference_mode():
        out = net(torch.rand(2, 3, 64, 64), torch.ones(2, *SHAPE))
    assert not out["landmarks"].any()


def standing() -> np.ndarray:
    """Landmarks of somebody who stands, one high: ears, shoulders, hips, knees, ankles, feet."""
    out = np.zeros((33, 8), np.float32)
    out[:, 3:5] = 1
    rows = {
        (0, 11): -0.45,
        (11, 13): -0.33,
        (13, 23): -0.1,
        (23, 25): -0.04,
        (25, 27): 0.18,
        (27, 29): 0.38,
        (29, 33): 0.42,
    }
    for (first, last), y in rows.items():
        out[first:last, 1] = y
    return out


def test_legs_that_are_absent_stand() -> None:
    whole = standing()
    np.testing.assert_array_equal(completed_landmarks(whole), whole)
    assert not are_squeezed(whole) and legs_are_present(whole)
    cut = standing()
    cut[25:, 1], cut[25:, 4] = 0.0, 0.02  # the network pulls them up into the picture
    assert are_squeezed(cut) and not legs_are_present(cut)
    found = completed_landmarks(cut)
    assert np.abs(found[25:, 1] - whole[25:, 1]).max() < 0.04 and (cut[25:, 1] == 0).all()
    cut[23:25, 1], cut[23:25, 4] = -0.2, 0.02
    found = completed_landmarks(cut)
    assert np.abs(found[23:, 1] - whole[23:, 1]).max() < 0.06
    for quarters in (1, 2, 3):
        turned = completed_landmarks(turn_landmarks(cut, quarters))
        np.testing.assert_allclose(turned[:, :2], turn_landmarks(found, quarters)[:, :2], atol=1e-6)
    nobody = np.zeros((33, 8), np.float32)
    np.testing.assert_array_equal(completed_landmarks(nobody), nobody)
