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
from PIL import Image
from torch import Tensor

from somacast.systems.aflsc.networks.extract import ExtractConfig, MultiTaskViT, resized
from somacast.systems.aflsc.networks.loading import current_names, load_states
from somacast.systems.aflsc.training.extract_losses import (
    ATTRIBUTE_SIZES,
    SHAPE_COUNT,
    augment,
    evaluate,
    losses,
    to_tensors,
)
from somacast.training.optimisers import (
    MovingAverage,
    average_gradients,
    build_optimisers,
    half_precision,
    join_processes,
    pick_device,
)
from somacast.training.pools import Pool


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
    lambda_size: float = 0.4  # named addition: the first component of the shape, which is how tall somebody is
    lambda_geodesic: float = 1.0  # named addition: 1 - cos of the rotation error
    lambda_depth: float = 1.0  # eq. 7: 1 - SSIM
    lambda_depth_l1: float = 1.0  # named addition: masked L1
    lambda_silhouette: float = 0.7
    lambda_parts: float = 0.3
    lambda_attributes: float = 0.3


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
