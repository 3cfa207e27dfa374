"""Network parts shared by the systems: attention with a bias (eq. 6, 25), map norm."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from somacast.nn.vit import BiasedAttention, Block, GeneratedBias, MapNorm, to_map, to_tokens

# --- attention -----------------------------------------------------------------------------------------------------


def attention_reference(attention: BiasedAttention, x: Tensor, mask: Tensor | None, inside: bool) -> Tensor:
    """softmax((Q K^T + M) / sqrt(d)) V (eq. 6) or softmax(Q K^T / sqrt(d) + B) V (eq. 25), head by head."""
    width = x.shape[-1] // attention.heads
    q, k, v = attention.qkv(x).chunk(3, -1)
    out = []
    for head in range(attention.heads):
        at = slice(head * width, (head + 1) * width)
        scores = q[..., at] @ k[..., at].mT
        bias = torch.zeros_like(scores) if mask is None else mask.expand(len(x), attention.heads, -1, -1)[:, head]
        scores = (scores + bias) / math.sqrt(width) if inside else scores / math.sqrt(width) + bias
        out.append(scores.softmax(-1) @ v[..., at])
    return attention.out(torch.cat(out, -1))


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("mask_shape", [None, (1, 3, 7, 7), (2, 3, 7, 7), (2, 1, 7, 7)])
def test_attention_is_the_written_formula(inside: bool, mask_shape: tuple[int, ...] | None) -> None:
    torch.manual_seed(0)
    attention = BiasedAttention(12, 3, mask_inside_scale=inside)
    x = 2 * torch.randn(2, 7, 12)
    mask = None if mask_shape is None else 2 * torch.randn(mask_shape)
    got = attention(x, mask)
    torch.testing.assert_close(got, attention_reference(attention, x, mask, inside), atol=1e-5, rtol=1e-4)
    if mask is not None:
        assert not torch.allclose(got, attention_reference(attention, x, mask, not inside), atol=1e-3)
        assert not torch.allclose(got, attention(x), atol=1e-3)


def test_mask_can_forbid_tokens() -> None:
    torch.manual_seed(0)
    attention = BiasedAttention(8, 2)
    x, other = torch.randn(1, 5, 8), torch.randn(1, 5, 8)
    mask = torch.zeros(1, 1, 5, 5)
    mask[..., 3:] = -1e4
    mixed = torch.cat([x[:, :3], other[:, 3:]], 1)
    torch.testing.assert_close(attention(x, mask)[:, :3], attention(mixed, mask)[:, :3])
    assert not torch.allclose(attention(x)[:, :3], attention(mixed)[:, :3], atol=1e-3)


def test_block_is_pre_norm_with_two_skips() -> None:
    torch.manual_seed(0)
    block = Block(8, 2, ratio=2.0)
    x, mask = torch.randn(2, 5, 8), torch.randn(1, 2, 5, 5)
    middle = x + attention_reference(block.attention, block.norm1(x), mask, inside=True)
    torch.testing.assert_close(block(x, mask), middle + block.mlp(block.norm2(middle)), atol=1e-5, rtol=1e-4)


def test_generated_bias_is_a_product_of_features() -> None:
    torch.manual_seed(0)
    bias, tokens = GeneratedBias(features=6, heads=3, rank=4), torch.randn(2, 9, 6)
    got = bias(tokens)
    assert got.shape == (2, 3, 9, 9)
    left, right = torch.tanh(bias.left(tokens[1, 5])), torch.tanh(bias.right(tokens[1, 7]))
    at = slice(2 * 4, 3 * 4)  # numbers of head 2
    torch.testing.assert_close(got[1, 2, 5, 7], bias.gain * left[at] @ right[at], atol=1e-6, rtol=1e-4)
    assert got[1, 2, 5, 7] != got[1, 2, 7, 5]


# --- maps ----------------------------------------------------------------------------------------------------------


def test_map_norm_normalises_every_place_over_its_channels() -> None:
    torch.manual_seed(0)
    norm = MapNorm(5)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    x = 3 * torch.randn(2, 5, 4, 6) + 1
    centred = x - x.mean(1, keepdim=True)
    unit = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
    expected = unit * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected, atol=1e-5, rtol=1e-4)


def test_tokens_are_the_rows_of_a_map() -> None:
    x = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    tokens = to_tokens(x)
    assert tokens.shape == (2, 20, 3)
    assert torch.equal(tokens[1, 2 * 5 + 3], x[1, :, 2, 3])
    assert torch.equal(to_map(tokens, 4), x)
