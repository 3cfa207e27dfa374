"""Sender, second half: adversarial semantic coding (AFLSC eq. 8-13, Algorithm 1 lines 14-23).

    features X [B, X] (+ labels y, in training only) -> q(z | X, y) -> z -> mu(z) of X, categorical pi(z) of every label
    inference: z = mu(X) (eq. 12), y' = argmax pi(z) (eq. 13)

A scalar label's categorical over its fine bins is a discretised logistic: two numbers instead of hundreds, and its
arg max is the bin that holds the mean. Coarse symbols are the leading digits of that bin.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from somacast.systems.aflsc.labels.layout import LabelLayout


@dataclass(frozen=True)
class SemanticConfig:
    features: int
    hidden: int = 512
    latent: int = 128
    dropout: float = 0.1


class SemanticCoder(nn.Module):
    """CVAE over (X, y). `infer` is what the product runs."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: SemanticConfig, layout: LabelLayout):
        super().__init__()
        self.config, self.layout = config, layout
        h, d = config.hidden, config.latent
        self.register_buffer("mean", torch.zeros(config.features))
        self.register_buffer("std", torch.ones(config.features))

        def trunk(inputs: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Linear(inputs, h), nn.LayerNorm(h), nn.GELU(), nn.Dropout(config.dropout),
                nn.Linear(h, h), nn.LayerNorm(h), nn.GELU(), nn.Dropout(config.dropout),
            )  # fmt: skip

        self.from_features = nn.Sequential(trunk(config.features), nn.Linear(h, 2 * d))  # q(z | X)
        self.from_both = nn.Sequential(trunk(config.features + layout.size), nn.Linear(h, 2 * d))  # q(z | X, y), eq. 8
        self.decoder = trunk(d)
        self.features = nn.Linear(h, config.features)  # mu_theta(z), eq. 9
        self.scalars = nn.Linear(h, 2 * len(layout.scalars))  # mean and log scale of the discretised logistic
        self.angles = nn.Linear(h, 2 * len(layout.angles))
        self.classes = nn.Linear(h, sum(n for _, n in layout.classes))

    def standard(self, x: Tensor) -> Tensor:
        """Features in their own spread."""
        return ((x - self.mean) / self.std).clamp(-6, 6)

    def encode(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Standardised features [B, X] and, in training, label vectors [B, size] to mean and log sigma of q(z)."""
        both = self.from_features(x) if y is None else self.from_both(torch.cat([x, y], 1))
        mean, log_sigma = both.chunk(2, 1)
        return mean, log_sigma.clamp(-6, 2)

    def decode(self, z: Tensor) -> dict[str, Tensor]:
        """z [B, D] to features [B, X], scalar mean and log scale [B, S], angle vectors [B, A, 2], class logits."""
        h = self.decoder(z)
        mean, log_scale = self.scalars(h).chunk(2, 1)
        return {
            "features": self.features(h),
            "mean": mean,
            "log_scale": log_scale.clamp(-5, 2),
            "angles": self.angles(h).view(z.shape[0], -1, 2),
            "classes": self.classes(h),
        }

    def infer(self, x: Tensor) -> dict[str, Tensor]:
        """Eq. 12-13 up to the arg max: raw features [B, X] to the parameters of pi(mu(X))."""
        return self.decode(self.encode(self.standard(x))[0])

    def label_vector(self, out: dict[str, Tensor]) -> Tensor:
        """pi(z) as a soft label vector [B, size], for the discriminator."""
        parts = [out["mean"], F.normalize(out["angles"], dim=-1).flatten(1)]
        at = 0
        for _, n in self.layout.classes:
            parts.append(out["classes"][:, at : at + n].softmax(1))
            at += n
        return torch.cat(parts, 1)


def label_loss(coder: SemanticCoder, out: dict[str, Tensor], y: Tensor, known: Tensor | None = None) -> Tensor:
    """-log Cat(y; pi(z)) of eq. 9, mean per label: discretised logistic for scalars, cross entropy for classes, the
    cosine distance for angles. known [B, size]: weight of each number of y, all 1 if not given."""
    layout = coder.layout
    s = len(layout.scalars)
    span = y.new_tensor(layout.spans)
    width = 2 * span / y.new_tensor(layout.bins, dtype=torch.float32)
    true = torch.maximum(torch.minimum(y[:, :s], span - 1e-4), -span)
    low = torch.floor((true + span) / width) * width - span
    inverse = torch.exp(-out["log_scale"])
    upper, lower = torch.sigmoid((low + width - out["mean"]) * inverse), torch.sigmoid((low - out["mean"]) * inverse)
    # tails are thin far from the mean: there the density stands in for the difference of the two sigmoids
    middle = (low + width / 2 - out["mean"]) * inverse
    density = torch.log(width * inverse) - middle - 2 * F.softplus(-middle)
    chance = torch.where(upper - lower > 1e-5, torch.log((upper - lower).clamp_min(1e-12)), density)
    a = 2 * len(layout.angles)
    angle = F.normalize(out["angles"], dim=-1).flatten(1)
    known = torch.ones_like(y) if known is None else known
    mean = lambda x, weight: (x * weight).sum() / weight.sum().clamp_min(1e-6)  # noqa: E731
    total = -mean(chance, known[:, :s]) + 4 * mean((angle - y[:, s : s + a]).square(), known[:, s : s + a])
    at = 0
    for _, n in layout.classes:
        logits = out["classes"][:, at : at + n]
        one = slice(s + a + at, s + a + at + n)
        wrong = F.cross_entropy(logits, y[:, one].argmax(1), reduction="none")
        total = total + 0.1 * mean(wrong, known[:, one.start])
        at += n
    return total


class Discriminator(nn.Module):
    """f(X, y) of eq. 10: is this pair of features and labels real? Returns the logit [B]."""

    def __init__(self, features: int, labels: int, hidden: int = 256):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(features + labels, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, hidden), nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1),
        )  # fmt: skip

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.net(torch.cat([x, y], 1))[:, 0]


def feature_vector(out: dict[str, Tensor]) -> Tensor:
    """X of eq. 8 from the extractor's outputs: joints and peaks, log confidence, joint depths and places, pose head,
    hidden features, the body's token, mean tokens, landmarks."""
    confidence = torch.log(out["confidence"].clamp_min(1e-4))
    parts = [out["joints"].flatten(1), confidence, out["joint_depth"], out["pose"], out["hidden"]]
    parts += [out["points"].flatten(1), out["body"]]
    return torch.cat([*parts, out["peaks"].flatten(1), out["context"], out["landmarks"].flatten(1)], 1)
