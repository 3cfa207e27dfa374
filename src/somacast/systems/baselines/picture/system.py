"""What all picture systems have in common, as a spec; each codec is a folder beside this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from somacast.systems.baselines.picture.config import VARIANTS, PictureConfig
from somacast.systems.spec import Inputs, Kind, SystemSpec

if TYPE_CHECKING:
    from somacast.systems.baselines.picture.decoder import PictureDecoder
    from somacast.systems.baselines.picture.encoder import PictureEncoder
    from somacast.types import Payload

FFMPEG = "imageio_ffmpeg"


def picture_spec(name: str, title: str, packages: tuple[str, ...] = (), everyday: bool = False) -> SystemSpec:
    """The system of a codec of `codecs.PICTURE_CODECS`. packages: of extras that it needs."""

    def encoder(config: PictureConfig, device: str) -> PictureEncoder:
        from somacast.systems.baselines.picture.encoder import PictureEncoder

        return PictureEncoder(name, config, device)

    def decoder(config: PictureConfig, device: str) -> PictureDecoder:
        from somacast.systems.baselines.picture.decoder import PictureDecoder

        return PictureDecoder(name, config, device)

    def describe(payload: Payload) -> dict[str, Any]:
        from somacast.systems.baselines.picture.decoder import describe

        return describe(payload)

    return SystemSpec(
        name=name,
        title=title,
        inputs=Inputs("mono", mask=True),
        outputs=frozenset({Kind.IMAGE, Kind.MESH, Kind.SKELETON}),
        config=PictureConfig,
        variants=VARIANTS,
        encoder=encoder,
        decoder=decoder,
        describe=describe,
        everyday=everyday,
        requires=dict.fromkeys(packages, f"coding pictures by {title}"),
    )
