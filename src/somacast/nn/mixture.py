"""Gaussian mixture latents with full covariance (AFLSC eq. 19-21)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Mixture:
    """logits [B, K], mean [B, K, D], factor [B, K, D, D] lower triangular with positive diagonal.

    Sigma = factor factor^T.
    """

    logits: Tensor
    mean: Tensor
    factor: Tensor

    def mode(self) -> Tensor:
        """Mean of the most likely component [B, D]: eq. 21 with eps = 0, the deterministic default."""
        best = self.logits.argmax(1)
        return self.mean[torch.arange(len(best)), best]

    def sample(self, generator: torch.Generator | None = None, soft: bool = False) -> Tensor:
        """z' = mu_k + chol(Sigma_k) eps [B, D] (eq. 21), k drawn from the weights.

        soft: every component is sampled and mixed by its weight, so that gradients reach the weights (training only).
        """
        b, k, d = self.mean.shape
        eps = torch.randn(b, k, d, generator=generator).to(self.mean.device)
        z = self.mean + torch.einsum("bkij,bkj->bki", self.factor, eps)
        if soft:
            return (self.logits.softmax(1)[..., None] * z).sum(1)
        pick = torch.multinomial(self.logits.softmax(1).cpu(), 1, generator=generator)[:, 0]
        return z[torch.arange(b), pick.to(z.device)]

    def kl_to_standard(self) -> Tensor:
        """Upper bound of KL(mixture || N(0, I)) [B]: weights' mean of the components' KL (convexity), closed form."""
        d = self.mean.shape[-1]
        log_det = 2 * torch.log(torch.diagonal(self.factor, dim1=-2, dim2=-1)).sum(-1)
        trace = self.factor.square().sum((-1, -2))
        kl = 0.5 * (trace + self.mean.square().sum(-1) - d - log_det)
        return (self.logits.softmax(1) * kl).sum(1)


class MixtureHead(nn.Module):
    """Features [B, F] to a Mixture with K components of dimension D (eq. 19-20)."""

    rows: Tensor
    columns: Tensor

    def __init__(self, features: int, components: int, dim: int):
        super().__init__()
        self.components, self.dim = components, dim
        self.lower = dim * (dim - 1) // 2
        self.weights = nn.Linear(features, components)
        self.means = nn.Linear(features, components * dim)
        self.scales = nn.Linear(features, components * dim)
        self.factors = nn.Linear(features, components * self.lower)
        nn.init.normal_(self.factors.weight, std=1e-3)
        nn.init.constant_(self.scales.bias, -1.5)
        index = torch.tril_indices(dim, dim, -1)
        self.register_buffer("rows", index[0], persistent=False)
        self.register_buffer("columns", index[1], persistent=False)

    def forward(self, x: Tensor) -> Mixture:
        b = len(x)
        factor = x.new_zeros(b, self.components, self.dim, self.dim)
        factor[:, :, self.rows, self.columns] = self.factors(x).view(b, self.components, self.lower)
        scale = nn.functional.softplus(self.scales(x)).view(b, self.components, self.dim) + 1e-3
        factor = factor + torch.diag_embed(scale)
        return Mixture(self.weights(x), self.means(x).view(b, self.components, self.dim), factor)


def diversity(z: Tensor) -> Tensor:
    """R(z') of eq. 23: penalty on latents that vary little over a batch and on dimensions that repeat each other."""
    centred = z - z.mean(0)
    std = (centred.square().mean(0) + 1e-4).sqrt()
    cov = centred.T @ centred / max(len(z) - 1, 1)
    off = cov - torch.diag(torch.diagonal(cov))
    return torch.relu(1 - std).mean() + off.square().sum() / z.shape[1] / z.shape[1]
