"""Transformer parts shared by the systems: attention with additive bias, blocks, and layer norm on maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BiasedAttention(nn.Module):
    """Multi-head self-attention softmax((Q K^T + mask) / sqrt(d)) V (AFLSC eq. 6) or + bias after scaling (eq. 25)."""

    def __init__(self, dim: int, heads: int, mask_inside_scale: bool = True):
        super().__init__()
        self.heads, self.mask_inside_scale = heads, mask_inside_scale
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x [B, N, D]; mask broadcastable to [B, heads, N, N], added to the scores."""
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        if mask is not None and self.mask_inside_scale:
            mask = mask * (d // self.heads) ** -0.5
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(y.transpose(1, 2).reshape(b, n, d))


class Block(nn.Module):
    """Pre-norm transformer block with an additive attention mask."""

    def __init__(self, dim: int, heads: int, ratio: float = 3.0, mask_inside_scale: bool = True):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = BiasedAttention(dim, heads, mask_inside_scale)
        last = nn.Linear(int(dim * ratio), dim)
        self.mlp = nn.Sequential(nn.Linear(dim, int(dim * ratio)), nn.GELU(), last)
        for final in (self.attention.out, last):  # begins as the identity
            nn.init.zeros_(final.weight)
            nn.init.zeros_(final.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.attention(self.norm1(x), mask)
        return x + self.mlp(self.norm2(x))


class GeneratedBias(nn.Module):
    """B(s) of AFLSC eq. 25: features at both tokens through two small maps, their product per head."""

    def __init__(self, features: int, heads: int, rank: int = 8, gain: float = 0.1):
        super().__init__()
        self.heads, self.rank = heads, rank
        self.left = nn.Linear(features, heads * rank)
        self.right = nn.Linear(features, heads * rank)
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, tokens: Tensor) -> Tensor:
        """Features [B, N, F] to a bias [B, heads, N, N]."""
        b, n, _ = tokens.shape
        left = self.left(tokens).view(b, n, self.heads, self.rank).transpose(1, 2)
        right = self.right(tokens).view(b, n, self.heads, self.rank).transpose(1, 2)
        return self.gain * torch.tanh(left) @ torch.tanh(right).transpose(-1, -2)


class MapNorm(nn.Module):
    """Layer norm over the channels of a map [B, C, H, W]."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias)
        return y.permute(0, 3, 1, 2)


def to_tokens(x: Tensor) -> Tensor:
    """[B, C, H, W] to [B, H*W, C]."""
    return x.flatten(2).transpose(1, 2)


def to_map(x: Tensor, height: int) -> Tensor:
    """[B, H*W, C] to [B, C, H, W]."""
    return x.transpose(1, 2).unflatten(2, (height, x.shape[1] // height))
