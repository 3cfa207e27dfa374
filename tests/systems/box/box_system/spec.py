"""A person is a box in the mean colours of the picture: the smallest system. docs/adding_a_system.md explains it."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from somacast.bitstream.packets import TICK_SPAN, Motion
from somacast.errors import BitstreamError, SomacastError
from somacast.geometry.reconstruction import Reconstruction
from somacast.systems.spec import Inputs, Kind, LiveSpec, ReceivedFrame, SystemSpec, Trainer
from somacast.types import Capture, Encoded, Mesh, Payload

FACES = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
                  [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]], np.int32)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """grey: without colours."""

    grey: bool = False


@dataclass(frozen=True)
class Training:
    """Nothing is learnt, but it can be asked for.

    Example: somacast train box --out here
    """

    out: Path = Path("box")
    """folder for the result"""


def train(config: Training) -> None:
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "box.txt").write_text("a box\n")


class Box:
    """Both halves, live and not. Layer 0: mean colour and height in centimetres; layer 1: upper and lower colour."""

    rig, system, digest, notes, unreferenced = None, "box", b"box", [], 0
    circular, scale = np.zeros(2, bool), np.ones(2)

    def __init__(self, config: Config = Config(), device: str = "cpu", *_):
        self.config, self.layers = config, [bytes([128, 128, 128, 170])]

    def encode(self, capture: Capture, budget_bytes: int | None = None, network_state: int = 0) -> Encoded:
        image = capture.frame.image
        if image.std() == 0:
            raise SomacastError("no person in the picture: expected one of more than one colour")
        upper, lower = (np.round(255 * half.mean((0, 1))) for half in np.array_split(image, 2))
        height_cm = round(100 * (capture.height_m or 1.7))
        layers = [
            bytes([*((upper + lower) / 2).astype(np.uint8), height_cm]),
            bytes([*upper.astype(np.uint8), *lower.astype(np.uint8)]),
        ]
        small = budget_bytes is not None and budget_bytes < 36
        return Encoded(layers[: 1 if small or network_state > 200 else 2], {"attributes": {"shape": "box"}})

    def decode(self, payload: Payload) -> Reconstruction:
        if len(payload.layers[0]) != 4 or any(len(layer) != 6 for layer in payload.layers[1:]):
            raise BitstreamError("box: expected layers of 4 and 6 bytes")
        height = payload.layers[0][3] / 100
        corners = np.array([[x, y, z] for y in (1, -1) for x in (-0.25, 0.25) for z in (-0.15, 0.15)], np.float32)
        finer = payload.layers[1] if len(payload.layers) > 1 else payload.layers[0][:3] * 2
        colors = np.repeat(np.frombuffer(finer, np.uint8).reshape(2, 3), 4, 0).astype(np.float32) / 255
        colors = np.full_like(colors, 0.5) if self.config.grey else colors
        return Reconstruction(Mesh(corners * [1, height / 2, 1], FACES, colors))

    def look(self, capture: Capture, time_s: float) -> SimpleNamespace:
        dark = 1 - capture.frame.image.mean(2)
        place = np.array([(dark.mean(0) * np.linspace(-1, 1, dark.shape[1])).sum() / dark.mean(0).sum(), time_s % 1])
        return SimpleNamespace(moving=place, capture=capture)

    def learn(self, seen: SimpleNamespace, time_s: float) -> Encoded:
        return self.encode(seen.capture)

    def warm_up(self) -> None: ...

    # between: every frame as two half floats, so that each packet stands for itself
    def encoder(self):
        return SimpleNamespace(encode=lambda ticks, values, person=0, **_: Motion(
            person, ticks[0] % TICK_SPAN, ticks[1] - ticks[0] if len(ticks) > 1 else 4, len(ticks), 0, 0, 0,
            np.asarray(values, np.float16).tobytes()))  # fmt: skip

    def decoder(self):
        return SimpleNamespace(unreferenced=0, decode=self._frames)

    def _frames(self, motion: Motion, tick: int) -> list[ReceivedFrame]:
        if len(motion.payload) != 4 * motion.count:
            raise BitstreamError("box: expected four bytes a frame")
        values = np.frombuffer(motion.payload, np.float16).reshape(-1, 2).astype(np.float64)
        return [ReceivedFrame(tick + k * motion.step, row, True) for k, row in enumerate(values)]

    def values(self, payload: Payload) -> np.ndarray:
        return np.zeros(2)

    def missing(self, payload: Payload | None) -> dict[str, int]:
        return {} if payload else {"colours": 2}

    def compression(self, values: np.ndarray, network_state: int) -> dict[str, float]:
        return {}

    def rehearse(self, rotations: np.ndarray, pelvis_m: np.ndarray) -> tuple[np.ndarray, Encoded]:
        return pelvis_m[:, :2], Encoded(self.layers)

    def reconstruct(self, values: np.ndarray) -> Reconstruction:
        return self.decode(Payload("box", self.digest, self.layers)).translated(np.array([values[0], 0, 0]))


def body(decoder: Box, payload: Payload | None) -> Box:
    made = Box(decoder.config)
    made.layers = payload.layers if payload else made.layers
    made.decode(Payload("box", b"box", made.layers))
    return made


SPEC = SystemSpec(
    name="box", title="Box", inputs=Inputs("mono"), outputs=frozenset({Kind.MESH}), config=Config,
    encoder=Box, decoder=Box, variants={"grey": replace(Config(), grey=True)}, weights_digest=lambda: b"box",
    describe=lambda payload: {"height_cm": payload.layers[0][3]},
    live=LiveSpec(tracker=Box, coder=Box, body=body),
    trainers={"all": Trainer("box_system.spec:Training", "box_system.spec:train", "writes a file")},
)  # fmt: skip
