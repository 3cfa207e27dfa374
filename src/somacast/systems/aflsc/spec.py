"""AFLSC as everything outside of this folder sees it; what it needs is imported when it is called."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from somacast.systems.aflsc.config import VARIANTS, AflscConfig
from somacast.systems.spec import Inputs, Kind, LiveSpec, Study, SystemSpec, Trainer
from somacast.weights.sessions import open_ahead

if TYPE_CHECKING:
    from somacast.systems.aflsc.live.body import AflscBody
    from somacast.systems.aflsc.live.coder import AflscFrameCoder
    from somacast.systems.aflsc.live.tracker import Tracker
    from somacast.systems.aflsc.receiver.decoder import Decoder
    from somacast.systems.aflsc.sender.encoder import Encoder
    from somacast.types import Payload

_TRAINING = "somacast.systems.aflsc.training"
# In the order of their use. They are opened while what uses them is imported, so that their names stand here.
_SENDER_NETWORKS = ("aflsc_sender.onnx", "detector.onnx", "landmarks.onnx")


def _encoder(config: AflscConfig, device: str) -> Encoder:
    if device == "cpu" and config.weights is None:
        open_ahead(*_SENDER_NETWORKS)
    from somacast.systems.aflsc.sender.encoder import Encoder

    return Encoder(device, config.weights, config.encoder)


def _decoder(config: AflscConfig, device: str) -> Decoder:
    from somacast.systems.aflsc.receiver.decoder import Decoder

    return Decoder(device, config.weights, config.decoder)


def _weights_digest() -> bytes:
    from somacast.systems.aflsc.networks.loading import load_tables

    return load_tables().codec.digest


def _describe(payload: Payload) -> dict[str, Any]:
    from somacast.systems.aflsc.labels.describe import describe

    return describe(payload)


def _tracker(config: AflscConfig, device: str, careful: bool) -> Tracker:
    from somacast.systems.aflsc.live.tracker import Tracker

    return Tracker(device, mirrored=careful)


def _coder() -> AflscFrameCoder:
    from somacast.systems.aflsc.live.coder import AflscFrameCoder

    return AflscFrameCoder()


def _body(decoder: Decoder, payload: Payload | None, look: Payload | None = None) -> AflscBody:
    from somacast.systems.aflsc.live.body import AflscBody

    return AflscBody(decoder, payload, look)


def _textured(config: AflscConfig, texture_px: int) -> AflscConfig:
    return replace(config, decoder=replace(config.decoder, texture_px=texture_px))


SPEC = SystemSpec(
    name="aflsc",
    title="AFLSC",
    inputs=Inputs("mono"),
    outputs=frozenset({Kind.MESH, Kind.SKELETON, Kind.RIG}),
    config=AflscConfig,
    variants=VARIANTS,
    encoder=_encoder,
    decoder=_decoder,
    weights_digest=_weights_digest,
    describe=_describe,
    textured=_textured,
    live=LiveSpec(_tracker, _coder, _body),
    trainers={
        "all": Trainer(f"{_TRAINING}.config:TrainConfig", f"{_TRAINING}.recipe:main", "all networks, from nothing"),
        "sender": Trainer(
            f"{_TRAINING}.config:SenderConfig",
            f"{_TRAINING}.sender:main",
            "the sender's networks, from those that ship",
        ),
        "looks": Trainer(
            f"{_TRAINING}.config:LooksConfig", f"{_TRAINING}.looks.run:main", "the look tokens, from nothing"
        ),
        "ablations": Trainer(
            f"{_TRAINING}.config:AblationConfig",
            f"{_TRAINING}.ablations:main",
            "variants of a finished run with one idea taken away from each",
        ),
        "motion": Trainer(f"{_TRAINING}.config:MotionRecipe", f"{_TRAINING}.motion:main", "tables of the motion coder"),
    },
    studies={
        "ablations": Study(
            "somacast.systems.aflsc.ablation.config:AblateConfig",
            "somacast.systems.aflsc.ablation.measure:study",
            "what each idea of the paper is worth, and where the bits go",
        ),
        "sides": Study(
            "somacast.systems.aflsc.ablation.config:SidesConfig",
            "somacast.systems.aflsc.ablation.sides:study",
            "what front, back and depth of a person would bring, the truth in place of tokens",
        ),
        "chain": Study(
            "somacast.systems.aflsc.ablation.config:ChainConfig",
            "somacast.systems.aflsc.ablation.chain:study",
            "how much worse people become without each part of the chain",
        ),
        "allocation": Study(
            "somacast.systems.aflsc.ablation.config:AllocationConfig",
            "somacast.systems.aflsc.ablation.allocation:study",
            "how well importance spends the bytes of look tokens, against a search that knows the truth",
        ),
    },
)
