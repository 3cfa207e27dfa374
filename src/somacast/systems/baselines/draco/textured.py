"""The person as a Draco mesh with a texture: places in the texture as an attribute of the mesh, the texture as AVIF.

side of the texture (8 px) | bytes of the mesh (2) | Draco mesh | bare AV1 frame
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from somacast.coding.pictures import avif
from somacast.errors import BitstreamError, SomacastError
from somacast.geometry.preview import to_bytes_image
from somacast.geometry.projection import carried_on
from somacast.geometry.texturing.baking import colors_from_texture
from somacast.geometry.texturing.texels import texels_of
from somacast.systems.baselines.draco.meshes import BITS, MAGIC, draco_bytes, read_draco
from somacast.systems.baselines.mesh.clustering import welded
from somacast.systems.baselines.mesh.search import CELLS_M, MeshFile, MeshSearch
from somacast.types import Mesh, Texture

MARK = 0  # of a file with a texture, in front of it
HEAD_BYTES = 4
SIDES_PX = (32, 48, 64, 96, 128, 192, 256, 384, 512)
SHARES = (0.25, 0.45, 0.65, 0.85)  # of the room that a mesh may take at most
MIN_SHARE = 0.1  # a coarser mesh is never the best one
MIN_BPP, MAX_BPP = 0.04, 2.5  # bits of a texel outside of which a side is never the best one
_COMPARED_PX = 256
_FILL_PX = 64  # side at which colours are carried on around the islands
_REACHES = (1.0, 4.0, 16.0)  # how far, in texels of that side
_WHOLE = (512, 48)  # side and quality without a budget


def is_textured(data: bytes) -> bool:
    """Whether a file is one with a texture."""
    return data[:1] == bytes([MARK]) and data[HEAD_BYTES : HEAD_BYTES + len(MAGIC)] == MAGIC


def encode_shape(mesh: Mesh, bits: int) -> bytes:
    """The Draco file of a textured mesh, with its places in the texture."""
    points, places, faces = welded(mesh)
    return draco_bytes(points, faces, bits, tex_coord=places.astype(float), tex_coord_quantization_bits=bits)


def pack_textured(shape: bytes, side: int, frame: bytes) -> bytes:
    """The file of a coded mesh and a coded texture of side x side texels."""
    return bytes([MARK, side // avif.STEP_PX]) + len(shape).to_bytes(2, "little") + shape + frame


def decode_textured(data: bytes) -> Mesh:
    """Inverse: the mesh with its texture, and the texture's colours at its vertices. SomacastError for other bytes."""
    side, length = data[1] * avif.STEP_PX, int.from_bytes(data[2:HEAD_BYTES], "little")
    if not is_textured(data) or HEAD_BYTES + length >= len(data) or not side:
        raise BitstreamError(f"expected a Draco mesh with a texture, got {len(data)} bytes")
    found = read_draco(data[HEAD_BYTES : HEAD_BYTES + length])
    if found.tex_coord is None or not len(found.faces):
        raise SomacastError("expected a Draco mesh with places in a texture")
    faces = np.asarray(found.faces, np.int32).reshape(-1, 3)
    corners = np.clip(np.asarray(found.tex_coord, np.float32).reshape(-1, 2), 0, 1)[faces]
    texture = Texture(avif.decode(data[HEAD_BYTES + length :], side, side), np.ascontiguousarray(corners))
    mesh = Mesh(np.asarray(found.points, np.float32), faces, None, texture)
    mesh.colors = colors_from_texture(mesh, texture)
    return mesh


@dataclass(frozen=True)
class CodedTexture:
    """frame: bare AV1 frame of side x side texels; gap: mean squared error where triangles lie, 0 to 255 squared."""

    side: int
    frame: bytes
    gap: float


class TextureFiles:
    """Files of one texture at all sides and qualities; what was coded once is remembered."""

    def __init__(self, texture: Texture):
        self.texture = texture
        self._coded: dict[tuple[int, int], CodedTexture] = {}

    @cached_property
    def _known(self) -> np.ndarray:
        return texels_of(self.texture.corners, len(self.texture.image))[0] >= 0

    @cached_property
    def _pixels(self) -> dict[int, np.ndarray]:
        """The texture at every side, colours carried on around what is on the mesh, so that no edge costs bytes."""
        planes = np.concatenate([self.texture.image.astype(np.float32) / 255, np.ones((*self._known.shape, 1))], 2)
        planes = (planes * self._known[..., None]).astype(np.float32)
        coarse = _resized(planes, _FILL_PX)
        sure = coarse[..., 3] > 0.1
        filled, found = carried_on(coarse[..., :3] / np.maximum(coarse[..., 3:], 0.1), sure, 1.0, _REACHES)
        filled[~found] = filled[sure].mean(0) if sure.any() else 0.5
        pixels = {}
        for side in (*SIDES_PX, _COMPARED_PX):
            fine = _resized(planes, side)
            pixels[side] = to_bytes_image(fine[..., :3] + (1 - fine[..., 3:]) * _resized(filled, side))
        return pixels

    @cached_property
    def _counts(self) -> np.ndarray:
        return _resized(self._known[..., None].astype(np.float32), _COMPARED_PX)[..., 0] > 0.5

    def coded(self, side: int, quality: int) -> CodedTexture:
        """The file of one side and quality."""
        key = (side, quality)
        if key not in self._coded:
            frame = avif.encode(self._pixels[side], quality)
            shown = _resized(avif.decode(frame, side, side).astype(np.float32), _COMPARED_PX)
            gap = (shown - self._pixels[_COMPARED_PX])[self._counts]
            self._coded[key] = CodedTexture(side, frame, float(np.mean(gap**2)) if gap.size else 0.0)
        return self._coded[key]

    def best(self, room_bytes: int) -> CodedTexture | None:
        """The file that fits and errs least; None if nothing fits."""
        found = [self._largest(s, room_bytes) for s in SIDES_PX if MIN_BPP <= 8 * room_bytes / s**2 <= MAX_BPP]
        if not any(found):
            found = [self._largest(SIDES_PX[0], room_bytes)]
        return min((one for one in found if one is not None), key=lambda one: one.gap, default=None)

    def _largest(self, side: int, room_bytes: int) -> CodedTexture | None:
        low, high, best = -1, avif.QUALITIES, None
        while high - low > 1:
            middle = (low + high) // 2
            one = self.coded(side, middle)
            if len(one.frame) <= room_bytes:
                low, best = middle, one
            else:
                high = middle
        return best


def _resized(planes: np.ndarray, side: int) -> np.ndarray:
    """Planes [S, S, C] float32 at another side."""
    from PIL import Image

    method = Image.Resampling.BOX if side < len(planes) else Image.Resampling.BILINEAR
    parts = (Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(planes, -1, 0))
    return np.stack([np.asarray(part.resize((side, side), method)) for part in parts], -1)


class TexturedSearch(MeshSearch):
    """Draco files with a texture of one textured mesh: grids, bits, sides, qualities, and how the room is shared."""

    whole_bits = BITS[0]

    def fitting(self, room_bytes: int) -> list[MeshFile]:
        """Of each grid and share the file of the most bits, with the best texture for the rest of the room."""
        chosen: dict[tuple[float, int], None] = {}
        for cell in CELLS_M[1:]:  # no mesh of every triangle leaves room for a texture
            for share in SHARES:
                fits = (bits for bits in BITS if len(self._shape(cell, bits)) <= share * room_bytes)
                bits = next(fits, None)
                if bits is not None and len(self._shape(cell, bits)) >= MIN_SHARE * room_bytes:
                    chosen[cell, bits] = None
        found = (self._file(cell, bits, room_bytes) for cell, bits in chosen)
        return [file for file in found if file is not None]

    def whole(self) -> MeshFile:
        """The finest grid and a fine texture."""
        return self._packed(CELLS_M[1], self.whole_bits, self._textures.coded(*_WHOLE))

    def decoded(self, data: bytes) -> Mesh:
        """See `decode_textured`."""
        return decode_textured(data)

    @property
    def smallest_bytes(self) -> int:
        """The smallest file that would be looked at."""
        shape = min(len(self._shape(cell, BITS[-1])) for cell in CELLS_M[1:] if len(self.coarser(cell).faces))
        return max(math.ceil(shape / SHARES[-1]), HEAD_BYTES + shape + len(self._textures.coded(SIDES_PX[0], 0).frame))

    @cached_property
    def _textures(self) -> TextureFiles:
        assert self.mesh.texture is not None
        return TextureFiles(self.mesh.texture)

    @cached_property
    def _shapes(self) -> dict[tuple[float, int], bytes]:
        return {}

    @cached_property
    def _packs(self) -> dict[bytes, MeshFile]:
        return {}

    def _shape(self, cell: float, bits: int) -> bytes:
        if (cell, bits) not in self._shapes:
            self._shapes[cell, bits] = encode_shape(self.coarser(cell), bits)
        return self._shapes[cell, bits]

    def _file(self, cell: float, bits: int, room_bytes: int) -> MeshFile | None:
        texture = self._textures.best(room_bytes - HEAD_BYTES - len(self._shape(cell, bits)))
        return None if texture is None else self._packed(cell, bits, texture)

    def _packed(self, cell: float, bits: int, texture: CodedTexture) -> MeshFile:
        data = pack_textured(self._shape(cell, bits), texture.side, texture.frame)
        count = len(self.coarser(cell).faces)
        setting = f"{count} triangles, {bits} bits, texture of {texture.side} px in {len(texture.frame)} bytes"
        return self._packs.setdefault(data, MeshFile(data, setting))
