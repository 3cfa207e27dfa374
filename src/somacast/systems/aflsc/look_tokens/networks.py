"""Look tokens: a picture of a person to categorical labels on four grids (eq. 8-13), and back to both sides (eq. 19-27).

sender    picture, silhouette, condition maps --Analysis--> features on the grids --quantised--> tokens y'
receiver  tokens, condition maps --mixture (eq. 19-21)--> z' --three recurrent levels (eq. 22, 23)--> s1, s2, s3
          --multi-scale ViT (eq. 24, 25)--> --diffusion (eq. 26, 27)--> colours, cover and depth of both sides
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from somacast.nn.vit import Block, to_map, to_tokens
from somacast.systems.aflsc.look_tokens.capsules import HEIGHT_PX, WIDTH_PX

GRIDS = ((6, 4), (12, 8), (24, 16), (48, 32))  # coarse first
DIMS = (10, 8, 6, 4)  # symbols of a cell
LEVELS = 4  # symbols are -LEVELS .. LEVELS
CONDITION_CHANNELS = 15
ATTRIBUTES = 17  # one-hot classes
OUT_CHANNELS = 9  # front rgb, back rgb, cover, depth of front and of back to the body's


@dataclass(frozen=True)
class TokenConfig:
    """widths: channels on the grids of 6x4, 12x8, 24x16, 48x32 and 96x64; components: of the mixture; heads, blocks: of
    the ViT."""

    widths: tuple[int, ...] = (144, 144, 112, 72, 36)
    components: int = 6
    heads: int = 4
    blocks: int = 2


def conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


class Residual(nn.Module):
    """x + a small change of it."""

    def __init__(self, channels: int, kernel: int = 3):
        super().__init__()
        self.first, self.second = conv(channels, channels, kernel), conv(channels, channels, kernel)
        with torch.no_grad():
            self.second.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class Down(nn.Module):
    """Half the size: blocks of 2 x 2 become channels (a stride costs ten times as much backward on CPUs)."""

    def __init__(self, inputs: int, outputs: int, depth: int = 1, kernel: int = 3):
        super().__init__()
        self.mix = conv(4 * inputs, outputs, 1)
        self.rest = nn.Sequential(*(Residual(outputs, kernel) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(self.mix(F.pixel_unshuffle(F.silu(x), 2)))


class Up(nn.Module):
    """Twice the size."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.mix = conv(inputs, 4 * outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.mix(F.silu(x)), 2)


class Pyramid(nn.Module):
    """Maps [B, C, 192, 128] to features on 6x4, 12x8, 24x16, 48x32 and 96x64."""

    def __init__(self, inputs: int, widths: tuple[int, ...], depth: int = 1):
        super().__init__()
        w6, w12, w24, w48, w96 = widths
        self.stem = conv(4 * inputs, w96, 1)
        self.to48, self.to24 = Down(w96, w48, depth), Down(w48, w24, depth)
        self.to12, self.to6 = Down(w24, w12, depth), Down(w12, w6, 1, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        f96 = self.stem(F.pixel_unshuffle(x, 2))
        f48 = self.to48(f96)
        f24 = self.to24(f48)
        f12 = self.to12(f24)
        return [self.to6(f12), f12, f24, f48, f96]


class TokenMixture(nn.Module):
    """eq. 19-21 on every cell: symbols and condition -> weights and means of K Gaussians -> z', their mean."""

    def __init__(self, symbols: int, features: int, outputs: int, components: int):
        super().__init__()
        self.weights = conv(symbols + 1 + features, components, 1)
        self.means = conv(symbols + 1, components * outputs, 1)
        self.log_std = nn.Parameter(torch.full((components, outputs), -2.0))
        self.components = components

    def forward(self, symbols: Tensor, condition: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        """symbols [B, D+1, H, W], the last one says which were sent; z' [B, C, H, W] and weights [B, K, H, W]."""
        weight = self.weights(torch.cat([symbols, F.silu(condition)], 1)).softmax(1)
        mean = self.means(symbols).unflatten(1, (self.components, -1))
        if noise:
            mean = mean + noise * self.log_std.exp()[None, :, :, None, None] * torch.randn_like(mean)
        return (weight[:, :, None] * mean).sum(1), weight


class Gate(nn.Module):
    """One step of a gated recurrent level (eq. 22): what came before and what is new to the next state."""

    def __init__(self, state: int, inputs: int):
        super().__init__()
        self.gates, self.new = conv(state + inputs, 2 * state, 1), conv(state + inputs, state)

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        update, reset = self.gates(torch.cat([h, x], 1)).sigmoid().chunk(2, 1)
        return h + update * (torch.tanh(self.new(torch.cat([reset * h, x], 1))) - h)


class Prior(nn.Module):
    """What one expects of the symbols of a grid: from the coarser grid's and, for every other cell, from neighbours.

    Small and of whole numbers alone (symbols, parts of the body on the cells), so that it can be computed in integers.
    """

    def __init__(self, coarser: int, dims: int, parts: int, hidden: int = 64):
        super().__init__()
        self.dims = dims
        self.coarse = conv(coarser + 1, hidden, 3) if coarser else None
        self.part = conv(parts, hidden, 1)
        self.near = conv(dims + 1, hidden, 3)
        self.middle = conv(hidden, hidden, 1)
        self.out = conv(hidden, 2 * dims, 1)
        with torch.no_grad():
            self.out.weight.mul_(0.2)

    def forward(self, coarser: Tensor | None, parts: Tensor, symbols: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale [B, D, H, W]; first [1, 1, H, W]: cells that are read before the others."""
        base = self.part(parts)
        if self.coarse is not None:
            assert coarser is not None
            base = base + F.interpolate(self.coarse(coarser), scale_factor=2.0)
        known = torch.cat([symbols * first, first.expand(len(symbols), -1, -1, -1)], 1)
        alone = self.out(F.relu(self.middle(F.relu(base))))
        beside = self.out(F.relu(self.middle(F.relu(base + self.near(known)))))
        found = torch.where(first > 0, alone, beside).float()
        return found[:, : self.dims], F.softplus(found[:, self.dims :] + 0.5) + 0.06


def checkerboard(height: int, width: int) -> Tensor:
    """Cells that are read first [1, 1, H, W]."""
    row, column = torch.arange(height)[:, None], torch.arange(width)[None]
    return ((row + column) % 2 == 0).float()[None, None]


def symbol_bits(symbol: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Bits of symbols under discretised logistics."""
    high, low = torch.sigmoid((symbol + 0.5 - mean) / scale), torch.sigmoid((symbol - 0.5 - mean) / scale)
    high = torch.where(symbol > LEVELS - 0.5, torch.ones_like(high), high)
    low = torch.where(symbol < 0.5 - LEVELS, torch.zeros_like(low), low)
    return -torch.log2((high - low).clamp_min(1e-5))


class Refiner(nn.Module):
    """eq. 26, 27: a noisy picture of both sides and the features of s3 to the sharp one, at 96 x 64 x 4."""

    def __init__(self, features: int, width: int = 40):
        super().__init__()
        self.enter = conv(4 * 6 + 4 * 9 + features + 1, width, 1)
        self.fine = Residual(width)
        self.down = Down(width, 2 * width, 2)
        self.up = Up(2 * width, width)
        self.last = nn.Sequential(Residual(width), nn.SiLU(), conv(width, 24, 1))
        with torch.no_grad():
            self.last[-1].weight.mul_(0.1)

    def forward(self, noisy: Tensor, coarse: Tensor, features: Tensor, level: Tensor) -> Tensor:
        """noisy [B, 6, H, W], coarse [B, 9, H, W], features [B, C, H/2, W/2], level [B, 1, 1, 1] of noise in [0, 1] to
        what is to be added to the coarse colours [B, 6, H, W]."""
        level = level.expand(-1, -1, features.shape[2], features.shape[3])
        x = [F.pixel_unshuffle(noisy, 2), F.pixel_unshuffle(coarse, 2), features, level]
        x = self.fine(self.enter(torch.cat(x, 1)))
        x = x + self.up(self.down(x))
        return F.pixel_shuffle(self.last(x), 2)


class LookCodec(nn.Module):
    """Sender and receiver of the tokens."""

    def __init__(self, config: TokenConfig | None = None):
        super().__init__()
        self.config = c = config or TokenConfig()
        w = c.widths
        self.condition = Pyramid(CONDITION_CHANNELS, w)
        self.attributes = nn.Linear(ATTRIBUTES, w[0])
        self.analysis = Pyramid(4 + CONDITION_CHANNELS, w, 2)
        self.post = nn.ModuleList(
            nn.Sequential(conv(2 * w[k], w[k], 1), nn.SiLU(), conv(w[k], DIMS[k], 1)) for k in range(4)
        )
        self.priors = nn.ModuleList(Prior(DIMS[k - 1] if k else 0, DIMS[k], CONDITION_CHANNELS) for k in range(4))
        self.mixtures = nn.ModuleList(TokenMixture(DIMS[k], w[k], w[k], c.components) for k in range(4))
        self.start = conv(w[0], w[0], 1)
        self.ups = nn.ModuleList(Up(w[k], w[k + 1]) for k in range(4))
        self.gates = nn.ModuleList(Gate(w[k], 2 * w[k]) for k in range(1, 4))
        self.enter = conv(2 * w[0], w[0], 1)
        self.levels = nn.ModuleList(Residual(w[k], 1 if k == 0 else 3) for k in range(4))
        self.place = nn.ParameterList([nn.Parameter(0.02 * torch.randn(1, h * v, w[1])) for h, v in GRIDS[1:3]])
        self.narrow = nn.Linear(w[2], w[1])
        self.blocks = nn.ModuleList(Block(w[1], c.heads, 2.0, False) for _ in range(c.blocks))
        self.back12, self.back24 = nn.Linear(w[1], w[1]), nn.Linear(w[1], w[2])
        self.join = conv(2 * w[4], w[4])
        self.last = Residual(w[4])
        self.out = conv(w[4], 4 * OUT_CHANNELS, 1)
        self.refiner = Refiner(w[4])
        with torch.no_grad():
            self.out.weight.mul_(0.3)
            for linear in (self.back12, self.back24):
                linear.weight.mul_(0.1)
        for k, (h, v) in enumerate(GRIDS):
            self.register_buffer(f"first{k}", checkerboard(h, v), persistent=False)

    def forward(
        self, picture: Tensor, condition: Tensor, attributes: Tensor, parts: list[Tensor], keep: list[Tensor],
        valid: list[Tensor], noise: float = 0.0,
    ) -> dict:  # fmt: skip
        """picture [B, 4, 192, 128] (rgb - .5, silhouette - .5), condition [B, 15, 192, 128], attributes [B, 17]; on
        each grid parts [B, 15, h, w], keep and valid [B, 1, h, w]: cells that are sent, and that may be."""
        cond = self.condition(condition)
        cond[0] = cond[0] + self.attributes(attributes)[..., None, None]
        seen = self.analysis(torch.cat([picture, condition], 1))
        bits, symbols, mixed = [], [], []
        state = self.start(F.silu(cond[0]))
        coarser = None
        for k in range(4):
            if k:
                state = self.ups[k - 1](state)
            found = self.post[k](torch.cat([F.silu(seen[k]), F.silu(state)], 1)).float()
            smooth = LEVELS * torch.tanh(found / LEVELS)
            symbol = (smooth + (torch.round(smooth) - smooth).detach()) * valid[k]
            sent = symbol * keep[k]
            mean, scale = self.priors[k](coarser, parts[k], sent, getattr(self, f"first{k}"))
            probe = (smooth + torch.rand_like(smooth) - 0.5).clamp(-LEVELS, LEVELS) if self.training else symbol
            bits.append((symbol_bits(probe, mean, scale) * valid[k]).sum(1, keepdim=True))
            symbols.append(symbol)
            given = torch.cat([sent / 2, keep[k]], 1)
            z, weight = self.mixtures[k](given, cond[k], noise)
            mixed.append(weight)
            new = torch.cat([z, cond[k]], 1)
            state = self.enter(F.silu(torch.cat([state + z, cond[0]], 1))) if k == 0 else self.gates[k - 1](state, new)
            state = self.levels[k](state)
            coarser = torch.cat([sent, keep[k]], 1)
            if k == 2:
                state = self.attend(state, cond)
        fine = self.join(F.silu(torch.cat([self.ups[3](state), cond[4]], 1)))
        fine = self.last(fine)
        coarse = F.pixel_shuffle(self.out(F.silu(fine)).float(), 2)
        return {"coarse": coarse, "features": fine, "bits": bits, "symbols": symbols, "weights": mixed}

    def attend(self, state: Tensor, cond: list[Tensor]) -> Tensor:
        """eq. 24, 25: cells of two scales look at each other, so that what is seen here is told there."""
        coarse = F.avg_pool2d(state, 2)
        narrow24, narrow12 = self.narrow(to_tokens(state)), self.narrow(to_tokens(coarse)) + to_tokens(cond[1])
        count = narrow12.shape[1]
        x = torch.cat([narrow12 + self.place[0], narrow24 + self.place[1]], 1)
        for block in self.blocks:
            x = block(x)
        wide = F.interpolate(to_map(self.back12(x[:, :count]), GRIDS[1][0]), scale_factor=2.0)
        return state + to_map(self.back24(x[:, count:]), GRIDS[2][0]) + self.spread(wide)

    def spread(self, wide: Tensor) -> Tensor:
        """Channels of the 12 x 8 grid to those of the 24 x 16 one."""
        return wide[:, : self.config.widths[2]]

    def refine(self, coarse: Tensor, features: Tensor, noisy: Tensor, level: Tensor) -> Tensor:
        """Sharp colours [B, 6, H, W] from noisy ones."""
        return coarse[:, :6] + self.refiner(noisy, coarse, features, level).float()


def pooled(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Means over the cells of a grid."""
    return F.avg_pool2d(x, (HEIGHT_PX // size[0], WIDTH_PX // size[1]))


def covered_cells(cover: Tensor) -> list[Tensor]:
    """Cells [B, 1, h, w] of each grid that a body's cover [B, 1, 192, 128], widened by a fine cell, touches."""
    fine = F.max_pool2d(F.max_pool2d(cover, 4), 3, 1, 1)
    return [F.max_pool2d(fine, 48 // h) if h < 48 else fine for h, _ in GRIDS]
