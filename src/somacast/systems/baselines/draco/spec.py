"""The person as a Draco mesh, rebuilt by the default system at the sender."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from somacast.systems.baselines.draco.config import VARIANTS, DracoConfig
from somacast.systems.spec import Inputs, Kind, SystemSpec

if TYPE_CHECKING:
    from somacast.systems.baselines.mesh.encoder import MeshDecoder, MeshEncoder
    from somacast.types import Payload


def _encoder(config: DracoConfig, device: str) -> MeshEncoder:
    from somacast.systems.baselines.draco.halves import draco_encoder

    return draco_encoder(config, device)


def _decoder(config: DracoConfig, device: str) -> MeshDecoder:
    from somacast.systems.baselines.draco.halves import decode_draco
    from somacast.systems.baselines.mesh.encoder import MeshDecoder

    return MeshDecoder(decode_draco)


def _describe(payload: Payload) -> dict[str, Any]:
    from somacast.systems.baselines.draco.halves import describe

    return describe(payload)


SPEC = SystemSpec(
    name="draco",
    title="Draco mesh",
    inputs=Inputs("mono"),
    outputs=frozenset({Kind.MESH}),
    config=DracoConfig,
    variants=VARIANTS,
    encoder=_encoder,
    decoder=_decoder,
    describe=_describe,
    everyday=True,
    requires={"DracoPy": "coding meshes by Draco"},
)
