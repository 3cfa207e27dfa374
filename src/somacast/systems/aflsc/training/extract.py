"""Stage 1 of the AFLSC recipe: the multi-task vision transformer on pictures of synthetic people (eq. 7)."""

from __future__ import annotations

import io
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from somacast.body.clothing import ATTRIBUTES
from somacast.body.skeleton import JOINT_COUNT, MIRROR
from somacast.capture.landmarks import mirror_landmarks
from somacast.systems.aflsc.labels.layout import DEPTH_OFFSET_M
from somacast.systems.aflsc.networks.extract import CELL_PX, ExtractConfig, MultiTaskViT, resized, rotation_from_6d
from somacast.systems.aflsc.networks.loading import current_names, load_states
from somacast.training.optimisers import (
    MovingAverage,
    average_gradients,
    build_optimisers,
    half_precision,
    join_processes,
    pick_device,
)
from somacast.training.pools import Pool

SHAPE_COUNT = 12
ATTRIBUTE_SIZES = tuple(len(v) for v in ATTRIBUTES.values())


@dataclass(frozen=True)
class ExtractRecipe:
    """minutes: wall clock, the schedule is stretched over it; steps: stop after so many instead, as if they took those
    minutes (0: by the clock); increments, masks: of eq. 1 and 6, landmarks: the hint, off for ablations; lambda_*:
    eq. 7 and the terms training needs besides."""

    minutes: float = 60
    batch: int = 32  # of each process
    rate: float = 1.5e-3  # of AdamW
    matrix_rate: float = 0.02  # of Muon
    sizes: tuple[tuple[float, int], ...] = ((0.0, 96), (0.5, 128))  # (from this share of the time on, picture side)
    degraded: float = 0.15  # share of pictures spoilt as codecs and crowds do
    unhinted: float = 0.05  # share of pictures whose landmarks are kept from the network
    threads: int = 1
    seed: int = 0
    log_every_s: float = 180
    warm_start: str = ""  # checkpoint or weights file whose matching tensors are taken over
    steps: int = 0
    increments: bool = True
    masks: bool = True
    landmarks: bool = True
    lambda_heat_bce: float = 1.0  # eq. 7: cross entropy on the sigmoid heat maps
    lambda_heat: float = 0.3  # named addition: soft-max cross entropy and coordinates localise faster
    lambda_joints: float = 10.0
    lambda_joint_depth: float = 3.0
    lambda_points: float = 4.0  # named addition: joints in metres
    lambda_pose: float = 4.0  # eq. 7: MSE on pose parameters
    lambda_geodesic: float = 1.0  # named addition: 1 - cos of the rotation error
    lambda_depth: float = 1.0  # eq. 7: 1 - SSIM
    lambda_depth_l1: float = 1.0  # named addition: masked L1
    lambda_silhouette: float = 0.7
    lambda_parts: float = 0.3
    lambda_attributes: float = 0.3


def _nearest(x: Tensor, size: int) -> Tensor:
    """[..., H, H] to [..., size, size] by nearest neighbours (labels and depth with holes must not be mixed)."""
    pick = ((torch.arange(size) + 0.5) * x.shape[-1] / size).long()
    return x[..., pick[:, None], pick[None]]


def to_tensors(batch: dict[str, np.ndarray], flip: np.ndarray | None = None, size_px: int = 96) -> dict[str, Tensor]:
    """Pool arrays to training tensors at size_px; rows of `flip` [B] bool are mirrored left to right."""
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
        + 0.05 * (rest[:, :n] - truth["shape"]).square().mean()
        + 0.05 * (rest[:, n : n + 2] - truth["curl"]).square().mean()
        + (rest[:, n + 2 : n + 5] - truth["camera"]).square().mean()
    )
    terms["geodesic"] = r.lambda_geodesic * (1 - cosine).mean()
    logits = rest[:, n + 5 :].split(ATTRIBUTE_SIZES, 1)
    terms["attributes"] = (
        r.lambda_attributes
        * torch.stack([F.cross_entropy(x, truth["attributes"][:, i]) for i, x in enumerate(logits)]).mean()
    )
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


def degrade(images: np.ndarray, rng: np.random.Generator, share: float) -> None:
    """Spoil a share of the pictures [B, S, S, 3] uint8 in place: few pixels and JPEG, or something in front."""
    size = images.shape[1]
    for k in np.flatnonzero(rng.random(len(images)) < share):
        image = images[k]
        kind = rng.random()
        if kind < 0.3:  # something stands before the person
            w, h = (rng.uniform(0.1, 0.4, 2) * size).astype(int)
            x, y = rng.integers(0, size - w), rng.integers(0, size - h)
            image[y : y + h, x : x + w] = rng.integers(0, 256, 3)
            continue
        picture = Image.fromarray(image)
        small = int(size / rng.uniform(1, 3))
        picture = picture.resize((small, small), Image.Resampling.BILINEAR)
        with io.BytesIO() as file:
            picture.save(file, "JPEG", quality=int(rng.uniform(5, 60)))
            image[:] = np.asarray(Image.open(file).resize((size, size), Image.Resampling.BICUBIC))


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A checkpoint of this stage, also one from before a module was renamed: size_px, net, average, optimisers, ..."""
    saved = torch.load(path, weights_only=True, map_location=device)
    return saved | {name: current_names(saved[name], "") for name in ("net", "average")}


def known_state(path: str, net: MultiTaskViT) -> dict[str, Tensor]:
    """Tensors of a checkpoint (.pt of this stage, or safetensors as for `load_states`) that fit, resized."""
    if path.endswith(".safetensors"):
        state = load_states(Path(path), ("extract",))["extract"]
    else:
        state = read_checkpoint(Path(path))["average"]
    own = net.state_dict()
    state = resized({k: v for k, v in state.items() if k in own}, net.side)
    return own | {k: v for k, v in state.items() if own[k].shape == v.shape}


def extractor_config(recipe: ExtractRecipe, size_px: int) -> ExtractConfig:
    """Sizes of the network that a recipe trains at one picture size."""
    return ExtractConfig(
        size_px=size_px,
        shape_count=SHAPE_COUNT,
        attribute_logits=sum(ATTRIBUTE_SIZES),
        task_increments=recipe.increments,
        task_masks=recipe.masks,
        landmarks=recipe.landmarks,
    )


class _Run:
    """Network, average and optimisers of a training run at one picture size."""

    def __init__(self, recipe: ExtractRecipe, size_px: int, device: torch.device, state: dict[str, Tensor] | None):
        self.net = MultiTaskViT(extractor_config(recipe, size_px))
        if state is not None:
            self.net.load_state_dict(resized(state, self.net.side))
        elif recipe.warm_start:
            self.net.load_state_dict(known_state(recipe.warm_start, self.net))
        self.net = self.net.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.average = MovingAverage(self.net.state_dict())
        self.optimisers = build_optimisers(self.net, recipe.rate, recipe.matrix_rate, ("stem.0", "position", "masks"))

    def state(self) -> dict:
        return {
            "size_px": self.net.config.size_px,
            "net": self.net.state_dict(),
            "average": self.average.state,
            "optimisers": [o.state_dict() for o in self.optimisers],
        }

    def load(self, saved: dict) -> None:
        self.net.load_state_dict(saved["net"])
        self.average.state = saved["average"]
        for optimiser, state in zip(self.optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)

    def averaged(self) -> MultiTaskViT:
        net = MultiTaskViT(self.net.config)
        net.load_state_dict({k: v.cpu() for k, v in self.average.state.items()})
        return net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def step(self, batch: dict[str, np.ndarray], recipe: ExtractRecipe, rng, generator, factor: float, world: int):
        """One update; returns the loss terms."""
        device = next(self.net.parameters()).device
        degrade(batch["image"], rng, recipe.degraded)
        truth = to_tensors(batch, rng.random(len(batch["image"])) < 0.5, self.net.config.size_px)
        image = augment(truth.pop("image"), generator).to(device).contiguous(memory_format=torch.channels_last)
        truth = {k: v.to(device) for k, v in truth.items()}
        landmarks = truth.pop("landmarks")
        lost = torch.rand(len(landmarks), 1, 1, generator=generator) < recipe.unhinted
        landmarks = torch.where(lost.to(device), 0.0, landmarks)
        with half_precision(device):
            out = self.net(image, landmarks)
        terms = losses({k: v.float() for k, v in out.items()}, truth, recipe)
        for optimiser, rate in zip(self.optimisers, (recipe.rate, recipe.matrix_rate), strict=True):
            optimiser.zero_grad(set_to_none=True)
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
        torch.stack(list(terms.values())).sum().backward()
        average_gradients(self.net.parameters(), world)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 2.0)
        for optimiser in self.optimisers:
            optimiser.step()
        return terms


def train(recipe: ExtractRecipe, pool: Pool, held_out: dict[str, np.ndarray], out: Path, resume: bool = False) -> Path:
    """Train; checkpoints (network, average, optimisers) in `out`/extract.pt, the curve in `out`/extract.jsonl.

    Under torchrun every process draws batches of its own and all share the gradients; the first one writes.
    """
    rank, world = join_processes()
    device = pick_device(rank)
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed + rank)
    rng = np.random.default_rng([recipe.seed, rank])
    path, spent, step = out / "extract.pt", 0.0, 0
    run = _Run(recipe, recipe.sizes[0][1], device, None)
    if resume and path.exists():
        saved = read_checkpoint(path, device)
        run = _Run(recipe, saved["size_px"], device, saved["net"])
        run.load(saved)
        spent, step = saved["spent_s"], saved["step"]
    out.mkdir(parents=True, exist_ok=True)
    if rank == 0:
        (out / "extract.json").write_text(json.dumps({"recipe": asdict(recipe), "processes": world}, indent=1))
    start, last_log, last_save = time.time() - spent, time.time(), time.time()
    total_s, running = recipe.minutes * 60, {}

    def clock() -> float:
        return total_s * step / recipe.steps if recipe.steps else _together(time.time() - start, world)

    while (elapsed := clock()) < total_s:
        progress = elapsed / total_s
        size_px = [size for begin, size in recipe.sizes if progress >= begin][-1]
        if size_px != run.net.config.size_px:
            run = _Run(recipe, size_px, device, run.average.state)
        if step % 100 == 0:
            pool.refresh()
        factor = min(1, elapsed / 60 + 0.02) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * progress)))
        terms = run.step(pool.batch(rng, recipe.batch), recipe, rng, generator, factor, world)
        step += 1
        run.average.update(run.net.state_dict(), step)
        if step % 10 == 0:
            for k, v in terms.items():
                running[k] = 0.9 * running.get(k, v.item()) + 0.1 * v.item()
        if rank == 0 and (time.time() - last_log > recipe.log_every_s or step == 100):
            last_log = time.time()
            row = {"min": round(elapsed / 60, 1), "samples": step * recipe.batch * world, "pool": len(pool)}
            row |= {"size_px": size_px} | evaluate(run.averaged(), held_out)
            row |= {k: round(v, 3) for k, v in running.items()}
            with (out / "extract.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
        if rank == 0 and time.time() - last_save > 240:
            last_save = time.time()
            _save(path, run, elapsed, step)
    if rank == 0:
        _save(path, run, total_s, step)
    return path


def _together(seconds: float, world: int) -> float:
    """The first process' clock, so that all stop and resize at the same step."""
    if world < 2:
        return seconds
    clock = torch.tensor([seconds], dtype=torch.float64, device=pick_device(dist.get_rank()))
    dist.broadcast(clock, 0)
    return float(clock)


def _save(path: Path, run: _Run, spent_s: float, step: int) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(run.state() | {"spent_s": spent_s, "step": step}, temporary)
    temporary.replace(path)
