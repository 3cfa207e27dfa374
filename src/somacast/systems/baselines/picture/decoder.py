"""The receiver of the picture systems: the decoded picture through the package's own reconstruction."""

from __future__ import annotations

from typing import Any

from somacast.errors import BitstreamError, SomacastError
from somacast.geometry.reconstruction import Reconstruction
from somacast.systems.baselines.default_system import default_system
from somacast.systems.baselines.picture.codecs import SETTING_BYTES, check_codec, decode_picture, setting_of
from somacast.systems.baselines.picture.config import PictureConfig
from somacast.systems.baselines.picture.place import PLACE_BYTES, CropPlace
from somacast.systems.baselines.picture.rebuild import rebuild
from somacast.systems.baselines.picture.search import enlarged
from somacast.types import Payload


class PictureDecoder:
    """Holds both halves of the default system."""

    def __init__(self, codec: str, config: PictureConfig, device: str):
        check_codec(codec)
        self.codec, self.config, self.default = codec, config, default_system(device)

    def decode(self, payload: Payload) -> Reconstruction:
        """The person whom the default system sees in the picture, with the picture itself, which lies over the surface
        if the configuration says so. BitstreamError for layers that hold none, SomacastError if nobody is seen in it.
        """
        place, data = _parts(payload)
        try:
            picture = enlarged(decode_picture(self.codec, data))
        except SomacastError as fault:
            raise BitstreamError(f"{self.codec}: expected a picture of this codec ({fault})") from fault
        human = rebuild(self.default, place, picture, self.config.projected).human
        human.image = picture
        human.info = {**human.info, "setting": setting_of(data)}
        if human.pelvis_m is not None:
            human.pelvis_m = place.from_the_whole(human.pelvis_m)
        return human


def _parts(payload: Payload) -> tuple[CropPlace, bytes]:
    layer = payload.layers[0]
    if len(payload.layers) != 1 or len(layer) <= PLACE_BYTES + SETTING_BYTES:
        lengths = [len(part) for part in payload.layers]
        raise BitstreamError(f"expected one layer with a coded picture, got layers of {lengths} bytes")
    return CropPlace.unpack(layer[:PLACE_BYTES]), layer[PLACE_BYTES:]


def describe(payload: Payload) -> dict[str, Any]:
    """For `info`: settings and bytes of the picture, and where it lay."""
    place, data = _parts(payload)
    return {
        "setting": setting_of(data),
        "picture_bytes": len(data),
        "focal_over_side": round(place.focal, 3),
        "direction_tangents": [place.across, place.down],
    }
