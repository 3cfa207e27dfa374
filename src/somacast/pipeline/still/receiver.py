"""The receiver, whole on one screen: bitstream -> entropy -> semantics -> human.

bytes of a .soma file --container--> Payload --decoder of its system--> Reconstruction
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from somacast.bitstream import container
from somacast.errors import BitstreamError
from somacast.geometry.reconstruction import Reconstruction
from somacast.geometry.rig import Rig, in_tpose, rig_human
from somacast.systems import registry
from somacast.timing import StageClock
from somacast.types import Mesh, Payload


@dataclass
class ReceiverResult:
    """The person, what the user should be told, seconds by stage, and what arrived."""

    human: Reconstruction
    notes: list[str]
    stage_times_s: dict[str, float]
    payload: Payload

    def mesh(self) -> Mesh:
        """The person's mesh; SomacastError if this system gives another kind of person."""
        return self.human.surface()


def open_payload(data: bytes) -> tuple[Payload, list[str]]:
    """What a .soma file holds for a system that is here and has the right weights, and notes for the user.
    BitstreamError for everything else, before any network is loaded."""
    payload, notes = container.unpack(data)
    expected = registry.get(payload.system).spec.weights_digest()
    if payload.weights_digest != expected:
        raise BitstreamError(
            f"expected a stream made for weights {expected.hex()}, got one for {payload.weights_digest.hex()}"
            ": sender and receiver need the same version of the package"
        )
    return payload, notes


class Receiver:
    """Decodes files of any system; decoders are loaded when first met and kept. variants: NAME -> NAME:VARIANT, for
    decoders in another configuration than the default; texture_px: side of the textures, None for each system's own."""

    def __init__(self, device: str = "cpu", variants: dict[str, str] | None = None, texture_px: int | None = None):
        self.device, self.texture_px = device, texture_px
        self._variants = dict(variants or {})
        self._decoders: dict[str, Any] = {}

    def load(self, system: str) -> Any:
        """The loaded decoder of a system."""
        name = self._variants.get(system, system)
        if name not in self._decoders:
            self._decoders[name] = registry.get(name).textured(self.texture_px).decoder(self.device)
        return self._decoders[name]

    def decode(self, data: bytes) -> ReceiverResult:
        """The person in a .soma file; BitstreamError before any geometry if the file cannot be decoded."""
        clock = StageClock()
        with clock.stage("bitstream"):
            payload, notes = open_payload(data)
        with clock.stage("load"):
            decoder = self.load(payload.system)
        with clock.stage("human"):
            human = decoder.decode(payload)
        return ReceiverResult(human, [*notes, *human.info.get("notes", ())], clock.times_s, payload)

    def rig(self, result: ReceiverResult) -> tuple[Rig, list[str]]:
        """The person in the T-pose with a skeleton, and notes for the user: built so where the system can, else the
        mesh of the picture's pose bent into it. SomacastError for people without joints."""
        system = result.payload.system
        spec = registry.get(self._variants.get(system, system)).spec
        rig = spec.live.body(self.load(system), result.payload).rig if spec.live else None
        if rig is not None:
            return rig, []
        bent = f"system {system} builds no T-pose: the mesh is bent into it, and webs hang where limbs touched"
        return in_tpose(rig_human(result.human)), [bent]
