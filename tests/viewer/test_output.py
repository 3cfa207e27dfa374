"""What goes to the pages when somebody is better known: a whole person, or another picture on the one they have."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from somacast.geometry.rig import Rig
from somacast.viewer.messages import Person, Texture, decode_server
from somacast.viewer.output import ViewerOutput
from support.rig_cases import bare_rig
from support.texture_cases import body_texture, smooth_picture, textured_rig


@dataclass
class Body:
    rig: Rig | None


def test_another_picture_goes_alone_and_anything_else_as_a_new_person():
    output, rig = ViewerOutput(), textured_rig()
    subscription = output.feed.subscribe(lambda: None, 1 << 30)

    def sent(new: Rig) -> Person | Texture:
        output.person(Body(new), 0)
        (message,) = map(decode_server, subscription.take())
        return message

    first = sent(rig)
    assert isinstance(first, Person) and b"image/jpeg" in first.glb[:8000]
    image = 255 - smooth_picture(256)
    again = Rig(replace(rig.mesh, vertices=rig.mesh.vertices.copy(), texture=body_texture(image)), rig.joints.copy(),
                rig.rotations, rig.weights.copy())  # fmt: skip
    picture = sent(again)
    assert isinstance(picture, Texture) and picture.version == first.version and len(picture.jpeg) < 60_000
    shown = np.asarray(Image.open(io.BytesIO(picture.jpeg))).astype(int)
    assert np.abs(shown - image).mean() < 3
    snapshot = output.snapshot()
    assert snapshot is not None and picture_size(snapshot) == (256, 256)  # that of now
    taller = sent(replace(again, mesh=replace(again.mesh, vertices=again.mesh.vertices * 1.1)))
    assert isinstance(taller, Person) and taller.version == first.version + 1
    plain = sent(bare_rig(True))
    assert isinstance(plain, Person) and plain.version == first.version + 2
    assert isinstance(sent(rig), Person)


def picture_size(glb: bytes) -> tuple[int, int]:
    start = glb.index(b"\xff\xd8\xff")
    return Image.open(io.BytesIO(glb[start:])).size
