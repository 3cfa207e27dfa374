"""Network parts shared by the systems: the mixture latent (eq. 19-21), attention with a bias (eq. 6, 25), map norm."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch import distributions as D

from somacast.nn.mixture import Mixture, MixtureHead, diversity
from somacast.nn.vit import BiasedAttention, Block, MapNorm, to_map, to_tokens

COMPONENTS, DIM = 3, 4


def make_mixture(batch: int = 5, seed: int = 0) -> Mixture:
    """A mixture whose covariances are far from diagonal, so that a wrong factor shows."""
    torch.manual_seed(seed)
    head = MixtureHead(6, COMPONENTS, DIM)
    with torch.no_grad():
        head.factors.weight.normal_(std=0.5)
        head.means.weight.normal_(std=0.7)
        return head(torch.randn(batch, 6))


def repeated(mixture: Mixture, count: int) -> Mixture:
    """The first mixture of a batch, `count` times."""
    return Mixture(*(t[:1].expand(count, *t.shape[1:]) for t in (mixture.logits, mixture.mean, mixture.factor)))


def as_distribution(mixture: Mixture) -> D.MixtureSameFamily:
    parts = D.MultivariateNormal(mixture.mean, scale_tril=mixture.factor)
    return D.MixtureSameFamily(D.Categorical(logits=mixture.logits), parts)


# --- mixture -------------------------------------------------------------------------------------------------------


def test_head_gives_cholesky_factors_of_full_covariances() -> None:
    mixture = make_mixture()
    assert mixture.logits.shape == (5, COMPONENTS)
    assert mixture.mean.shape == (5, COMPONENTS, DIM)
    assert mixture.factor.shape == (5, COMPONENTS, DIM, DIM)
    assert torch.all(mixture.factor.triu(1) == 0)
    assert torch.all(mixture.factor.diagonal(dim1=-2, dim2=-1) > 0)
    below = torch.tril_indices(DIM, DIM, -1)
    assert torch.all(mixture.factor[..., below[0], below[1]] != 0)
    factor = mixture.factor.double()  # a thin covariance is no test of single precision
    sigma = factor @ factor.mT
    assert torch.linalg.eigvalsh(sigma).min() > 0
    torch.testing.assert_close(torch.linalg.cholesky(sigma), factor, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("soft", [False, True])
def test_samples_have_the_closed_form_mean_and_covariance(soft: bool) -> None:
    one = make_mixture()
    count = 60_000
    z = repeated(one, count).sample(torch.Generator().manual_seed(1), soft=soft)
    share = one.logits[0].softmax(0)
    sigma = one.factor[0] @ one.factor[0].mT
    mean = share @ one.mean[0]
    if soft:  # every component is drawn and mixed by its weight: a Gaussian
        expected = (share.square()[:, None, None] * sigma).sum(0)
    else:
        off = one.mean[0] - mean
        expected = (share[:, None, None] * (sigma + off[:, :, None] * off[:, None])).sum(0)
    std = expected.diagonal().sqrt()
    assert torch.all((z.mean(0) - mean).abs() < 5 * std / math.sqrt(count))
    error = (torch.cov(z.T) - expected) / (std[:, None] * std)
    assert error.abs().max() < 0.03


def test_sampling_follows_its_seed() -> None:
    mixture = make_mixture()
    draw = lambda seed: mixture.sample(torch.Generator().manual_seed(seed))  # noqa: E731
    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))


def test_mode_is_the_mean_of_the_most_likely_component() -> None:
    mixture = make_mixture()
    mixture.logits = torch.tensor([[0.0, 2, 1], [3, 2, 1], [0, 1, 2], [5, 5.5, 5], [-1, -3, -2]])
    for row, best in enumerate([1, 0, 2, 1, 0]):
        assert torch.equal(mixture.mode()[row], mixture.mean[row, best])


def test_soft_samples_carry_gradients_to_the_weights() -> None:
    mixture = make_mixture()
    mixture.logits.requires_grad_()
    mixture.sample(torch.Generator().manual_seed(0), soft=True).square().sum().backward()
    assert mixture.logits.grad is not None and mixture.logits.grad.abs().min() > 0


def test_kl_of_one_component_is_that_of_a_gaussian() -> None:
    full = make_mixture()
    single = Mixture(full.logits[:, :1], full.mean[:, :1], full.factor[:, :1])
    standard = D.MultivariateNormal(torch.zeros(DIM), torch.eye(DIM))
    gaussian = D.MultivariateNormal(single.mean[:, 0], scale_tril=single.factor[:, 0])
    torch.testing.assert_close(single.kl_to_standard(), D.kl_divergence(gaussian, standard), atol=1e-4, rtol=1e-4)


def test_kl_of_a_mixture_is_an_upper_bound() -> None:
    one = make_mixture()
    mixture = as_distribution(repeated(one, 1))
    torch.manual_seed(0)
    z = mixture.sample(torch.Size([20_000]))[:, 0]
    standard = D.MultivariateNormal(torch.zeros(DIM), torch.eye(DIM))
    true = (mixture.log_prob(z[:, None])[:, 0] - standard.log_prob(z)).mean()
    bound = one.kl_to_standard()[0]
    assert bound > true - 0.02
    assert bound < true + math.log(COMPONENTS) + 0.05  # convexity costs at most the entropy of the weights


def test_diversity_punishes_collapse_and_repetition() -> None:
    torch.manual_seed(0)
    z = 1.5 * torch.randn(4000, 6)
    std, collapsed = diversity(z), diversity(0.01 * z)
    repeated_dimension = diversity(torch.cat([z[:, :1]] * 6, 1))
    assert std < 0.02
    assert collapsed == pytest.approx(1, abs=0.05)
    assert repeated_dimension > 1


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
