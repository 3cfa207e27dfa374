"""The semantic coder of the sender: mirror images, the layout of labels, eq. 8-13, and what becomes of its outputs."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from somacast.body.skeleton import JOINT_COUNT, MIRROR, mirror_pose
from somacast.body.table import load_body
from somacast.coding.vocabulary import Label, Vocabulary
from somacast.systems.aflsc.labels.layout import CODED_GROUPS, LabelLayout, label_values
from somacast.systems.aflsc.networks.adversarial import (
    Discriminator,
    SemanticCoder,
    SemanticConfig,
    label_loss,
)
from somacast.systems.aflsc.networks.extract import (
    MultiTaskViT,
)
from somacast.systems.aflsc.sender.evidence import evidence_of
from somacast.systems.aflsc.sender.look import merge_mirrored
from somacast.systems.aflsc.training import extract as aflsc_extract
from somacast.systems.aflsc.training import semantic as aflsc_semantic
from somacast.systems.aflsc.training.extract_losses import KNOWN
from support import aflsc_cases as cases
from support.sender_cases import SMALL, batch, picture, small_net


def test_mirroring_twice_changes_nothing() -> None:
    every = np.ones(cases.PEOPLE, bool)
    plain = aflsc_extract.to_tensors(batch(), size_px=128)  # the size of the shard: nothing is resampled
    once = aflsc_extract.to_tensors(batch(), every, size_px=128)
    back = batch()
    back["image"] = (once["image"].permute(0, 2, 3, 1) * 255).round().byte().numpy()
    back["silhouette"] = np.packbits(once["mask"][:, 0].numpy() > 0.5, axis=2)
    back["depth"] = once["depth"][:, 0].half().numpy()
    back["parts"] = once["parts"].byte().numpy()
    back["joints_px"], back["rotations"], back["curl"], back["landmarks"] = (
        once[k].numpy().copy() for k in ("joints", "rotations", "curl", "landmarks")
    )
    back["joints_m"] = once["points"].numpy()
    twice = aflsc_extract.to_tensors(back, every, size_px=128)
    for name, value in plain.items():
        torch.testing.assert_close(twice[name], value, atol=1e-5, rtol=1e-5, msg=name)
        if name not in ("shape", "attributes", *KNOWN):
            assert not torch.equal(once[name], value), name


def test_mirrored_truths_agree_with_a_mirrored_body() -> None:
    """Rotations, joints in the picture and depths of a mirrored sample belong to one body seen by one camera."""
    plain, body = batch(), load_body()
    mirrored = aflsc_extract.to_tensors(batch(), np.ones(cases.PEOPLE, bool), size_px=128)
    for row in range(cases.PEOPLE):
        rotations = mirrored["rotations"][row].numpy()
        mean_body = body.joints(body.bone_mean, plain["rotations"][row])  # the mean body is its own mirror image
        again = body.joints(body.bone_mean, rotations)
        np.testing.assert_allclose(again - again[0], ((mean_body - mean_body[0]) * [-1, 1, 1])[MIRROR], atol=6e-3)
        joints = body.joints(body.rest(plain["shape"][row])[1], rotations)
        joints = joints - joints[0]
        np.testing.assert_allclose(mirrored["z"][row].numpy(), joints[:, 2], atol=0.02)
        distance, cx, cy, scale = plain["shot"][row]
        w = 1 / (distance - joints[:, 2])
        seen = np.stack([joints[:, 0] * w + cx, cy - joints[:, 1] * w], 1) * scale
        np.testing.assert_allclose(mirrored["joints"][row].numpy(), seen, atol=0.01)


def test_a_few_steps_of_the_recipe_lower_the_loss() -> None:
    torch.manual_seed(0)
    truth, recipe = aflsc_extract.to_tensors(batch(), size_px=64), aflsc_extract.ExtractRecipe()
    net = MultiTaskViT(replace(SMALL, attribute_logits=sum(aflsc_extract.ATTRIBUTE_SIZES)))
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    history = []
    for _ in range(15):
        out = net(truth["image"], truth["landmarks"])
        loss = torch.stack(list(aflsc_extract.losses(out, truth, recipe).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(loss.item())
    assert history[-1] < 0.75 * history[0]
    idle = [n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    # the first depth estimate enters by its differences alone, in which its bias cancels
    assert set(idle) <= {"first_depth.bias"}, f"no gradient reaches {idle}"


# --- eq. 8 to 13: the semantic coder -------------------------------------------------------------------------------

FEATURES = 10


def small_coder(seed: int = 0) -> tuple[SemanticCoder, LabelLayout]:
    torch.manual_seed(seed)
    layout = LabelLayout.of(cases.space().vocabulary)
    return SemanticCoder(SemanticConfig(FEATURES, hidden=32, latent=8), layout), layout


def label_vectors(layout: LabelLayout, count: int) -> Tensor:
    return torch.from_numpy(layout.vector(cases.space().vocabulary, cases.random_values(count)))


def test_layout_covers_the_coded_groups_and_comes_back() -> None:
    vocabulary = cases.space().vocabulary
    layout = LabelLayout.of(vocabulary)
    coded = {i for i, label in enumerate(vocabulary.labels) if label.group in CODED_GROUPS}
    assert coded == {*layout.scalars, *layout.angles, *(i for i, _ in layout.classes)}
    values = cases.random_values(6)
    vector = layout.vector(vocabulary, values)
    assert vector.shape == (6, layout.size)
    s, a = len(layout.scalars), 2 * len(layout.angles)
    out = {"mean": vector[:, :s], "angles": vector[:, s : s + a].reshape(6, -1, 2), "classes": vector[:, s + a :]}
    back = label_values(layout, vocabulary, out, np.zeros_like(values))
    order = sorted(coded)
    span = np.array([vocabulary.labels[i].span * vocabulary.labels[i].std for i in order])
    mean = np.array([vocabulary.labels[i].mean for i in order])
    free = np.array([vocabulary.labels[i].kind != "scalar" for i in order])
    expected = np.where(free, values[:, order], np.clip(values[:, order], mean - span, mean + span))
    np.testing.assert_allclose(back[:, order], expected, atol=1e-4)
    assert np.all(np.delete(back, order, 1) == 0)


def test_truth_enters_only_through_the_training_posterior() -> None:
    coder, layout = small_coder()
    coder.eval()
    x, y = torch.randn(4, FEATURES), label_vectors(layout, 4)
    alone, both, other = coder.encode(x), coder.encode(x, y), coder.encode(x, y.flip(0))
    assert alone[0].shape == both[0].shape == (4, 8)
    assert not torch.allclose(alone[0], both[0])
    assert not torch.allclose(both[0], other[0])
    with torch.no_grad():  # eq. 12: the product's path is the mean of q(z | X), and q(z | X, y) has no part in it
        coder.mean.copy_(torch.randn(FEATURES))
        coder.std.copy_(torch.rand(FEATURES) + 0.5)
        raw = x * coder.std + coder.mean
        expected = coder.decode(coder.encode(x)[0])
        for p in coder.from_both.parameters():
            p.zero_()
        got = coder.infer(raw)
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, atol=1e-4, rtol=1e-4)


def truth_output(layout: LabelLayout, y: Tensor, log_scale: float = -2.0) -> dict[str, Tensor]:
    s, a = len(layout.scalars), 2 * len(layout.angles)
    return {
        "mean": y[:, :s].clone(),
        "log_scale": torch.full((len(y), s), log_scale),
        "angles": y[:, s : s + a].reshape(len(y), -1, 2).clone(),
        "classes": 8 * y[:, s + a :],
    }


def test_label_loss_is_lowest_at_the_truth() -> None:
    coder, layout = small_coder()
    y = label_vectors(layout, 5)
    best = label_loss(coder, truth_output(layout, y), y).item()
    for part, strength in {"mean": 1.0, "angles": 0.7, "classes": 8.0}.items():
        last = best
        for factor in (0.5, 1.0, 3.0):
            out = truth_output(layout, y)
            noise = torch.randn(out[part].shape, generator=torch.Generator().manual_seed(1))
            out[part] = out[part] + factor * strength * noise
            value = label_loss(coder, out, y).item()
            assert np.isfinite(value) and value > last, (part, factor)
            last = value


def one_scalar(bins: int, span: float) -> tuple[LabelLayout, Vocabulary]:
    labels = (
        Label("size", "shape", "scalar", (4, bins // 4), mean=1.5, std=0.3, span=span),
        Label("yaw", "root", "circular", (8,)),
        Label("hat", "attributes", "class", (2,), classes=("none", "hat")),
    )
    vocabulary = Vocabulary(labels, 1, ("root", "shape", "attributes"))
    return LabelLayout.of(vocabulary), vocabulary


@pytest.mark.parametrize("log_scale", [-2.5, -1.0, 0.0])
def test_discretised_logistic_peaks_in_the_bin_of_its_mean(log_scale: float) -> None:
    """Eq. 13 by brute force: the likeliest bin is the one that holds the mean; all bins together fill the span."""
    bins, span = 24, 3.0
    layout, vocabulary = one_scalar(bins, span)
    coder = SemanticCoder(SemanticConfig(4, hidden=8, latent=2), layout)
    rng = np.random.default_rng(0)
    centres = torch.tensor((np.arange(bins) + 0.5) * (2 * span / bins) - span, dtype=torch.float32)
    y = F.pad(centres[:, None], (0, 4)) + torch.tensor([0.0, 1, 0, 1, 0])  # no turn, no hat
    for mean in rng.uniform(-1.6, 1.6, 12):
        out = {
            "mean": torch.full((1, 1), float(mean)),
            "log_scale": torch.full((1, 1), log_scale),
            "angles": torch.tensor([[[1.0, 0.0]]]),
            "classes": torch.tensor([[60.0, 0.0]]),
        }
        chance = np.array([np.exp(-label_loss(coder, out, row[None]).item()) for row in y])
        best = int(chance.argmax())
        assert best == int((mean + span) / (2 * span) * bins)
        tails = torch.sigmoid((torch.tensor([span, -span]) - mean) / np.exp(log_scale))
        assert chance.sum() == pytest.approx((tails[0] - tails[1]).item(), abs=2e-3)
        values = label_values(layout, vocabulary, {k: v.numpy() for k, v in out.items()}, np.zeros((1, 3)))
        coarse, fine = vocabulary.quantise(values)[0, 0]
        assert coarse * (bins // 4) + fine == best


@lru_cache(maxsize=1)
def chain() -> aflsc_semantic.Kinematics:
    return aflsc_semantic.Kinematics(cases.space(), LabelLayout.of(cases.space().vocabulary))


def test_kinematics_give_the_joints_of_the_body() -> None:
    space, body = cases.space(), load_body()
    layout = LabelLayout.of(space.vocabulary)
    values = cases.random_values(4)
    y = torch.from_numpy(layout.vector(space.vocabulary, values))
    s = len(layout.scalars)
    got = chain()(y[:, :s], y[:, s : s + 2]).numpy()
    s_a = s + 2
    out = {"mean": y[:, :s].numpy(), "angles": y[:, s:s_a].reshape(4, 1, 2).numpy(), "classes": y[:, s_a:].numpy()}
    clipped = label_values(layout, space.vocabulary, out, values)
    for row in range(4):
        state = space.state(clipped[row])
        joints = body.joints(body.rest(state.shape)[1], state.rotations)
        np.testing.assert_allclose(got[row], joints - joints[0], atol=2e-4)


def test_adversarial_losses_train_both_posteriors_and_fall() -> None:
    coder, layout = small_coder()
    judge = Discriminator(FEATURES, layout.size, hidden=16)
    y = label_vectors(layout, 24)
    s = len(layout.scalars)
    joints = chain()(y[:, :s], y[:, s : s + 2])
    x = torch.tanh(y @ torch.randn(layout.size, FEATURES) / 4)
    recipe = aflsc_semantic.SemanticRecipe()
    parts = (coder, judge, chain(), x, y, joints)
    loss, judged, info = aflsc_semantic.losses(*parts, recipe)
    assert {"features", "kl", "labels", "joints", "adversarial", "judge"} <= set(info)
    loss.backward()
    idle = [n for n, p in coder.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    # the first depth estimate enters by its differences alone, in which its bias cancels
    assert set(idle) <= {"first_depth.bias"}, f"no gradient reaches {idle}"
    judge.zero_grad()
    judged.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in judge.parameters())
    # gamma 0 is the ablation without the adversary
    assert aflsc_semantic.losses(*parts, replace(recipe, gamma=0.0))[2]["adversarial"] == 0
    optimiser = torch.optim.AdamW(coder.parameters(), lr=3e-3)
    second = torch.optim.AdamW(judge.parameters(), lr=1e-3)
    history = []
    for _ in range(40):
        loss, judged, _ = aflsc_semantic.losses(*parts, recipe)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        second.zero_grad()
        judged.backward()
        second.step()
        history.append((loss.item(), judged.item()))
    first, last = np.mean(history[:3], 0), np.mean(history[-3:], 0)
    assert last[0] < 0.8 * first[0]
    assert last[1] < first[1]


# --- the picture and its mirror image ------------------------------------------------------------------------------


def test_looking_into_a_mirror_mirrors_what_is_seen() -> None:
    """A picture and its mirror image, in either order: the merged views are mirror images of each other."""
    net, image = small_net(), picture()[:1]
    with torch.inference_mode():
        pairs = [torch.cat([image, image.flip(-1)]), torch.cat([image.flip(-1), image])]
        one, two = (merge_mirrored({k: v.numpy() for k, v in net(p).items()}, SMALL.shape_count) for p in pairs)
    expected = {
        "share": one["share"][MIRROR][..., ::-1],
        "joints": (one["joints"] * [-1, 1])[MIRROR],
        "points": (one["points"] * [-1, 1, 1])[MIRROR],
        "confidence": one["confidence"][MIRROR],
        "camera": one["camera"] * [-1, 1, 1],
        "depth": one["depth"][:, ::-1],
        "silhouette": one["silhouette"][:, ::-1],
    }
    assert set(two) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(two[name], value, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(one["share"].sum((1, 2)), 1, atol=1e-4)


def test_evidence_is_the_peak_and_not_the_middle_of_two() -> None:
    share = np.full((JOINT_COUNT, 24, 24), 1e-7)
    share[:, 5, 18], share[:, 20, 3] = 0.7, 0.3  # a peak, and a wrong one far away
    seen = {"share": share, "points": np.zeros((JOINT_COUNT, 3)), "camera": np.zeros(3)}
    evidence = evidence_of(seen)
    np.testing.assert_allclose(evidence.joints, np.tile([18.5 / 24 - 0.5, 5.5 / 24 - 0.5], (JOINT_COUNT, 1)), atol=1e-3)
    share[:, 20, 3] = 1e-7
    alone = evidence_of({**seen, "share": share / share.sum((1, 2), keepdims=True)})
    assert np.all(evidence.std > 1.1 * alone.std)  # doubt widens it


def test_mirrored_labels_are_the_labels_of_the_mirrored_person() -> None:
    space, vocabulary = cases.space(), cases.space().vocabulary
    for values in cases.random_values(3):
        other = space.mirrored(values)
        np.testing.assert_allclose(space.mirrored(other), values, atol=2e-3)
        # mirrored poses may need components that have no label: here all have one
        assert len(space.parts["pose"].numbers) == len(space.pose.std)
        np.testing.assert_allclose(space.state(other).rotations, mirror_pose(space.state(values).rotations), atol=2e-3)
        hands, camera = vocabulary.group_indices("hands"), vocabulary.group_indices("camera")
        np.testing.assert_allclose(other[hands], values[hands][::-1])
        np.testing.assert_allclose(other[camera], values[camera] * [-1, 1, 1])
