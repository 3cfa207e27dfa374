"""Batches, losses and held-out figures of the multi-task vision transformer (eq. 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from somacast.body.clothing import ATTRIBUTES
from somacast.body.skeleton import JOINT_COUNT, MIRROR
from somacast.capture.landmarks import mirror_landmarks
from somacast.systems.aflsc.labels.layout import DEPTH_OFFSET_M
from somacast.systems.aflsc.networks.extract import CELL_PX, MultiTaskViT, rotation_from_6d
from somacast.training.optimisers import (
    half_precision,
)

SHAPE_COUNT = 12
KNOWN = ("shape_known", "attributes_known")  # columns of a pool; one that lacks them knows all
ATTRIBUTE_SIZES = tuple(len(v) for v in ATTRIBUTES.values())

if TYPE_CHECKING:
    from somacast.systems.aflsc.training.extract import ExtractRecipe


def _nearest(x: Tensor, size: int) -> Tensor:
    """[..., H, H] to [..., size, size] by nearest neighbours (labels and depth with holes must not be mixed)."""
    pick = ((torch.arange(size) + 0.5) * x.shape[-1] / size).long()
    return x[..., pick[:, None], pick[None]]


def to_tensors(batch: dict[str, np.ndarray], flip: np.ndarray | None = None, size_px: int = 96) -> dict[str, Tensor]:
    """Pool arrays to training tensors at size_px; rows of `flip` [B] bool are mirrored left to right.

    shape_known and attributes_known [B] float are the weights with which a row teaches its shape and its attributes.
    Rigged people have the shape of the body model that was fitted into them (5 mm of the skin in the median), which
    is known; what they wear is not described by our classes, and a guess would teach the guess.
    """
    image = torch.from_numpy(batch["image"]).permute(0, 3, 1, 2).float() / 255
    mask = torch.from_numpy(np.unpackbits(batch["silhouette"], axis=2)).float()[:, None]
    depth = torch.from_numpy(batch["depth"].astype(np.float32))[:, None]
    parts = torch.from_numpy(batch["parts"].astype(np.int64))
    joints = torch.from_numpy(batch["joints_px"]).float().clone()
    points = torch.from_numpy(batch["joints_m"]).float().clone()
    rotations = torch.from_numpy(batch["rotations"]).float().clone()
    curl = torch.from_numpy(batch["curl"]).float().clone()
    landmarks = torch.from_numpy(batch["landmarks"]).float().clone()
    if flip is not None and flip.any():
        f = torch.from_numpy(flip)
        order = torch.from_numpy(MIRROR)
        for t in (image, mask, depth, parts):
            t[f] = t[f].flip(-1)
        swap = torch.cat([torch.zeros(1, dtype=torch.long), order + 1])
        parts[f] = swap[parts[f]]
        joints[f] = (joints[f] * torch.tensor([-1.0, 1]))[:, order]
        points[f] = (points[f] * torch.tensor([-1.0, 1, 1]))[:, order]
        m = torch.diag(torch.tensor([-1.0, 1, 1]))
        rotations[f] = (m @ rotations[f] @ m)[:, order]
        curl[f] = curl[f].flip(-1)
        landmarks[f] = torch.from_numpy(mirror_landmarks(landmarks[f].numpy()))
    shot = torch.from_numpy(batch["shot"]).float()
    everybody = np.ones(len(image))
    image = F.interpolate(image, size=(size_px, size_px), mode="bilinear", align_corners=False)
    mask = F.interpolate(mask, size=(size_px, size_px), mode="bilinear", align_corners=False)
    depth, parts = _nearest(depth, size_px // 2), _nearest(parts, size_px // CELL_PX)
    return {
        "image": image,
        "mask": mask,
        "depth": depth,
        "parts": parts,
        "joints": joints,
        "points": points,
        "z": points[..., 2],
        "rotations": rotations,
        "shape": torch.from_numpy(batch["shape"][:, :SHAPE_COUNT]).float(),
        "curl": curl,
        "landmarks": landmarks,
        "camera": torch.cat([joints[:, 0], torch.log(shot[:, 3:4] / shot[:, 0:1])], 1),
        "attributes": torch.from_numpy(batch["attributes"].astype(np.int64)),
        **{k: torch.from_numpy(np.asarray(batch.get(k, everybody), np.float32)) for k in KNOWN},
    }


def augment(image: Tensor, generator: torch.Generator) -> Tensor:
    """Exposure, white balance, gain, noise, blur and loss of resolution."""
    b = len(image)
    rand = lambda *s: torch.rand(*s, generator=generator)  # noqa: E731
    randn = lambda *s: torch.randn(*s, generator=generator)  # noqa: E731
    image = image * (1 + 0.15 * randn(b, 1, 1, 1)) * (1 + 0.06 * randn(b, 3, 1, 1)) + 0.06 * randn(b, 1, 1, 1)
    grey = rand(b, 1, 1, 1) < 0.05
    image = torch.where(grey, image.mean(1, keepdim=True).expand_as(image), image)
    soft = rand(b) < 0.25
    if soft.any():
        small = F.avg_pool2d(image[soft], 2)
        image[soft] = F.interpolate(small, scale_factor=2.0, mode="bilinear", align_corners=False)
    image = image + rand(b, 1, 1, 1) * 0.05 * randn(*image.shape)
    return image.clamp(0, 1)


def ssim_loss(a: Tensor, b: Tensor) -> Tensor:
    """1 - SSIM of one-channel maps in [0, 1] with a 7 px box window (eq. 7, depth)."""
    pool = lambda t: F.avg_pool2d(t, 7, 1)  # noqa: E731
    ma, mb = pool(a), pool(b)
    va, vb, vab = pool(a * a) - ma * ma, pool(b * b) - mb * mb, pool(a * b) - ma * mb
    c1, c2 = 1e-4, 9e-4
    s = ((2 * ma * mb + c1) * (2 * vab + c2)) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    return 1 - s.mean()


def _half(x: Tensor) -> Tensor:
    """Average over 2x2 pixels; quicker than avg_pool2d on one-channel maps."""
    return x.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).mean((3, 5))


def known_mean(error: Tensor, known: Tensor | None) -> Tensor:
    """Mean of errors [B, ...] over the rows that are known [B], by weight; 0 if none is."""
    if known is None:
        return error.mean()
    each = error.flatten(1).mean(1) if error.ndim > 1 else error
    return (each * known).sum() / known.sum().clamp_min(1)


def losses(out: dict[str, Tensor], truth: dict[str, Tensor], recipe: ExtractRecipe) -> dict[str, Tensor]:
    """Weighted terms of eq. 7 and the named additions."""
    cells = out["heat"].shape[-1]
    grid = torch.arange(cells, dtype=torch.float32, device=out["heat"].device)
    uv = (truth["joints"] + 0.5) * cells - 0.5
    target = torch.exp(
        -((grid - uv[..., 0, None, None]) ** 2 + (grid[:, None] - uv[..., 1, None, None]) ** 2) / (2 * 1.2**2)
    )
    share = target / target.sum((2, 3), keepdim=True).clamp_min(1e-6)
    heat = out["heat"].float()
    r = recipe
    terms = {
        "heat_bce": r.lambda_heat_bce
        * (F.binary_cross_entropy_with_logits(heat, target, reduction="none") * (1 + 20 * target)).mean(),
        "heat": r.lambda_heat * -(share * heat.flatten(2).log_softmax(-1).view_as(heat)).sum((2, 3)).mean(),
        "joints": r.lambda_joints * (out["joints"] - truth["joints"]).abs().mean(),
        "joint_depth": r.lambda_joint_depth * (out["joint_depth"] - truth["z"]).abs().mean(),
        "points": r.lambda_points * (out["points"] - truth["points"]).norm(dim=-1).mean(),
    }
    pose = out["pose"].float()
    b = len(pose)
    six = pose[:, : 6 * JOINT_COUNT].view(b, JOINT_COUNT, 6)
    true_six = truth["rotations"][..., :2].transpose(-1, -2).reshape(b, JOINT_COUNT, 6)
    rest = pose[:, 6 * JOINT_COUNT :]
    n = truth["shape"].shape[1]
    turn = rotation_from_6d(six).transpose(-1, -2) @ truth["rotations"]
    cosine = (turn.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    terms["pose"] = r.lambda_pose * (
        (six - true_six).square().mean()
        + 0.05 * known_mean((rest[:, :n] - truth["shape"]).square(), truth.get("shape_known"))
        + 0.05 * (rest[:, n : n + 2] - truth["curl"]).square().mean()
        + (rest[:, n + 2 : n + 5] - truth["camera"]).square().mean()
    )
    terms["size"] = r.lambda_size * known_mean((rest[:, 0] - truth["shape"][:, 0]).abs(), truth.get("shape_known"))
    terms["geodesic"] = r.lambda_geodesic * (1 - cosine).mean()
    logits = rest[:, n + 5 :].split(ATTRIBUTE_SIZES, 1)
    worn = [F.cross_entropy(x, truth["attributes"][:, i], reduction="none") for i, x in enumerate(logits)]
    terms["attributes"] = r.lambda_attributes * known_mean(torch.stack(worn, 1), truth.get("attributes_known"))
    seen = (truth["depth"] < 8).float()
    true_depth = (truth["depth"] + DEPTH_OFFSET_M) * seen
    depth = _half(out["depth"].float())
    terms["depth"] = r.lambda_depth * ssim_loss(_half(depth * seen / 3), _half(true_depth / 3))
    terms["depth_l1"] = r.lambda_depth_l1 * ((depth - true_depth).abs() * seen).sum() / seen.sum().clamp_min(1)
    terms["silhouette"] = r.lambda_silhouette * F.binary_cross_entropy_with_logits(out["silhouette"], truth["mask"])
    terms["parts"] = r.lambda_parts * F.cross_entropy(out["parts"], truth["parts"])
    return terms


def evaluate(net: MultiTaskViT, data: dict[str, np.ndarray]) -> dict[str, float]:
    """Errors over held-out samples: joints in crop pixels, depth and z in mm, silhouette IoU, rotation in degrees."""
    net.eval()
    rows = []
    with torch.inference_mode():
        for i in range(0, len(data["image"]), 64):
            t = to_tensors({k: v[i : i + 64] for k, v in data.items()}, size_px=net.config.size_px)
            with half_precision(torch.device("cpu")):
                o = net(t["image"].contiguous(memory_format=torch.channels_last), t["landmarks"])
            o = {k: v.float() for k, v in o.items()}
            e2 = (o["joints"] - t["joints"]).norm(dim=-1) * 128  # in pixels of a 128 px crop
            six = o["pose"][:, : 6 * JOINT_COUNT].view(-1, JOINT_COUNT, 6)
            turn = rotation_from_6d(six).transpose(-1, -2) @ t["rotations"]
            angle = ((turn.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1).acos().rad2deg()
            pred = o["silhouette"] > 0
            true = t["mask"] > 0.5
            iou = (pred & true).sum((1, 2, 3)) / (pred | true).sum((1, 2, 3)).clamp_min(1)
            z = (o["joint_depth"] - t["z"]).abs().mean(1) * 1000
            place = (o["points"] - t["points"]).norm(dim=-1).mean(1) * 1000
            good = (o["parts"].argmax(1) == t["parts"]).float()[t["parts"] > 0].mean()
            means = (x.mean().item() for x in (z, place, angle))
            rows.append([e2.mean().item(), e2.median().item(), *means, angle[:, 0].median().item(),
                         iou.mean().item(), good.item()])  # fmt: skip
    net.train()
    names = ("joints_px", "joints_median_px", "z_mm", "points_mm", "angle_deg", "pelvis_median_deg", "iou",
             "parts_right")  # fmt: skip
    return dict(zip(names, np.mean(rows, 0).round(3).tolist(), strict=True))
