"""Rows of the pool as tensors, varied at random, and which of their tokens are sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from somacast.systems.aflsc.look_tokens.capsules import DEPTHS as DEPTHS_INSIDE
from somacast.systems.aflsc.look_tokens.capsules import PARTS
from somacast.systems.aflsc.look_tokens.inputs import DEPTHS
from somacast.systems.aflsc.networks.looks import part_grids, token_cells

GREY = 0.5
ALL = 9.0  # levels from which on every cell has all
_MIRRORED_PARTS = [PARTS.index({"l": "r", "r": "l"}.get(p[0], p[0]) + p[1:] if p[1] == "_" else p) for p in PARTS]


@dataclass
class Batch:
    """picture [B, 5, H, W] as the networks read it; front, back [B, 3, H, W] and cover [B, 1, H, W]: the truth;
    condition [B, 15, H, W]; given [B, 7, H, W], pictured [B]; change [B, 2, H, W] of depth in metres, and where
    it is known; attributes [B, A]; head [B, 1, H, W]: where it is; cells that are valid and parts there, of each
    grid."""

    picture: Tensor
    front: Tensor
    back: Tensor
    cover: Tensor
    condition: Tensor
    given: Tensor
    pictured: np.ndarray
    change: Tensor
    known: Tensor
    attributes: Tensor
    head: Tensor
    valid: list[Tensor]
    parts: list[Tensor]


def _planes(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).permute(0, 3, 1, 2).float()


def to_batch(rows: dict[str, Any], rng: np.random.Generator | None = None) -> Batch:
    """Rows of the pool; rng: mirrored and recoloured at random."""
    picture, sides, condition, given = (_planes(rows[k]) / 255 for k in ("picture", "sides", "condition", "given"))
    change, depths = _planes(rows["change_m"]), torch.from_numpy(rows["depths"]).float()
    condition = 2 * condition - 1
    depth = condition[:, DEPTHS]
    condition = torch.where(condition[:, :1] > 0.5, condition, 0.0)
    condition[:, DEPTHS] = depth
    attributes = torch.from_numpy(rows["attributes"]).float()
    if rng is not None:
        if rng.random() < 0.5:
            picture, sides, given, condition, change = (x.flip(3) for x in (picture, sides, given, condition, change))
            depths = depths.flip(3)[:, _MIRRORED_PARTS]
            for channel in (1, 4, 8, 11):
                condition[:, channel] = -condition[:, channel]
        picture, sides, given = _recoloured(picture, sides, given, rng)
    front, back, true = sides[:, :3], sides[:, 3:6], sides[:, 6:]
    known = torch.isfinite(change).float()
    # the head of the body at rest: its upper seventh
    head = ((condition[:, 2:3] > 0.66) * condition[:, :1]).float()
    parts = part_grids(depths)
    valid = token_cells(parts)
    grey = GREY * (1 - true)
    shown = torch.from_numpy(rows["pictured"]).float().view(-1, 1, 1, 1)
    given = torch.cat([given - 0.5, shown.expand_as(given[:, :1])], 1)
    return Batch(
        picture - 0.5, front + grey, back + grey, true, condition, given, rows["pictured"],
        torch.nan_to_num(change), known, attributes, head, valid, parts,
    )  # fmt: skip


def _recoloured(
    picture: Tensor, sides: Tensor, given: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Colours of the person changed alike in both pictures and in truth."""
    count = len(picture)
    draw = lambda low, high, n: torch.from_numpy(rng.uniform(low, high, (count, n, 1, 1)).astype(np.float32))  # noqa: E731
    gain = draw(0.8, 1.2, 1) * draw(0.92, 1.08, 3)
    gamma = draw(0.85, 1.2, 1)
    order = [0, 1, 2] if rng.random() < 0.75 else [int(k) for k in rng.permutation(3)]
    change = lambda x: (x[:, order].clamp_min(1e-3) ** gamma * gain).clamp(0, 1)  # noqa: E731
    both = lambda x: torch.cat([change(x[:, :3]), change(x[:, 3:])], 1)  # noqa: E731
    cover = sides[:, 6:]
    front, back = (change(sides[:, a : a + 3]) * (cover > 0) for a in (0, 3))
    rgb = picture[:, :3] + cover * (change(picture[:, :3]) - picture[:, :3])
    return torch.cat([rgb, picture[:, 3:]], 1), torch.cat([front, back, cover], 1), both(given)


def draw_kept(batch: Batch, rng: np.random.Generator) -> list[Tensor]:
    """Which cells are sent [B, 1, h, w] of each grid, as any importance of them leaves them; often none."""
    count = len(batch.picture)
    share = lambda high: torch.from_numpy(rng.uniform(0, high, (count, 1, 1, 1)).astype(np.float32))  # noqa: E731
    deep, head = worth_of(batch)
    noise = F.interpolate(torch.rand_like(batch.valid[0]), scale_factor=4.0) + torch.rand_like(batch.valid[2])
    by_depth, by_head, by_chance = share(1.0), share(1.5), share(0.7)
    worth = (by_depth * deep + by_head * head + by_chance * noise / 2) / (by_depth + by_head + by_chance)
    level = rng.uniform(0.2, 3.4, count)
    level[rng.random(count) < 0.15] = ALL
    level[rng.random(count) < np.where(batch.pictured, 0.5, 0.2)] = 0
    return kept_cells(batch.valid, worth, torch.from_numpy(level).float(), share(3.0))


def worth_of(batch: Batch) -> tuple[Tensor, Tensor]:
    """How deep the cells of the finest grid lie in the body, and in the head, [B, 1, 36, 24] in [0, 1]."""
    parts = batch.parts[-1]
    return parts.amax(1, True) / (2 * DEPTHS_INSIDE), parts[:, :1] / (2 * DEPTHS_INSIDE)


def kept_cells(valid: list[Tensor], worth: Tensor, level: Tensor, span: float | Tensor = 1.0) -> list[Tensor]:
    """The cells of each grid as a mask that are sent if those of the finest one have `level` [B] levels in the mean, by
    their worth [B, 1, 36, 24] in [0, 1] more or fewer, up to span / 2. Of the coarsest grid all go unless level is
    0: cells of a coarser grid have as many as the best of theirs."""
    level = level.view(-1, 1, 1, 1)
    levels = (level + span * (worth - 0.5)).clamp_min(0.01) * (level > 0)
    levels = torch.where(valid[-1] > 0, levels, 0.0)
    pooled = [F.max_pool2d(levels, levels.shape[2] // v.shape[2]) for v in valid]
    return [v * (found > k).float() for k, (v, found) in enumerate(zip(valid, pooled, strict=True))]
