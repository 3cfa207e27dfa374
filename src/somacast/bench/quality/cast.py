"""The people of a data set as a cast: the truth of each for the protocol, others to be told apart from, doubles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from somacast.extras import installed
from somacast.geometry.preview import to_bytes_image
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.identity import (
    Face,
    FaceIdentity,
    distance,
    embed,
    face_box,
    face_distance,
    head_camera,
    nearest_rank,
)
from somacast.metrics.perceptual import union_square
from somacast.metrics.protocol import Reference
from somacast.metrics.views import INPUT
from somacast.synthetic.datasets.loaders import EvalItem, Subject, TruePose
from somacast.types import Camera, Mesh

GALLERY = 20  # people among whom the right one must be found; chance finds it once in 20
_SAME = 1e-4  # between embeddings: nobody could tell these people apart


@dataclass(frozen=True)
class Member:
    """Somebody who can take any pose: name of the item, identity, subject."""

    name: str
    identity: str
    subject: Subject


class Cast:
    """The first people of a data set, who stand beside each person: as another person in the true pose, and as those
    among whom the right one must be found."""

    def __init__(self, items: Sequence[EvalItem]):
        found = [(item, item.subject) for item in items]
        self.members = [Member(i.name, i.identity or i.name, subject) for i, subject in found if subject is not None]

    def others(self, item: EvalItem, gallery: int = GALLERY) -> list[Member]:
        """At most gallery - 1 members who are not the item's person in the item's clothes, the next ones first."""
        own = [k for k, member in enumerate(self.members) if member.name == item.name]
        first = own[0] + 1 if own else 0
        order = self.members[first:] + self.members[:first]
        return [member for member in order if member.name != item.name][: gallery - 1]

    def double(self, item: EvalItem) -> Mesh | None:
        """Another person in the item's pose, the one half of the cast away, whose clothes are as different as chance
        makes them; None if there is nobody, or nobody knows the pose."""
        if item.pose is None:
            return None
        different = [m for m in self.others(item) if m.identity != (item.identity or item.name)]
        return different[len(different) // 2].subject.posed_mesh(item.pose) if different else None


class Lineup:
    """The right person and others in the same pose before the same camera: whom does a picture look like? view: of the
    reference; gallery: how many there are, the right one among them."""

    def __init__(
        self, item: EvalItem, reference: Reference, cast: Cast, view: str = INPUT, gallery: int = GALLERY
    ) -> None:
        assert item.pose is not None
        self.reference = reference
        camera = reference.cameras[view]
        pose: TruePose = item.pose
        people = [Reconstruction(m.subject.posed_mesh(pose)) for m in cast.others(item, gallery)]
        shown = [reference.renderings[view], *(p.render(camera, reference.config.background) for p in people)]
        self.everybody = np.any([one.mask for one in shown], axis=0)
        found = embed(np.stack([self._cut(one.rgb) for one in shown]))
        twins = distance(found[0], found) < _SAME  # who comes into the set again in the same clothes
        twins[0] = False
        self.gallery = found[~twins]

    def _cut(self, rgb: np.ndarray) -> np.ndarray:
        """The box around everybody in the gallery."""
        return union_square(rgb, rgb, self.everybody, background=self.reference.config.background)[0]

    def rank(self, person: Reconstruction, camera: Camera) -> int:
        """1 if a person looks most like the right one, from a camera; 2 if one other is nearer, and so on."""
        seen = person.render(camera, self.reference.config.background)
        return nearest_rank(embed(self._cut(seen.rgb)[None])[0], self.gallery, 0)


@lru_cache(maxsize=1)
def _faces() -> FaceIdentity | None:
    needed = ("dlib", "face_recognition_models")
    return FaceIdentity() if all(installed(package) for package in needed) else None


class FaceLineup:
    """The true face of a person, seen from the front of the head."""

    def __init__(self, reference: Reference):
        self.reference, self.faces = reference, _faces()
        self.true = self._face(reference.person)

    def _face(self, person: Reconstruction) -> Face | None:
        truth = self.reference.truth
        joints = truth.joints if person.joints is None else person.joints
        rotations = truth.rotations if person.rotations is None else person.rotations
        if self.faces is None or joints is None or rotations is None:
            return None
        seen = person.render(head_camera(joints, rotations), self.reference.config.background)
        return self.faces.embed(to_bytes_image(seen.rgb), face_box())

    def distance(self, person: Reconstruction) -> float | None:
        """Of a face to the true one (dlib's embedding); None if there is nothing to compare with."""
        return None if self.true is None else face_distance(self.true, self._face(person))
