"""Stage 4 of the AFLSC recipe: the adversarial semantic coder on features of fresh pictures (eq. 8-11)."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from somacast.body.skeleton import JOINT_COUNT, JOINT_PARENT
from somacast.body.table import TPOSE, load_body
from somacast.metrics.shape import mpjpe, pa_mpjpe
from somacast.systems.aflsc.labels.layout import LabelLayout
from somacast.systems.aflsc.labels.schema import SHAPE_LABELS
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.networks.adversarial import (
    Discriminator,
    SemanticCoder,
    SemanticConfig,
    feature_vector,
    label_loss,
)
from somacast.systems.aflsc.networks.extract import MultiTaskViT
from somacast.systems.aflsc.training.extract_losses import KNOWN, known_mean, to_tensors
from somacast.training.optimisers import half_precision, pick_device


@dataclass(frozen=True)
class SemanticRecipe:
    """steps: stop after so many instead of by the clock (0: by the clock); beta, gamma: eq. 11; lambda_*: named
    additions (label likelihood of eq. 9, joints by forward kinematics)."""

    minutes: float = 8
    batch: int = 256
    rate: float = 1e-3
    threads: int = 1
    seed: int = 0
    beta: float = 2e-4
    gamma: float = 0.02
    lambda_features: float = 0.3
    lambda_labels: float = 0.2
    lambda_joints: float = 6.0
    noise: float = 0.1  # spread added to the standardised features
    steps: int = 0
    warm_start: str = ""  # semantic.pt of an earlier run on the same extractor, to go on from


def extract_features(
    net: MultiTaskViT, data: dict[str, np.ndarray], flip: bool
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """X [N, X] float16 of all samples, and the truths (mirrored where flip) as arrays."""
    net.eval()
    features, truths = [], []
    with torch.inference_mode():
        for i in range(0, len(data["image"]), 64):
            part = {k: v[i : i + 64] for k, v in data.items()}
            t = to_tensors(part, np.full(len(part["image"]), flip), net.config.size_px)
            with half_precision(torch.device("cpu")):
                out = net(t["image"].contiguous(memory_format=torch.channels_last), t["landmarks"])
            out = {k: v.float() for k, v in out.items()}
            features.append(feature_vector(out).numpy().astype(np.float16))
            names = ("rotations", "shape", "curl", "attributes", "joints", "z", "camera", *KNOWN)
            truths.append({k: t[k].numpy() for k in names})
    return np.concatenate(features), {k: np.concatenate([t[k] for t in truths]) for k in truths[0]}


def label_truth(space: LabelSpace, truth: dict[str, np.ndarray]) -> np.ndarray:
    """Label values [N, L] of the truths; labels that pictures do not teach here stay at their means."""
    n = len(truth["rotations"])
    return space.values(
        {
            "rotations": truth["rotations"],
            "shape": truth["shape"],
            "attributes": truth["attributes"],
            "codes": np.zeros((n, len(space.appearance.std))),
            "curl": truth["curl"],
            "pelvis": np.zeros((n, 3)),
        }
    )


def known_labels(space: LabelSpace, layout: LabelLayout, truth: dict[str, np.ndarray]) -> np.ndarray:
    """Which numbers of the label vectors of the truths are known, [N, layout.size] float32 in [0, 1].

    Shape and attributes by the columns of the pool, anything else always. An unknown number teaches nothing: neither
    the labels' likelihood nor the discriminator sees it, the coder gets 0, the mean, in its place, and joints, which
    follow from the shape, are left out with it.
    """
    n = len(truth["rotations"])
    weight = {
        group: np.asarray(truth.get(f"{group}_known", np.ones(n)), np.float32) for group in ("shape", "attributes")
    }
    labels = space.vocabulary.labels
    each = [(i, 1) for i in layout.scalars] + [(i, 2) for i in layout.angles] + list(layout.classes)
    everybody = np.ones(n, np.float32)
    return np.stack([weight.get(labels[i].group, everybody) for i, count in each for _ in range(count)], 1)


class Kinematics(nn.Module):
    """Label vector to joints [B, 21, 3] relative to the pelvis, differentiable: components -> turns -> chain."""

    rest: Tensor
    basis: Tensor
    mean: Tensor
    std: Tensor
    pose_mean: Tensor
    pose_basis: Tensor

    def __init__(self, space: LabelSpace, layout: LabelLayout):
        super().__init__()
        body = load_body()
        rest = body.joints(body.bone_mean, TPOSE)
        moved = [body.joints(body.bone_mean + body.bone_basis[k], TPOSE) - rest for k in range(SHAPE_LABELS)]
        self.register_buffer("rest", torch.from_numpy(rest).float())
        self.register_buffer("basis", torch.from_numpy(np.stack(moved)).float())
        labels = [space.vocabulary.labels[i] for i in layout.scalars]
        self.pose = [k for k, label in enumerate(labels) if label.group == "pose"]
        self.shape = [k for k, label in enumerate(labels) if label.group == "shape"]
        self.tilt = [k for k, label in enumerate(labels) if label.group == "root"]
        self.register_buffer("mean", torch.tensor([label.mean for label in labels]))
        self.register_buffer("std", torch.tensor([label.std for label in labels]))
        self.register_buffer("pose_mean", torch.from_numpy(space.pose.mean).float())
        self.register_buffer("pose_basis", torch.from_numpy(space.pose.basis[space.parts["pose"].numbers]).float())

    def forward(self, scalars: Tensor, angle: Tensor) -> Tensor:
        """Standardised scalars [B, S] and (cos, sin) of the yaw [B, 2] to joints [B, 21, 3]."""
        plain = scalars * self.std + self.mean
        rotvecs = (self.pose_mean + plain[:, self.pose] @ self.pose_basis).view(-1, JOINT_COUNT - 1, 3)
        local = rotation_from_vector(rotvecs)
        tilt = plain[:, self.tilt]
        swing = rotation_from_vector(torch.stack([tilt[:, 0], torch.zeros_like(tilt[:, 0]), tilt[:, 1]], 1))
        c, s = F.normalize(angle, dim=1).unbind(1)
        zero, one = torch.zeros_like(c), torch.ones_like(c)
        yaw = torch.stack([c, zero, s, zero, one, zero, -s, zero, c], 1).view(-1, 3, 3)
        world = [yaw @ swing]
        place = self.rest + torch.einsum("bk,kjc->bjc", plain[:, self.shape], self.basis)
        joints = [torch.zeros_like(place[:, 0])]
        for j in range(1, JOINT_COUNT):
            p = int(JOINT_PARENT[j])
            joints.append(joints[p] + (world[p] @ (place[:, j] - place[:, p])[..., None])[..., 0])
            world.append(world[p] @ local[:, j - 1])
        return torch.stack(joints, 1)


def rotation_from_vector(v: Tensor) -> Tensor:
    """Rotation vectors [..., 3] to matrices [..., 3, 3] (Rodrigues)."""
    angle = v.square().sum(-1, keepdim=True).add(1e-12).sqrt()
    x, y, z = (v / angle).unbind(-1)
    zero = torch.zeros_like(x)
    k = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    a = angle[..., None]
    return torch.eye(3, device=v.device) + torch.sin(a) * k + (1 - torch.cos(a)) * (k @ k)


def losses(
    coder: SemanticCoder,
    judge: Discriminator,
    chain: Kinematics,
    x: Tensor,
    y: Tensor,
    joints: Tensor,
    r: SemanticRecipe,
    known: Tensor | None = None,
) -> tuple[Tensor, Tensor, dict[str, float]]:
    """Eq. 11 in its non-saturating form: (coder's loss, discriminator's loss, terms). known [B, size]: see
    `known_labels`; all if not given."""
    known = torch.ones_like(y) if known is None else known
    y = y * known
    whole = known[:, chain.shape].amin(1) if chain.shape else known.new_ones(len(known))
    noisy = x + r.noise * torch.randn_like(x)
    seen = (
        torch.rand(len(x), device=x.device) < 0.5
    )  # half learn q(z | X, y), half q(z | X), so that eq. 12 has been trained for
    mean_xy, log_xy = coder.encode(noisy, y)
    mean_x, log_x = coder.encode(noisy)
    mean = torch.where(seen[:, None], mean_xy, mean_x)
    log_sigma = torch.where(seen[:, None], log_xy, log_x)
    z = mean + log_sigma.exp() * torch.randn_like(mean)
    out = coder.decode(z)
    plain = coder.decode(mean_x)  # the product's path, eq. 12
    kl = 0.5 * (mean.square() + (2 * log_sigma).exp() - 1 - 2 * log_sigma).sum(1).mean()
    terms = {
        "features": r.lambda_features * (out["features"] - x).square().mean(),
        "kl": r.beta * kl,
        "labels": r.lambda_labels * (0.5 * label_loss(coder, out, y, known) + label_loss(coder, plain, y, known)),
        "joints": r.lambda_joints
        * known_mean((chain(plain["mean"], plain["angles"][:, 0]) - joints).norm(dim=-1), whole),
    }
    fake = coder.label_vector(out) * known
    terms["adversarial"] = r.gamma * F.softplus(-judge(out["features"], fake)).mean()
    real_logit, fake_logit = judge(x, y), judge(out["features"].detach(), fake.detach())
    judged = F.softplus(-real_logit).mean() + F.softplus(fake_logit).mean()
    info = {k: v.item() for k, v in terms.items()} | {"judge": judged.item()}
    return torch.stack(list(terms.values())).sum(), judged, info


def evaluate(coder: SemanticCoder, chain: Kinematics, x: Tensor, joints: Tensor) -> dict[str, float]:
    """MPJPE and PA-MPJPE in mm of the product's path."""
    coder.eval()
    with torch.inference_mode():
        out = coder.infer(x)
        got = chain(out["mean"], out["angles"][:, 0]).cpu().numpy()
    coder.train()
    true = joints.cpu().numpy()
    return {
        "mpjpe_mm": round(1000 * float(np.mean(mpjpe(true, got))), 1),
        "pa_mm": round(1000 * float(np.mean(pa_mpjpe(true, got))), 1),
    }


def train(
    recipe: SemanticRecipe, space: LabelSpace, sets: dict[str, tuple[np.ndarray, dict]], out: Path
) -> SemanticCoder:
    """Train on sets["train"], watch sets["held_out"]; each is (features, truths) of `extract_features`."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    layout = LabelLayout.of(space.vocabulary)
    features, truth = sets["train"]
    device = pick_device()
    x = torch.from_numpy(features).float().to(device)
    y = torch.from_numpy(layout.vector(space.vocabulary, label_truth(space, truth))).to(device)
    known = torch.from_numpy(known_labels(space, layout, truth)).to(device)
    coder = SemanticCoder(SemanticConfig(x.shape[1]), layout).to(device)
    coder.mean.copy_(x.mean(0))
    coder.std.copy_(x.std(0) + 1e-4)
    if recipe.warm_start:
        coder.load_state_dict(torch.load(recipe.warm_start, weights_only=True))
    judge = Discriminator(x.shape[1], layout.size).to(device)
    chain = Kinematics(space, layout).to(device)
    s = len(layout.scalars)
    joints = torch.cat([chain(part[:, :s], part[:, s : s + 2]) for part in y.split(4096)])
    held_x = torch.from_numpy(sets["held_out"][0]).float().to(device)
    held_y = torch.from_numpy(layout.vector(space.vocabulary, label_truth(space, sets["held_out"][1]))).to(device)
    held_joints = chain(held_y[:, :s], held_y[:, s : s + 2])
    first = torch.optim.AdamW(coder.parameters(), lr=recipe.rate, weight_decay=0.02)
    second = torch.optim.AdamW(judge.parameters(), lr=recipe.rate * 0.3, betas=(0.5, 0.9))
    start, last, step, best = time.time(), 0.0, 0, 1e9
    state = coder.state_dict()
    (out / "semantic.json").write_text(json.dumps(asdict(recipe), indent=1))
    while True:
        elapsed = time.time() - start
        progress = step / recipe.steps if recipe.steps else elapsed / (recipe.minutes * 60)
        if progress >= 1:
            break
        for group in first.param_groups:
            slow = 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * progress))
            group["lr"] = recipe.rate * min(1, step / 100 + 0.01) * slow
        pick = torch.randint(0, len(x), (recipe.batch,), device=device)
        batch = coder.standard(x[pick]), y[pick], joints[pick]
        loss, judged, info = losses(coder, judge, chain, *batch, recipe, known[pick])
        first.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(coder.parameters(), 1.0)
        first.step()
        second.zero_grad()
        judged.backward()
        second.step()
        step += 1
        due = step % max(1, recipe.steps // 20) == 0 if recipe.steps else elapsed - last > 30
        if due:
            last = elapsed
            score = evaluate(coder, chain, held_x, held_joints)
            row = {"min": round(elapsed / 60, 2), "step": step} | score | {k: round(v, 4) for k, v in info.items()}
            with (out / "semantic.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            if score["mpjpe_mm"] < best:
                best, state = score["mpjpe_mm"], {k: v.clone() for k, v in coder.state_dict().items()}
    score = evaluate(coder, chain, held_x, held_joints)
    with (out / "semantic.jsonl").open("a") as file:
        file.write(json.dumps({"min": round((time.time() - start) / 60, 2), "step": step} | score) + "\n")
    if score["mpjpe_mm"] > best:
        coder.load_state_dict(state)
    coder = coder.cpu().eval()
    torch.save(coder.state_dict(), out / "semantic.pt")
    return coder
