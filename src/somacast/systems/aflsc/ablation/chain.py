"""`somacast bench study aflsc chain`: people from files of the same bytes with one part of the chain taken away.

A part that carries weight makes people worse when it goes. What needs another training is measured elsewhere
(`somacast bench study aflsc ablations`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from somacast.bitstream.container import packed_bytes
from somacast.errors import SomacastError
from somacast.extras import require
from somacast.metrics.protocol import Reference
from somacast.metrics.statistics import bootstrap_interval
from somacast.synthetic.datasets.loaders import EvalItem, load_items, truth_of
from somacast.systems.aflsc.ablation.coding import mean_over_actions
from somacast.systems.aflsc.ablation.config import ChainConfig
from somacast.systems.aflsc.ablation.show import CHAIN_FIGURES, print_chain
from somacast.systems.aflsc.config import DecoderConfig, EncoderConfig
from somacast.systems.aflsc.labels.codec import SYSTEM
from somacast.systems.aflsc.labels.layout import DEPTH_OFFSET_M
from somacast.systems.aflsc.look_tokens.importance import TokenImportance
from somacast.systems.aflsc.look_tokens.runner import LookReader
from somacast.systems.aflsc.look_tokens.stream import TokenCoder
from somacast.systems.aflsc.receiver.decoder import Decoder
from somacast.systems.aflsc.sender.encoder import Encoder
from somacast.systems.aflsc.sender.look import Look
from somacast.types import Payload

WHOLE = "everything"
SENT = EncoderConfig(tokens=True, token_overlap=1.0)  # whether the product would send tokens or not
RUN = DecoderConfig(networks=True)
Feed = dict[str, np.ndarray]


class Altered:
    """A network whose inputs or outputs are changed on their way."""

    def __init__(
        self, session: Any, feed: Callable[[Feed], Feed] = lambda feed: feed,
        found: Callable[[Feed, list], list] = lambda _, found: found,
    ):  # fmt: skip
        self.session, self.feed, self.found = session, feed, found

    def run(self, names: list[str], feed: Feed) -> list:
        """As of an ONNX Runtime session."""
        return self.found(feed, self.session.run(names, self.feed(feed)))


class Foreign:
    """Gives each person the tokens of the one before, on the cells of their own."""

    def __init__(self) -> None:
        self.before: Feed = {}
        self.now: Feed = {}

    def __call__(self, feed: Feed) -> Feed:
        sent = {k: v for k, v in feed.items() if k.startswith("sent")}
        if not self.now or any(not np.array_equal(v, self.now[k]) for k, v in sent.items()):
            self.before, self.now = self.now or sent, sent
        return feed | {k: v * feed[k.replace("sent", "kept")] for k, v in self.before.items()}


def silent(feed: Feed) -> Feed:
    """Tokens that came and say nothing."""
    return feed | {k: np.zeros_like(v) for k, v in feed.items() if k.startswith("sent")}


def absent(feed: Feed) -> Feed:
    """No tokens."""
    return feed | {k: np.zeros_like(v) for k, v in feed.items() if k.startswith(("sent", "kept"))}


def coarser(feed: Feed) -> Feed:
    """Tokens without those of the finest grid."""
    return feed | {k: np.zeros_like(feed[k]) for k in ("sent2", "kept2")}


def smooth(feed: Feed, found: list) -> list:
    """The colours before the diffusion."""
    return [feed["coarse"][:, : found[0].shape[1]]]


@dataclass(frozen=True)
class Part:
    """name: what is taken away; equations: of the paper; config: of a decoder without it; reader: the look reader
    without it; coder: that of tokens at both ends without it; encoder: the sender without it; look: what the sender saw
    without it."""

    name: str
    equations: str
    config: DecoderConfig | None = None
    reader: Callable[[LookReader], LookReader] | None = None
    coder: Callable[[TokenCoder], TokenCoder] | None = None
    encoder: EncoderConfig | None = None
    look: Callable[[Look], Look] | None = None


def _depthless(look: Look) -> Look:
    return replace(look, out=look.out | {"depth": np.full_like(look.out["depth"], DEPTH_OFFSET_M)})


def _fed(change: Callable[[Feed], Feed]) -> Callable[[LookReader], LookReader]:
    return lambda reader: replace(reader, session=Altered(reader.session, change))


def _torch(change: str) -> Callable[[LookReader], LookReader]:
    def changed(reader: LookReader) -> LookReader:
        require("torch", "parts within the networks")
        from somacast.systems.aflsc.ablation.torch_parts import without

        return replace(reader, session=without(change))

    return changed


def parts() -> list[Part]:
    """All that is taken away, in the order of the paper."""
    return [
        Part("the picture", "1-7", encoder=replace(SENT, picture=False)),
        Part("the sender's depth", "4, 5", look=_depthless),
        Part("tokens", "8-13", encoder=replace(SENT, tokens=False)),
        Part("what tokens say", "8-13", reader=_fed(silent)),
        Part("that tokens came", "8-13", reader=_fed(absent)),
        Part("the receiver's networks", "19-27", config=replace(RUN, networks=False)),
        Part("whose tokens they are", "8-13", reader=_fed(Foreign())),
        Part("importance", "14", coder=without_importance),
        Part("the mixture's weights", "19, 20", reader=_torch("weights")),
        Part("all components but one", "20, 21", reader=_torch("components")),
        Part("what levels remember", "22", reader=_torch("memory")),
        Part("tokens of the finest grid", "22", reader=_fed(coarser)),
        Part("the multi-scale ViT", "24", reader=_torch("vit")),
        Part("the generated bias", "25", reader=_torch("bias")),
        Part("diffusion", "26, 27", reader=lambda r: replace(r, refiner=Altered(r.refiner, found=smooth))),
        Part("diffusion but two steps", "26, 27", reader=lambda r: replace(r, steps=2)),
        Part("diffusion but four steps", "26, 27", reader=lambda r: replace(r, steps=4)),
        Part("the mean (noise is drawn)", "21, 26", reader=lambda r: replace(r, steps=4, seed=0)),
        Part("our steps for the printed ones", "26, 27", config=replace(RUN, literal=True, steps=4)),
        Part("the front's change", "28", config=replace(RUN, front=False)),
        Part("the side behind", "28", config=replace(RUN, back=False)),
        Part("depths", "28", config=replace(RUN, depth=False)),
    ]


def without_importance(coder: TokenCoder) -> TokenCoder:
    """Every cell alike, but for the order in which equal ones go."""
    plain = TokenImportance.plain(len(coder.importance.embeddings))
    return replace(coder, importance=replace(plain, tau=np.full_like(plain.tau, 256)))


class Chain:
    """Senders and receivers, whole and without each part."""

    def __init__(self, device: str):
        self.sender, self.decoder = Encoder(device, config=SENT), Decoder(device, config=RUN)
        self.device = device
        self.without = {part.name: self._made(part) for part in parts()}

    def _made(self, part: Part) -> tuple[Part, Encoder, Decoder]:
        encoder, decoder = self.sender, self.decoder
        if part.encoder is not None:
            encoder = copy.copy(encoder)
            encoder.config = part.encoder
        if part.config is not None:
            decoder = Decoder(self.device, config=part.config)
        if part.reader is not None or part.coder is not None:
            reader = self.decoder.look_receiver.reader
            reader = reader if part.reader is None else part.reader(reader)
            reader = reader if part.coder is None else replace(reader, coder=part.coder(reader.coder))
            decoder, receiver = copy.copy(decoder), replace(decoder.look_receiver)
            receiver.__dict__["reader"], decoder.__dict__["look_receiver"] = reader, receiver
        if part.coder is not None:
            writer = self.sender.look_sender.writer
            encoder, look_sender = copy.copy(encoder), replace(encoder.look_sender)
            look_sender.__dict__["writer"] = replace(writer, coder=part.coder(writer.coder))
            encoder.__dict__["look_sender"] = look_sender
        return part, encoder, decoder

    def people(self, item: EvalItem, budget_bytes: int) -> Iterator[tuple[str, int, Any]]:
        """Name of what was taken away, bytes and person, everything first."""
        values, _, look = self.sender.see(item.capture())
        usual = self._layers(self.sender, item, look, values, budget_bytes)
        yield WHOLE, _size(usual), self.decoder.decode(Payload(SYSTEM, self.decoder.codec.digest, usual))
        for name, (part, encoder, decoder) in self.without.items():
            layers = usual
            if encoder is not self.sender or part.look is not None:
                seen = look if part.look is None else part.look(look)
                layers = self._layers(encoder, item, seen, values, budget_bytes)
            yield name, _size(layers), decoder.decode(Payload(SYSTEM, decoder.codec.digest, layers))

    def _layers(self, encoder: Encoder, item: EvalItem, look: Look, values: np.ndarray, budget: int) -> list[bytes]:
        found = encoder.looked(item.frame, look, values, budget, 0)
        return found or encoder.labelled(item.frame, look, values, budget, 0)


def _size(layers: list[bytes]) -> int:
    return packed_bytes(SYSTEM, [*map(len, layers)])


def study(config: ChainConfig) -> dict[str, Any]:
    """Measure, print the table; results, for bench/results.py to write. SomacastError if nobody came through."""
    from rich.console import Console
    from rich.progress import track

    chain = Chain(config.device)
    rows: dict[int, dict[str, list[dict[str, Any]]]] = {budget: {} for budget in config.budgets}
    failures = []
    items = load_items(config.data, "synthetic", config.people, config.assets, config.seed)
    for item in track(items, "chain", config.people, console=Console(stderr=True)):
        try:
            reference = Reference(truth_of(item), config.protocol, perceptual=True)
            for budget in config.budgets:
                for name, size, person in chain.people(item, budget):
                    found = reference.compare(person)
                    row = {"action": item.action, "bytes": size, **{k: found[k] for k in CHAIN_FIGURES}}
                    rows[budget].setdefault(name, []).append(row)
        except SomacastError as fault:
            failures.append({"name": item.name, "action": item.action, "message": str(fault)})
    if not any(rows.values()):
        raise SomacastError(f"none of {config.people} people came through: {failures[0]['message']}")
    equations = {WHOLE: "", **{part.name: part.equations for part in parts()}}
    tables = {str(budget): _table(found, equations) for budget, found in rows.items()}
    print_chain(tables)
    return {"results": {"people": config.people, "failures": failures, "tables": tables, "rows": rows}}


def _table(rows: Mapping[str, list[dict[str, Any]]], equations: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Means of each variant, and how much worse than everything it is, with 95 % intervals over the same people."""
    out = {}
    for name, found in rows.items():
        worse = {}
        for figure in CHAIN_FIGURES:
            gaps = [b[figure] - a[figure] for a, b in zip(rows[WHOLE], found, strict=True)]
            worse[figure] = [float(np.mean(gaps)), *bootstrap_interval([gaps])]
        out[name] = {"equations": equations[name], **mean_over_actions(found), "difference": worse}
    return out
