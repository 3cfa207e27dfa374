"""AFLSC's sender: multi-task network (eq. 1-7), adversarial semantic coder (eq. 8-13)."""

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
from somacast.systems.aflsc.labels.layout import CODED_GROUPS, DEPTH_OFFSET_M, LabelLayout, label_values
from somacast.systems.aflsc.networks.adversarial import (
    Discriminator,
    SemanticCoder,
    SemanticConfig,
    feature_vector,
    label_loss,
)
from somacast.systems.aflsc.networks.extract import (
    TASKS,
    DepthHead,
    ExtractConfig,
    JointTokens,
    KeypointHead,
    MultiTaskViT,
    PoseHead,
    rotation_from_6d,
)
from somacast.systems.aflsc.sender.evidence import evidence_of
from somacast.systems.aflsc.sender.look import merge_mirrored
from somacast.systems.aflsc.training import extract as aflsc_extract
from somacast.systems.aflsc.training import semantic as aflsc_semantic
from somacast.training.pools import pack_samples
from support import aflsc_cases as cases

SMALL = ExtractConfig(size_px=64, stem=8, middle=12, dim=24, heads=3)


def small_net(seed: int = 0, **change: bool) -> MultiTaskViT:
    """The network at 64 px in evaluation mode, with all that starts at zero as training would leave it."""
    torch.manual_seed(seed)
    net = MultiTaskViT(replace(SMALL, **change)).eval()
    with torch.no_grad():
        for mask in net.masks.values():
            mask.normal_()
        for name, p in net.named_parameters():
            if name.endswith(("attention.out.weight", "mlp.2.weight", "b.1.weight")):
                p.normal_(std=0.3)
    return net


def picture(seed: int = 5) -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def look(net: MultiTaskViT) -> dict[str, Tensor]:
    with torch.inference_mode():
        return net(picture())


def changed(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
    return {k for k in a if not torch.allclose(a[k], b[k], atol=1e-6)}


# --- eq. 1 and 6: increments and masks -----------------------------------------------------------------------------


def test_outputs_have_the_written_shapes() -> None:
    out = look(small_net())
    shapes = {k: tuple(v.shape) for k, v in out.items()}
    assert shapes == {
        "heat": (2, 21, 16, 16),
        "joints": (2, 21, 2),
        "peaks": (2, 21, 2),
        "context": (2, 3 * SMALL.dim),
        "joint_depth": (2, 21),
        "points": (2, 21, 3),
        "body": (2, SMALL.dim),
        "confidence": (2, 21),
        "pose": (2, SMALL.pose_outputs),
        "hidden": (2, 384),
        "depth": (2, 1, 64, 64),
        "silhouette": (2, 1, 64, 64),
        "parts": (2, 22, 16, 16),
        "landmarks": (2, 33, 8),
    }
    assert out["joints"].abs().max() <= 0.5
    assert out["depth"].min() >= 0
    assert out["confidence"].min() > 0 and out["confidence"].max() <= 1
    width = 21 * 2 + 21 + 21 + SMALL.pose_outputs + 384 + 21 * 3 + SMALL.dim + 21 * 2 + 3 * SMALL.dim + 33 * 8
    assert feature_vector(out).shape == (2, width)
    best = out["heat"].flatten(2).argmax(-1)
    expected = torch.stack([best % 16, best // 16], -1).float().add(0.5) / 16 - 0.5
    torch.testing.assert_close(out["peaks"], expected)


def test_joints_are_the_centre_of_mass_of_the_heat_maps() -> None:
    out = look(small_net())
    share = out["heat"].flatten(2).softmax(-1).view(out["heat"].shape).numpy()
    rows, columns = np.mgrid[0:16, 0:16]
    x, y = ((columns + 0.5) / 16 - 0.5), ((rows + 0.5) / 16 - 0.5)
    expected = np.stack([(share * x).sum((2, 3)), (share * y).sum((2, 3))], -1)
    np.testing.assert_allclose(out["joints"].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("switch", ["task_increments", "task_masks"])
def test_increments_and_masks_do_nothing_when_off(switch: str) -> None:
    on, off = small_net(), small_net(**{switch: False})
    off.load_state_dict(on.state_dict())
    assert {"heat", "pose", "depth"} <= changed(look(on), look(off))
    before = look(off)
    with torch.no_grad():
        for p in (off.increments if switch == "task_increments" else off.masks).values():
            p.add_(1.0 + torch.rand_like(p))
        if switch == "task_masks":
            off.depth_gain.add_(3)
    assert not changed(before, look(off))


@pytest.mark.parametrize("table", ["increments", "masks"])
@pytest.mark.parametrize("task", TASKS)
def test_a_task_has_its_own_increment_and_mask(table: str, task: str) -> None:
    net = small_net()
    before = look(net)
    with torch.no_grad():
        part = getattr(net, table)[task]
        part.add_(2 * torch.rand_like(part))
    touched = changed(before, look(net))
    if task == "keypoint":
        assert "heat" in touched and "pose" not in touched  # the depth head reads the finer maps of this branch too
    else:
        assert touched == ({"pose", "hidden", "context", "body"} if task == "pose" else {"depth", "context"})


def test_joint_tokens_read_the_maps_where_the_heat_lies() -> None:
    torch.manual_seed(0)
    tokens = JointTokens((6, 4), 12, 3, 1, 5)
    for layer in (tokens.rotations, tokens.points, tokens.rest):
        torch.nn.init.normal_(layer.weight)
    share = torch.zeros(1, JOINT_COUNT, 8, 8)
    share[:, :, 2, 5] = 1
    maps = [torch.randn(1, 6, 4, 4), torch.randn(1, 4, 8, 8)]
    facts, hint = torch.zeros(1, JOINT_COUNT, 4), torch.zeros(1, 33, 8)
    change, points, body = tokens(share, maps, facts, hint)
    assert change.shape == (1, 6 * JOINT_COUNT + 5) and points.shape == (1, JOINT_COUNT, 3) and body.shape == (1, 12)
    for level, (row, column) in enumerate([(1, 2), (2, 5)]):  # the cell under the heat, on either map
        far, near = [m.clone() for m in maps], [m.clone() for m in maps]
        far[level] += 3 * torch.rand_like(far[level])
        far[level][..., row, column] = maps[level][..., row, column]
        near[level][..., row, column] += 1
        torch.testing.assert_close(tokens(share, far, facts, hint)[1], points)
        assert (tokens(share, near, facts, hint)[1] - points).abs().max() > 1e-3


def test_depth_mask_follows_a_first_depth_estimate() -> None:
    net = small_net()
    tokens = torch.randn(2, 16, 24)
    mask = net._mask("depth", tokens)
    assert mask is not None
    first = net.first_depth(tokens)[..., 0]
    gain = F.softplus(net.depth_gain)
    for b, head, i, j in [(0, 0, 0, 5), (1, 2, 7, 7), (1, 1, 15, 3)]:
        expected = net.masks["depth"][head, i, j] - gain[head] * (first[b, i] - first[b, j]).abs()
        torch.testing.assert_close(mask[b, head, i, j], expected, atol=1e-5, rtol=1e-4)
    pose = net._mask("pose", tokens)
    assert pose is not None and torch.equal(pose[0], net.masks["pose"])


# --- eq. 2 to 5: the heads -----------------------------------------------------------------------------------------


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, axis: int) -> Tensor:
    shape = [1] * x.ndim
    shape[axis] = -1
    centred = x - x.mean(axis, keepdim=True)
    unit = centred / (centred.square().mean(axis, keepdim=True) + 1e-5).sqrt()
    return unit * weight.view(shape) + bias.view(shape)


def enlarge(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def shake(module: torch.nn.Module) -> None:
    """Random affine parameters and running statistics: nothing in a formula may be skipped unseen."""
    with torch.no_grad():
        for name, p in [*module.named_parameters(), *module.named_buffers()]:
            if p.dtype.is_floating_point:
                p.copy_(torch.rand_like(p) + 0.5 if "var" in name else 0.7 * torch.randn_like(p))


def test_keypoint_head_is_equation_2() -> None:
    torch.manual_seed(0)
    head = KeypointHead((5, 4), joints=3).eval()
    shake(head)
    groups = [torch.randn(2, 5, 3, 3), torch.randn(2, 4, 6, 6)]
    total = torch.zeros(2, 3, 6, 6)
    for (norm, one, _, three, batch_norm), x in zip(head.groups, groups, strict=True):
        y = layer_norm(x, norm.weight, norm.bias, 1)
        y = torch.einsum("oc,bchw->bohw", one.weight[:, :, 0, 0], y) + one.bias[:, None, None]
        y = F.conv2d(y.clamp_min(0), three.weight, three.bias, padding=1)
        per_map = lambda t: t[:, None, None]  # noqa: E731
        y = (y - per_map(batch_norm.running_mean)) / per_map((batch_norm.running_var + batch_norm.eps).sqrt())
        total = total + enlarge(y * per_map(batch_norm.weight) + per_map(batch_norm.bias), groups[-1])
    torch.testing.assert_close(head(groups), total, atol=1e-3, rtol=1e-3)


def test_pose_head_is_equation_3() -> None:
    torch.manual_seed(0)
    head = PoseHead(6, groups=3, tokens=4, outputs=7)
    shake(head)
    groups = [torch.randn(2, 4, 6) * scale for scale in (0.5, 1, 2)]
    scores = []
    for weigh, x in zip(head.weigh, groups, strict=True):
        mean = x.mean(1)
        variance = (x - mean[:, None]).square().sum(1) / (x.shape[1] - 1)
        scores.append(torch.cat([mean, variance], 1) @ weigh.weight[0] + weigh.bias)
    powers = torch.stack(scores, 1).exp()
    weights = powers / powers.sum(1, keepdim=True)
    normed = [layer_norm(x, norm.weight, norm.bias, -1) for x, norm in zip(groups, head.norms, strict=True)]
    mixed = weights[:, 0, None, None] * normed[0]
    mixed = mixed + weights[:, 1, None, None] * normed[1] + weights[:, 2, None, None] * normed[2]
    assert weights.std(1).min() > 1e-3  # the groups do weigh differently here
    hint = torch.randn(2, 384)
    hidden = F.gelu(head.hidden[0](F.gelu(head.squeeze(mixed)).flatten(1)) + hint)
    out, own_hidden = head(groups, hint)
    torch.testing.assert_close(own_hidden, hidden, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(out, head.out(hidden), atol=1e-1, rtol=1e-3)


def test_depth_head_is_equations_4_and_5() -> None:
    torch.manual_seed(0)
    head = DepthHead((5, 4), width=3)
    shake(head)
    groups = [torch.randn(2, 5, 2, 2), torch.randn(2, 4, 4, 4)]
    score = torch.cat([g(x.mean((2, 3))) for g, x in zip(head.context, groups, strict=True)], 1)
    beta = score.exp() / score.exp().sum(1, keepdim=True)
    total = torch.zeros(2, 3, 4, 4)
    for k, ((norm, three), x) in enumerate(zip(head.convs, groups, strict=True)):
        y = F.conv2d(layer_norm(x, norm.weight, norm.bias, 1), three.weight, three.bias, padding=1)
        total = total + enlarge(beta[:, k, None, None, None] * y, groups[-1])
    # a transposed convolution whose stride is its size: every cell paints its own 4 x 4 block
    blocks = torch.einsum("bchw,cij->bhiwj", total, head.up.weight[:, 0]).reshape(2, 1, 16, 16) + head.up.bias
    fine = (blocks + DEPTH_OFFSET_M).clamp_min(0)
    mean = (fine[..., ::2, ::2] + fine[..., 1::2, ::2] + fine[..., ::2, 1::2] + fine[..., 1::2, 1::2]) / 4
    expected = mean.repeat_interleave(2, 2).repeat_interleave(2, 3)
    got = head(groups)
    torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-3)
    assert (got == 0).any() and (got > 0).any()


def test_six_numbers_make_a_rotation() -> None:
    x = 3 * torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    r = rotation_from_6d(x)
    torch.testing.assert_close(r.mT @ r, torch.eye(3).expand(200, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(r), torch.ones(200), atol=1e-5, rtol=0)
    torch.testing.assert_close(r[:, :, 0], F.normalize(x[:, :3], dim=1))
    again = rotation_from_6d(torch.cat([r[:, :, 0], r[:, :, 1]], 1))
    torch.testing.assert_close(again, r, atol=1e-5, rtol=0)


# --- eq. 7: the losses ---------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def shard() -> dict[str, np.ndarray]:
    return pack_samples(cases.people(), 0, cases.PEOPLE)


def batch() -> dict[str, np.ndarray]:
    """A fresh copy: `to_tensors` mirrors some of its arrays where they lie."""
    return {k: v.copy() for k, v in shard().items()}


def perfect(truth: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a network that knows everything would say about a batch."""
    size, cells = truth["image"].shape[-1], truth["image"].shape[-1] // 4
    grid = torch.arange(cells, dtype=torch.float32)
    uv = (truth["joints"] + 0.5) * cells - 0.5
    square = (grid - uv[..., 0, None, None]) ** 2 + (grid[:, None] - uv[..., 1, None, None]) ** 2
    target = torch.exp(-square / (2 * 1.2**2)).clamp(1e-6, 1 - 1e-6)
    six = truth["rotations"][..., :2].mT.reshape(len(uv), -1)
    hot = [20 * F.one_hot(truth["attributes"][:, i], n).float() for i, n in enumerate(aflsc_extract.ATTRIBUTE_SIZES)]
    seen = (truth["depth"] < 8).float()
    depth = ((truth["depth"] + DEPTH_OFFSET_M) * seen).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert depth.shape[-1] == size
    return {
        "heat": target.logit(),
        "joints": truth["joints"],
        "joint_depth": truth["z"],
        "points": truth["points"],
        "pose": torch.cat([six, truth["shape"], truth["curl"], truth["camera"], *hot], 1),
        "depth": depth,
        "silhouette": truth["mask"].clamp(1e-4, 1 - 1e-4).logit(),
        "parts": 20 * F.one_hot(truth["parts"], JOINT_COUNT + 1).permute(0, 3, 1, 2).float(),
    }


def test_losses_vanish_at_the_truth_and_grow_with_every_error() -> None:
    truth, recipe = aflsc_extract.to_tensors(batch()), aflsc_extract.ExtractRecipe()
    best = {k: v.item() for k, v in aflsc_extract.losses(perfect(truth), truth, recipe).items()}
    for name in ("joints", "joint_depth", "points", "pose", "geodesic", "attributes", "depth", "depth_l1", "parts"):
        assert best[name] == pytest.approx(0, abs=2e-4), name
    generator = torch.Generator().manual_seed(0)
    responsible = {
        "heat": ("heat", "heat_bce"),
        "joints": ("joints",),
        "joint_depth": ("joint_depth",),
        "points": ("points",),
        "depth": ("depth", "depth_l1"),
        "pose": ("pose", "geodesic", "attributes"),
        "silhouette": ("silhouette",),
        "parts": ("parts",),
    }
    for output, terms in responsible.items():
        out = perfect(truth)
        strength = {"pose": 30.0, "parts": 30.0, "heat": 3.0, "silhouette": 3.0}.get(output, 0.3)
        out[output] = out[output] + strength * torch.randn(out[output].shape, generator=generator)
        got = {k: v.item() for k, v in aflsc_extract.losses(out, truth, recipe).items()}
        for name, value in got.items():
            if name in terms:
                assert value > best[name] + 1e-3, name
            else:
                assert value == pytest.approx(best[name], abs=1e-6), name
        halved = replace(recipe, **{f"lambda_{name}": getattr(recipe, f"lambda_{name}") / 2 for name in terms})
        less = aflsc_extract.losses(out, truth, halved)
        for name in terms:
            assert less[name].item() == pytest.approx(got[name] / 2, rel=1e-4)


def test_depth_outside_the_person_is_not_judged() -> None:
    truth, recipe = aflsc_extract.to_tensors(batch()), aflsc_extract.ExtractRecipe()
    out = perfect(truth)
    empty = (truth["depth"] >= 8).repeat_interleave(2, 2).repeat_interleave(2, 3)
    out["depth"] = torch.where(empty, 4.2, out["depth"])
    terms = aflsc_extract.losses(out, truth, recipe)
    assert terms["depth_l1"].item() == pytest.approx(0, abs=1e-5)
    assert terms["depth"].item() == pytest.approx(0, abs=2e-4)


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
        if name not in ("shape", "attributes"):
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
