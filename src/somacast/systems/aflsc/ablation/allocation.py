"""`somacast bench study aflsc allocation`: does the rule of eq. 14 and 17 spend the tokens' bytes well?

At the bytes that a file leaves for tokens, the rule's choice of cells is held against that of a Lagrangian search which
sees what no receiver sees, the truth: cells by what they gain for a bit, found by gradients and looked at again and
again. The distortion is the perceptual error of both sides as the receiver paints them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from somacast.errors import SomacastError
from somacast.metrics.statistics import bootstrap_interval
from somacast.synthetic.datasets.loaders import EvalItem, load_items
from somacast.systems.aflsc.ablation.chain import SENT
from somacast.systems.aflsc.ablation.config import AllocationConfig
from somacast.systems.aflsc.ablation.show import print_allocation
from somacast.systems.aflsc.ablation.sides import true_sides
from somacast.systems.aflsc.ablation.torch_parts import shipped_codec
from somacast.systems.aflsc.labels.codec import SYSTEM
from somacast.systems.aflsc.look_tokens.capsules import HEIGHT_PX, WIDTH_PX
from somacast.systems.aflsc.look_tokens.runner import Known
from somacast.systems.aflsc.networks.looks import COLORS, GRIDS, LookCodec
from somacast.systems.aflsc.picture_layer.show import Shown
from somacast.systems.aflsc.sender.encoder import Encoder
from somacast.systems.aflsc.training.looks.losses import BEHIND, composed
from somacast.systems.aflsc.training.looks.perceptual_loss import PerceptualLoss
from somacast.types import Payload

LOOKS_AGAIN = 6
HIGHEST_PRICE = 1e6  # of a bit, at which no cell is worth it
Masks = list[np.ndarray]  # cells [h, w] bool of each grid


@dataclass
class Painted:
    """Somebody as the receiver paints them from any choice of cells, beside the truth."""

    codec: LookCodec
    perceptual: PerceptualLoss
    known: Known
    symbols: Sequence[np.ndarray]
    truth: tuple[Tensor, Tensor]

    def error(self, kept: Sequence[Tensor]) -> Tensor:
        """With masks [1, 1, h, w] of what is sent, in [0, 1]."""
        feed = {name: torch.from_numpy(array) for name, array in self.known.feed.items()}
        cond, state = self.codec.conditions(feed["condition"], feed["given"], feed["attributes"])
        for k, (values, mask) in enumerate(zip(self.symbols, kept, strict=True)):
            state, _ = self.codec.level(k, state, cond, torch.from_numpy(values)[None].float() * mask, mask)
        found = self.codec.sides(state, cond, feed["given"])
        coarse = found["coarse"]
        sharp = self.codec.refine(coarse, found["features"], coarse[:, :COLORS], torch.ones(1, 1, 1, 1))
        front, back, _ = composed(torch.cat([sharp, coarse[:, COLORS:]], 1))
        return (self.perceptual(self.truth[0], front) + BEHIND * self.perceptual(self.truth[1], back)).sum()

    def of(self, masks: Masks) -> float:
        """The error of a choice."""
        with torch.no_grad():
            return float(self.error([_tensor(mask) for mask in masks]))

    def gains(self, masks: Masks) -> list[np.ndarray]:
        """What a little more of each cell would take off the error, [h, w] of each grid."""
        kept = [_tensor(mask).requires_grad_() for mask in masks]
        return [-g.numpy()[0, 0] for g in torch.autograd.grad(self.error(kept), kept)]


def _tensor(mask: np.ndarray) -> Tensor:
    return torch.from_numpy(mask[None, None].astype(np.float32))


def chosen(gains: Sequence[np.ndarray], bits: Sequence[np.ndarray], valid: Masks, room_bits: float) -> Masks:
    """Cells that gain most in room_bits: every cell whose gain, with that of the cells in it, is worth a price a
    bit. All of the coarsest grid are sent, and no cell without the coarser ones around it."""
    low, high = 0.0, 1e-6
    fits = lambda masks: sum(float(b[m].sum()) for b, m in zip(bits, masks, strict=True)) <= room_bits  # noqa: E731

    def at(price: float) -> Masks:
        fine = gains[2] - price * bits[2]
        fine = np.where(valid[2], np.maximum(fine, 0), 0)
        rows, columns = GRIDS[1]
        inside = fine.reshape(rows, 2, columns, 2).sum((1, 3))
        middle = valid[1] & (gains[1] - price * bits[1] + inside > 0)
        return [valid[0], middle, (fine > 0) & middle.repeat(2, 0).repeat(2, 1)]

    while not fits(at(high)) and high < HIGHEST_PRICE:
        low, high = high, 4 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(at(middle)) else (middle, high)
    return at(high)


def searched(person: Painted, bits: Sequence[np.ndarray], valid: Masks, start: Masks) -> Masks:
    """The best choice found in the bits of `start`, from there on and from all cells on."""
    room = sum(float(b[m].sum()) for b, m in zip(bits, start, strict=True))
    best, least = start, person.of(start)
    for first in (valid, start):
        gains = person.gains(first)
        for _ in range(LOOKS_AGAIN):
            masks = chosen(gains, bits, valid, room)
            error = person.of(masks)
            if error < least:
                best, least = masks, error
            gains = [(a + b) / 2 for a, b in zip(gains, person.gains(masks), strict=True)]
    return best


def by_chance(rng: np.random.Generator, bits: Sequence[np.ndarray], valid: Masks, start: Masks) -> Masks:
    """Cells drawn with even chances in as many bits."""
    room = sum(float(b[m].sum()) for b, m in zip(bits, start, strict=True))
    return chosen([rng.random(b.shape) * b.mean() for b in bits], bits, valid, room)


def compare(
    item: EvalItem, sender: Encoder, tools: tuple[LookCodec, PerceptualLoss], budget: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Error of the rule's choice and of others in the same bits; SomacastError if nothing of the budget is for
    tokens."""
    values, _, look = sender.see(item.capture())
    layers = sender.looked(item.frame, look, values, budget, 0) or []
    behind = sender.codec.look(Payload(SYSTEM, sender.codec.digest, layers))
    if "tokens" not in behind:
        raise SomacastError(f"{item.name}: expected room for tokens in {budget} bytes")
    space, writer = sender.space, sender.look_sender.writer
    sent = space.vocabulary.dequantise(sender.codec.symbols(layers)[None])[0][0]
    before = [behind[name] for name in ("warp", "picture", "face") if name in behind]
    known = Known.of(sent, space, Shown.of(space.state(sent), space, before) if before else None)
    coder, grids, stream = writer.coder, known.grids, behind["tokens"]
    symbols = writer.symbols(item.frame, look, known)
    _, rule = coder.decode(stream, grids, known.pictured)
    bits = coder.bits(symbols, grids, 0, known.pictured)
    sides = true_sides(item, known.capsules.canvas, item.frame.lens, WIDTH_PX, HEIGHT_PX)
    cover = sides.cover[..., None]
    truth = [torch.from_numpy((x * cover + 0.5 * (1 - cover)).transpose(2, 0, 1)[None]).float()
             for x in (sides.front, sides.back)]  # fmt: skip
    person = Painted(*tools, known, symbols, (truth[0], truth[1]))
    valid = grids.valid
    masks = {
        "rule": rule,
        "search": searched(person, bits, valid, rule),
        "chance": by_chance(rng, bits, valid, rule),
        "everything": valid,
        "nothing": [np.zeros_like(mask) for mask in valid],
    }
    return {"name": item.name, "bytes": len(stream), **{name: person.of(mask) for name, mask in masks.items()}}


def study(config: AllocationConfig) -> dict[str, Any]:
    """Measure, print the table; results, for bench/results.py to write. SomacastError if nobody came through."""
    from rich.console import Console
    from rich.progress import track

    sender = Encoder(config.device, config=SENT)
    tools, rng = (shipped_codec(), PerceptualLoss()), np.random.default_rng(config.seed)
    rows: dict[str, list[dict[str, Any]]] = {str(budget): [] for budget in config.budgets}
    failures = []
    items = load_items(config.data, "synthetic", config.people, config.assets, config.seed)
    for item in track(items, "allocation", config.people, console=Console(stderr=True)):
        try:
            for budget in config.budgets:
                rows[str(budget)].append(compare(item, sender, tools, budget, rng))
        except SomacastError as fault:
            failures.append({"name": item.name, "action": item.action, "message": str(fault)})
    if not all(rows.values()):
        raise SomacastError(f"none of {config.people} people came through: {failures[0]['message']}")
    tables = {budget: _summary(found) for budget, found in rows.items()}
    print_allocation(tables)
    return {"results": {"people": config.people, "failures": failures, "tables": tables, "rows": rows}}


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means, and how far the rule and chance are above the search, with 95 % intervals."""
    names = ("bytes", "rule", "search", "chance", "everything", "nothing")
    out: dict[str, Any] = {name: float(np.mean([row[name] for row in rows])) for name in names}
    for name in ("rule", "chance"):
        above = [row[name] / row["search"] - 1 for row in rows]
        out[f"{name}_above"] = [float(np.mean(above)), *bootstrap_interval([above])]
    return out
