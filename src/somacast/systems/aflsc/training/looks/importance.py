"""eq. 14 for the look tokens: tau and embeddings that say how much the perceptual error suffers without a cell.

error of what the receiver paints --gradient by how far each cell's tokens are let through--> sensitivity of cells
part, depth, coarse tokens --tau exp(-d / sigma)--> the same, as both ends can know it      fitted
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from somacast.coding.importance import ONE_Q16
from somacast.systems.aflsc.look_tokens.capsules import DEPTHS, PARTS
from somacast.systems.aflsc.look_tokens.importance import STEEPNESS, TokenImportance
from somacast.systems.aflsc.look_tokens.priors import LEVELS
from somacast.systems.aflsc.networks.looks import COLORS, DIMS, GRIDS, LookCodec
from somacast.systems.aflsc.training.looks.batches import Batch
from somacast.systems.aflsc.training.looks.losses import BEHIND, composed
from somacast.systems.aflsc.training.looks.perceptual_loss import PerceptualLoss

WIDTH, SIGMA = 2, 256  # of the embeddings, and the unit of their distance
STEPS, RATE = 1500, 0.02
FLATTER = 0.5  # power of the sensitivity that importance is: eq. 17 is linear in it, and cells differ by magnitudes
LARGEST = 4096  # tau


@dataclass(frozen=True)
class Sensitivities:
    """Of cells of the finest grid that may have tokens, one row each: how much the error of the whole person grows
    without their tokens [N] (of a coarser cell its share), part [N] and depth [N] there, and coarse tokens [N, D]."""

    value: Tensor
    part: Tensor
    depth: Tensor
    coarse: Tensor


def sensitivities(net: LookCodec, perceptual: PerceptualLoss, batches: Iterable[Batch]) -> Sensitivities:
    """First order: minus the gradient by the masks of what is sent, at everything."""
    net.eval()
    rows: list[tuple[Tensor, ...]] = []
    for batch in batches:
        kept = [v.clone().requires_grad_() for v in batch.valid]
        out = net(batch.picture, batch.condition, batch.given, batch.attributes, batch.parts, kept, batch.valid)
        coarse = out["coarse"]
        sharp = net.refine(coarse, out["features"], coarse[:, :COLORS], torch.ones(len(coarse), 1, 1, 1))
        front, back, _ = composed(torch.cat([sharp, coarse[:, COLORS:]], 1))
        error = (perceptual(batch.front, front) + BEHIND * perceptual(batch.back, back)).sum()
        gradients = torch.autograd.grad(error, kept[1:])
        fine = sum(F.interpolate(-g, scale_factor=GRIDS[-1][0] / g.shape[2]) * (g.shape[2] / GRIDS[-1][0]) ** 2
                   for g in gradients)  # fmt: skip
        depth, part = batch.parts[-1].max(1)
        tokens = F.interpolate(out["symbols"][0].detach(), scale_factor=GRIDS[-1][0] / GRIDS[0][0])
        there = batch.valid[-1][:, 0] > 0
        rows.append((fine[:, 0][there].detach(), part[there], depth[there].long(), tokens.permute(0, 2, 3, 1)[there]))  # type: ignore[union-attr,index]
    return Sensitivities(*(torch.cat(column) for column in zip(*rows, strict=True)))


def fitted(found: Sensitivities, seed: int = 0) -> tuple[TokenImportance, dict[str, float]]:
    """tau, embeddings and context by maximum likelihood of sensitivities that scatter like counts around what eq. 14
    says; and by how much each brings the mean negative log likelihood down, and the `correlation`."""
    torch.manual_seed(seed)
    scale = found.value.clamp_min(0).mean()
    value = found.value / scale
    group = found.part * (2 * DEPTHS + 1) + found.depth
    count = len(PARTS) * (2 * DEPTHS + 1)
    sums = torch.zeros(count).index_add(0, group, value.clamp_min(0))
    sizes = torch.bincount(group, minlength=count).float()
    log_tau = ((sums + 0.5) / (sizes + 0.5)).log().requires_grad_()
    table = (0.05 * torch.randn(DIMS[0], 2 * LEVELS + 1, WIDTH)).requires_grad_()
    context = (0.3 * torch.randn(len(PARTS), WIDTH)).requires_grad_()
    place = (found.coarse.round().long() + LEVELS).clamp(0, 2 * LEVELS)
    dims = torch.arange(DIMS[0])

    def likelihood(embedded: bool) -> Tensor:
        log = log_tau[group]
        if embedded:
            log = log - (table[dims, place].sum(1) - context[found.part]).abs().sum(1)
        return (log.exp() - value * log).mean()

    deviances = [1.0, likelihood(False).item()]  # of one rate for all, and of one for each part and depth
    optimiser = torch.optim.Adam([log_tau, table, context], RATE)
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = likelihood(True) + 1e-4 * table.square().sum()
        loss.backward()
        optimiser.step()
    deviances.append(likelihood(True).item())
    tau = (FLATTER * log_tau.detach()).exp().view(len(PARTS), -1)
    tau = (tau / tau.max() * LARGEST).round().clamp_min(1).long().numpy()
    whole = lambda x: (FLATTER * SIGMA * x.detach()).round().long().numpy()  # noqa: E731
    importance = TokenImportance(tau, whole(table), whole(context), SIGMA, STEEPNESS * ONE_Q16)
    by_part, by_tokens = (round(a - b, 5) for a, b in pairwise(deviances))
    ranks = round(correlation(importance, found), 4)
    return importance, {"part and depth": by_part, "coarse tokens": by_tokens, "correlation": ranks}


def correlation(importance: TokenImportance, found: Sensitivities) -> float:
    """Of ranks (Spearman) between importance and sensitivity of cells."""
    gap = np.abs(importance.embeddings[np.arange(DIMS[0]), found.coarse.long().numpy() + LEVELS].sum(1)
                 - importance.context[found.part.numpy()]).sum(1)  # fmt: skip
    omega = importance.tau[found.part.numpy(), found.depth.numpy()] * np.exp(-gap / importance.sigma)
    ranks = np.stack([np.argsort(np.argsort(x)) for x in (omega, found.value.numpy())])
    return float(np.corrcoef(ranks).flat[1])
