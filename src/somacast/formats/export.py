"""What there is to choose about files of other programs. Light, since the command line shows it in its help."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from somacast.errors import SomacastError

Origin = Literal["ground", "pelvis"]
Units = Literal["m", "cm"]
VrmUsers = Literal["only-author", "licensed-persons", "everyone"]
VrmVersion = Literal["1.0", "0.x"]
TexturePx = Literal[512, 1024, 2048]
ImageKind = Literal["jpeg", "png"]
PICTURED = (".glb", ".vrm", ".obj")  # files with a texture


@dataclass(frozen=True)
class VrmTerms:
    """What an avatar says about itself beside the person: whose it is and what others may do with it. Everything that
    is not asked for stays forbidden. users: who may act as the avatar; license_url: of terms that go further; version:
    of the format."""

    author: str = ""
    users: VrmUsers = "only-author"
    license_url: str = ""
    version: VrmVersion = "1.0"


@dataclass(frozen=True)
class Export:
    """origin: the ground below the pelvis (of a video: of its first frame), or the pelvis itself; units: lengths in
    .bvh, .ply and .obj; vrm: of an avatar; texture_px: side of the texture that the decoder is asked for, None: what it
    takes by itself; image: how the picture of a texture is kept, JPEG if nothing is asked for; alone: no files can lie
    beside an .obj, so that it has colours at its vertices instead."""

    origin: Origin = "ground"
    units: Units = "m"
    vrm: VrmTerms = field(default_factory=VrmTerms)
    texture_px: TexturePx | None = None
    image: ImageKind | None = None
    alone: bool = False

    @property
    def picture(self) -> ImageKind:
        """How the picture of a texture is kept."""
        return self.image or "jpeg"

    def beside(self, path: Path) -> list[Path]:
        """The files that go with one that is written: material and picture of an .obj, which are called so that the
        photograph that the person was made of, often person.jpg, lies safely beside person.obj."""
        if path.suffix.lower() != ".obj" or self.alone:
            return []
        picture = f"{path.stem}_texture.{'png' if self.picture == 'png' else 'jpg'}"
        return [path.with_suffix(".mtl"), path.with_name(picture)]

    def check(self, path: Path) -> None:
        """SomacastError for a choice that files of this kind do not have."""
        suffix = path.suffix.lower()
        if self.units != "m" and suffix not in (".bvh", ".ply", ".obj"):
            raise SomacastError(f"{path}: --units {self.units} is for .bvh, .ply and .obj; {suffix} has its own")
        if self.origin != "ground" and suffix not in (".glb", ".bvh", ".ply", ".obj"):
            raise SomacastError(f"{path}: --origin {self.origin} is for .glb, .bvh, .ply and .obj")
        if self.vrm != VrmTerms() and suffix != ".vrm":
            raise SomacastError(f"{path}: --vrm-author, -users, -license and -version are for .vrm")
        if self.texture_px is not None and suffix == ".bvh":
            raise SomacastError(f"{path}: --texture {self.texture_px} is for files with a surface; .bvh has none")
        if self.image is not None and suffix not in PICTURED:
            kinds = "those that hold a picture: .glb, .vrm and .obj"
            raise SomacastError(f"{path}: --texture-format {self.image} is for {kinds}")
