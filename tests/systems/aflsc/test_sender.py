"""AFLSC's sender: multi-task network (eq. 1-7), adversarial semantic coder (eq. 8-13)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from somacast.body.skeleton import JOINT_COUNT
from somacast.systems.aflsc.labels.layout import DEPTH_OFFSET_M
from somacast.systems.aflsc.networks.adversarial import (
    feature_vector,
)
from somacast.systems.aflsc.networks.extract import (
    TASKS,
    DepthHead,
    JointTokens,
    KeypointHead,
    MultiTaskViT,
    PoseHead,
    rotation_from_6d,
)
from somacast.systems.aflsc.training import extract as aflsc_extract
from support.sender_cases import SMALL, batch, picture, small_net


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
    for layer in (tokens.rotations, tokens.points, tokens.rest, tokens.gather[-1]):
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
    normed = [layer_norm(x, norm.weight, norm.bias, -1) for x, norm in zip(groups, head.norms, strict=True)]
    scores = []
    for layer, x in zip(head.score, normed, strict=True):
        mean = x.mean(1)
        variance = (x - mean[:, None]).square().sum(1) / (x.shape[1] - 1)
        scores.append(torch.cat([mean, variance], 1) @ layer.weight[0] + layer.bias)
    powers = (2 * (torch.stack(scores, 1) / 2).tanh()).exp()
    weights = powers / powers.sum(1, keepdim=True)
    assert weights.min() > 0.01  # no group is ever without a share
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
    for name in (
        "joints",
        "joint_depth",
        "points",
        "pose",
        "size",
        "geodesic",
        "attributes",
        "depth",
        "depth_l1",
        "parts",
    ):
        assert best[name] == pytest.approx(0, abs=2e-4), name
    generator = torch.Generator().manual_seed(0)
    responsible = {
        "heat": ("heat", "heat_bce"),
        "joints": ("joints",),
        "joint_depth": ("joint_depth",),
        "points": ("points",),
        "depth": ("depth", "depth_l1"),
        "pose": ("pose", "size", "geodesic", "attributes"),
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
