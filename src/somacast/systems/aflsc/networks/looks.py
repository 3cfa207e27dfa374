"""Look tokens: a picture of a person to categorical labels on three grids (eq. 8-13), back to both sides (eq. 19-27).

sender    picture, silhouette, condition maps --Analysis--> features on the grids --quantised--> tokens y'
receiver  tokens, condition maps, both sides as they would be without the networks: painted by labels, or the picture
          --mixture (eq. 19-21)--> z' --three recurrent levels (eq. 22, 23), a ViT of two scales between (eq. 24, 25)-->
          s1, s2, s3 --diffusion (eq. 26, 27)--> colours, cover and depth of both sides
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from somacast.nn.vit import Block, GeneratedBias, MapNorm, to_map, to_tokens
from somacast.systems.aflsc.look_tokens.capsules import DEPTHS, MIN_DEPTH, PARTS
from somacast.systems.aflsc.look_tokens.priors import LEVELS

GRIDS = ((9, 6), (18, 12), (36, 24))  # coarse first
DIMS = (12, 8, 6)  # symbols of a cell
CONDITION_CHANNELS = 15
PICTURE_CHANNELS = 5  # rgb, silhouette, sensed depth
GIVEN_CHANNELS = 7  # both sides as the layers below show them, and whether the front is a picture
ATTRIBUTES = 17  # one-hot classes
COLORS = 6  # front rgb, back rgb
MAP_CHANNELS = COLORS + 3  # cover, and the depth of front and of back to the body's
OUT_CHANNELS = MAP_CHANNELS + 2  # and how much of each side stays as it is given
STAYS = 2.0  # logit of that at first


@dataclass(frozen=True)
class TokenConfig:
    """widths: channels on the grids of 9x6, 18x12, 36x24 and 72x48; components: of the mixture; heads, blocks: of the
    ViT."""

    widths: tuple[int, ...] = (128, 112, 72, 40)
    components: int = 6
    heads: int = 4
    blocks: int = 2


def conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


class Residual(nn.Module):
    """x + a small change of it."""

    def __init__(self, channels: int, kernel: int = 3):
        super().__init__()
        self.norm = MapNorm(channels)
        self.first, self.second = conv(channels, channels, kernel), conv(channels, channels, kernel)
        with torch.no_grad():
            self.second.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(self.norm(x)))))


class Down(nn.Module):
    """Half the size: blocks of 2 x 2 become channels (a stride costs ten times as much backward on CPUs)."""

    def __init__(self, inputs: int, outputs: int, depth: int = 1, kernel: int = 3):
        super().__init__()
        self.mix, self.norm = conv(4 * inputs, outputs, 1), MapNorm(outputs)
        self.rest = nn.Sequential(*(Residual(outputs, kernel) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(self.norm(self.mix(F.pixel_unshuffle(F.silu(x), 2))))


class Up(nn.Module):
    """Twice the size."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.norm, self.mix = MapNorm(inputs), conv(inputs, 4 * outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.mix(F.silu(self.norm(x))), 2)


class Pyramid(nn.Module):
    """Maps [B, C, 144, 96] to features on 9x6, 18x12, 36x24 and 72x48."""

    def __init__(self, inputs: int, widths: tuple[int, ...], depth: int = 1):
        super().__init__()
        w9, w18, w36, w72 = widths
        self.stem = conv(4 * inputs, w72, 1)
        self.to36, self.to18 = Down(w72, w36, depth), Down(w36, w18, depth)
        self.to9 = Down(w18, w9, 1, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        f72 = self.stem(F.pixel_unshuffle(x, 2))
        f36 = self.to36(f72)
        f18 = self.to18(f36)
        return [self.to9(f18), f18, f36, f72]


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
        mean = (weight[:, :, None] * self.means(symbols).unflatten(1, (self.components, -1))).sum(1)
        if noise:  # what the components' noises come to
            variance = torch.einsum("bkhw,kc->bchw", weight.square(), (2 * self.log_std).exp())
            mean = mean + noise * variance.sqrt() * torch.randn_like(mean)
        return mean, weight


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
        self.part = conv(parts + 1, hidden, 1)  # depths in parts, 0 .. 2 * DEPTHS, and whether a picture comes
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


def bounded(wanted: Tensor) -> Tensor:
    """In -LEVELS .. LEVELS, ever more slowly towards these."""
    return LEVELS * torch.tanh(wanted / LEVELS)


def symbol_bits(symbol: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Bits of symbols under discretised logistics."""
    high, low = torch.sigmoid((symbol + 0.5 - mean) / scale), torch.sigmoid((symbol - 0.5 - mean) / scale)
    high = torch.where(symbol > LEVELS - 0.5, torch.ones_like(high), high)
    low = torch.where(symbol < 0.5 - LEVELS, torch.zeros_like(low), low)
    return -torch.log2((high - low).clamp_min(1e-5))


class Refiner(nn.Module):
    """eq. 26, 27: a noisy picture of both sides and the features of s3 to the sharp one, at 72 x 48 x 4."""

    def __init__(self, features: int, width: int = 40):
        super().__init__()
        self.enter = conv(4 * 6 + 4 * MAP_CHANNELS + features + 1, width, 1)
        self.fine = Residual(width)
        self.down = Down(width, 2 * width, 2)
        self.up = Up(2 * width, width)
        final = conv(width, 24, 1)
        self.last = nn.Sequential(Residual(width), nn.SiLU(), final)
        with torch.no_grad():
            final.weight.mul_(0.1)

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
        self.condition = Pyramid(CONDITION_CHANNELS + GIVEN_CHANNELS, w)
        self.attributes = nn.Linear(ATTRIBUTES, w[0])
        self.analysis = Pyramid(PICTURE_CHANNELS + CONDITION_CHANNELS, w, 2)
        self.post = nn.ModuleList(
            nn.Sequential(MapNorm(2 * w[k]), conv(2 * w[k], w[k], 1), nn.SiLU(), MapNorm(w[k]), conv(w[k], DIMS[k], 1))
            for k in range(3)
        )
        self.priors = nn.ModuleList(Prior(DIMS[k - 1] if k else 0, DIMS[k], len(PARTS)) for k in range(3))
        self.mixtures = nn.ModuleList(TokenMixture(DIMS[k], w[k], w[k], c.components) for k in range(3))
        self.start = conv(w[0], w[0], 1)
        self.ups = nn.ModuleList(Up(w[k], w[k + 1]) for k in range(3))
        self.gates = nn.ModuleList(Gate(w[k], 2 * w[k]) for k in range(3))
        self.levels = nn.ModuleList(Residual(w[k], 1 if k == 0 else 3) for k in range(3))
        self.place = nn.ParameterList([nn.Parameter(0.02 * torch.randn(1, h * v, w[1])) for h, v in GRIDS[:2]])
        self.widen = nn.Linear(w[0], w[1])
        self.blocks = nn.ModuleList(Block(w[1], c.heads, 2.0, False) for _ in range(c.blocks))
        self.bias = GeneratedBias(w[1], c.heads, gain=1.0)
        self.seen_together, self.exchanged = nn.LayerNorm(w[1]), conv(w[1], w[1], 1)
        self.join = conv(2 * w[3], w[3])
        self.last = Residual(w[3])
        self.out = conv(w[3], 4 * OUT_CHANNELS, 1)
        self.refiner = Refiner(w[3])
        with torch.no_grad():
            self.out.weight.mul_(0.3)
            self.exchanged.weight.mul_(0.1)
            for *_, last in self.post:  # type: ignore[misc]  # symbols of every size from the first step on
                last.weight.mul_(1.7)
        for k, (h, v) in enumerate(GRIDS):
            self.register_buffer(f"first{k}", checkerboard(h, v), persistent=False)

    def forward(
        self, picture: Tensor, condition: Tensor, given: Tensor, attributes: Tensor, parts: list[Tensor],
        keep: list[Tensor], valid: list[Tensor], noise: float = 0.0, free: bool = False,
    ) -> dict:  # fmt: skip
        """Both ends at once, with what tokens cost. picture [B, 5, 144, 96] (rgb, silhouette, depth, each - .5),
        condition [B, 15, 144, 96], given [B, 7, 144, 96] (front and back rgb - .5, and 1 where the front is a picture),
        attributes [B, 17]; on each grid parts [B, 10, h, w], depths, keep and valid [B, 1, h, w]: cells that are sent,
        and that may be; free: bits teach the priors alone, not the symbols."""
        cond, state = self.conditions(condition, given, attributes)
        seen = self.analysis(torch.cat([picture, condition], 1))
        bits, symbols, mixed = [], [], []
        coarser, beyond = None, picture.new_zeros(())
        for k in range(3):
            wanted = self.message(k, seen, state)
            beyond = beyond + (F.relu(wanted.abs() - LEVELS + 1).square() * valid[k]).mean()
            smooth = bounded(wanted)
            symbol = (smooth + (torch.round(smooth) - smooth).detach()) * valid[k]
            sent = symbol * keep[k]
            known = torch.cat([parts[k] / DEPTHS - 1, given[:, COLORS:, :1, :1].expand(-1, -1, *parts[k].shape[2:])], 1)
            before = [None if x is None else x.detach() if free else x for x in (coarser, sent)]
            mean, scale = self.priors[k](before[0], known, before[1], getattr(self, f"first{k}"))
            probe = (smooth + torch.rand_like(smooth) - 0.5).clamp(-LEVELS, LEVELS) if self.training else symbol
            probe = probe.detach() if free else probe
            bits.append((symbol_bits(probe, mean, scale) * valid[k]).sum(1, keepdim=True))
            symbols.append(symbol)
            state, weight = self.level(k, state, cond, sent, keep[k], noise)
            mixed.append(weight)
            coarser = torch.cat([sent, keep[k]], 1)
        found = {"bits": bits, "symbols": symbols, "weights": mixed, "beyond": beyond}
        return {**found, **self.sides(state, cond, given)}

    def conditions(self, condition: Tensor, given: Tensor, attributes: Tensor) -> tuple[list[Tensor], Tensor]:
        """Features of what is known before the tokens, on all grids, and the state s_0."""
        cond = self.condition(torch.cat([condition, given], 1))
        cond[0] = cond[0] + self.attributes(attributes)[..., None, None]
        return cond, self.start(F.silu(cond[0]))

    def message(self, k: int, seen: list[Tensor], state: Tensor) -> Tensor:
        """What the sender has to say on a grid to somebody who is in a state, [B, D, h, w], see `bounded`."""
        return self.post[k](torch.cat([F.silu(seen[k]), F.silu(state)], 1)).float()

    def level(
        self, k: int, state: Tensor, cond: list[Tensor], sent: Tensor, keep: Tensor, noise: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """One recurrent level (eq. 22): the state after the tokens of a grid, on the next finer one, and the weights of
        the mixture."""
        z, weight = self.mixtures[k](torch.cat([sent / 2, keep], 1), cond[k], noise)
        state = self.levels[k](self.gates[k](state, torch.cat([z, cond[k]], 1)))
        return self.ups[k](self.attend(state, cond) if k == 1 else state), weight

    def sides(self, state: Tensor, cond: list[Tensor], given: Tensor) -> dict[str, Tensor]:
        """s_3 (eq. 23) as maps [B, 9, H, W], "coarse", and as features; and how much of the front is given."""
        fine = self.last(self.join(F.silu(torch.cat([state, cond[3]], 1))))
        out = F.pixel_shuffle(self.out(F.silu(fine)).float(), 2)
        share = (out[:, MAP_CHANNELS:] + STAYS).sigmoid()
        own = out[:, :COLORS]
        colors = own + share.repeat_interleave(3, 1) * (given[:, :COLORS] - own)
        return {"coarse": torch.cat([colors, out[:, COLORS:MAP_CHANNELS]], 1), "features": fine, "share": share}

    def attend(self, state: Tensor, cond: list[Tensor]) -> Tensor:
        """eq. 24, 25: cells of two scales look at each other, so that what is seen here is told there; where a cell
        looks depends on the parts of the body that both show, too."""
        wide = to_tokens(F.avg_pool2d(state, 2)) + self.widen(to_tokens(cond[0]))
        count = wide.shape[1]
        x = torch.cat([wide + self.place[0], to_tokens(state) + self.place[1]], 1)
        shown = torch.cat([to_tokens(F.avg_pool2d(cond[1], 2)), to_tokens(cond[1])], 1)
        bias = self.bias(shown)
        for block in self.blocks:
            x = block(x, bias)
        x = self.seen_together(x)
        around = F.interpolate(to_map(x[:, :count], GRIDS[0][0]), scale_factor=2.0)
        return state + self.exchanged(to_map(x[:, count:], GRIDS[1][0]) + around)

    def refine(self, coarse: Tensor, features: Tensor, noisy: Tensor, level: Tensor) -> Tensor:
        """Sharp colours [B, 6, H, W] from noisy ones."""
        return coarse[:, :6] + self.refiner(noisy, coarse, features, level).float()


def part_grids(depths: Tensor) -> list[Tensor]:
    """Depths in the parts of the body [B, parts, 36, 24], see `capsules.Capsules`, on every grid [B, parts, h, w]."""
    return [F.max_pool2d(depths, GRIDS[-1][0] // h) if h < GRIDS[-1][0] else depths for h, _ in GRIDS]


def token_cells(parts: list[Tensor]) -> list[Tensor]:
    """Cells [B, 1, h, w] of every grid that may have tokens."""
    return [(p.amax(1, True) >= MIN_DEPTH).float() for p in parts]
