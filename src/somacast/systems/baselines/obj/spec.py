"""The person as an OBJ file, rebuilt by the default system at the sender."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from somacast.systems.spec import Inputs, Kind, SystemSpec

if TYPE_CHECKING:
    from somacast.systems.baselines.mesh.encoder import MeshDecoder, MeshEncoder
    from somacast.types import Payload


@dataclass(frozen=True)
class ObjConfig:
    """There is nothing to be set."""


def _encoder(config: ObjConfig, device: str) -> MeshEncoder:
    from somacast.systems.baselines.obj.halves import obj_encoder

    return obj_encoder(device)


def _decoder(config: ObjConfig, device: str) -> MeshDecoder:
    from somacast.systems.baselines.mesh.encoder import MeshDecoder
    from somacast.systems.baselines.obj.halves import decode_text

    return MeshDecoder(decode_text)


def _describe(payload: Payload) -> dict[str, Any]:
    from somacast.systems.baselines.obj.halves import describe

    return describe(payload)


SPEC = SystemSpec(
    name="obj",
    title="OBJ mesh",
    inputs=Inputs("mono"),
    outputs=frozenset({Kind.MESH}),
    config=ObjConfig,
    encoder=_encoder,
    decoder=_decoder,
    describe=_describe,
)
