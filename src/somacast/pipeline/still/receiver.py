"""The receiver, whole on one screen: bitstream -> entropy -> semantics -> human.

bytes of a .soma file --unpack--> Semantics --decoder--> Human
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from somacast.bitstream import container
from somacast.errors import SomacastError
from somacast.systems import registry
from somacast.timing import StageClock
from somacast.types import Human, Mesh, Semantics


@dataclass
class ReceiverResult:
    """The person, what the user should be told, seconds by stage, and the labels that arrived."""

    human: Human
    notes: list[str]
    stage_times_s: dict[str, float]
    semantics: Semantics

    def mesh(self) -> Mesh:
        """The person's mesh; SomacastError if this system gives another kind of person."""
        if self.human.mesh is None:
            raise SomacastError(f"system {self.semantics.system} gives no mesh of this person; expected one that does")
        return self.human.mesh


class Receiver:
    """Decodes files of any system; decoders are loaded when first met and kept. `decoders`: loaded ones by system, for
    one with other options than those of the registry."""

    def __init__(self, device: str = "cpu", decoders: dict[str, Any] | None = None):
        self.device = device
        self._decoders: dict[str, Any] = dict(decoders or {})

    def load(self, system: str) -> Any:
        """The loaded decoder of a system."""
        if system not in self._decoders:
            self._decoders[system] = registry.get(system).decoder(self.device)
        return self._decoders[system]

    def decode(self, data: bytes) -> ReceiverResult:
        """The person in a .soma file; BitstreamError before any geometry if the file cannot be decoded."""
        clock = StageClock()
        with clock.stage("bitstream"):
            system = container.unpack(data)[0].system
            semantics, notes = registry.get(system).unpack(data)
        with clock.stage("load"):
            decoder = self.load(system)
        with clock.stage("human"):
            human = decoder.decode(semantics)
        return ReceiverResult(human, list(notes), clock.times_s, semantics)
