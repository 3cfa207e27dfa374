"""The people of a data set as a cast: the truth of each for the protocol, others to be told apart from, doubles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from somacast.extras import installed
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.identity import NO_FACE_DISTANCE, FaceIdentity, embed, embedding_distances, head_camera
from somacast.metrics.perceptual import union_square
from somacast.metrics.protocol import Reference
from somacast.metrics.views import INPUT, Truth
from somacast.synthetic.datasets.loaders import EvalItem, Subject, TruePose
from somacast.types import Camera, Mesh

GALLERY = 20  # people among whom the right one must be found; chance finds it once in 20


def truth_of(item: EvalItem) -> Truth:
    """What the protocol needs of an item."""
    head = None if item.pose is None else item.pose.rotations[4]
    return Truth(item.truth, item.truth_joints, item.camera, item.frame.lens if item.camera else None, head)


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

    def others(self, item: EvalItem) -> list[Member]:
        """At most GALLERY - 1 members who are not the item's person in the item's clothes, the next ones first."""
        own = [k for k, member in enumerate(self.members) if member.name == item.name]
        first = own[0] + 1 if own else 0
        order = self.members[first:] + self.members[:first]
        return [member for member in order if member.name != item.name][: GALLERY - 1]

    def double(self, item: EvalItem) -> Mesh | None:
        """Another person in the item's pose; None if there is nobody, or nobody knows the pose."""
        if item.pose is None:
            return None
        different = [m for m in self.others(item) if m.identity != (item.identity or item.name)]
        return different[0].subject.posed_mesh(item.pose) if different else None


class Lineup:
    """The right person and others in the same pose before the same camera: whom does a picture look like?"""

    def __init__(self, item: EvalItem, reference: Reference, cast: Cast):
        assert item.pose is not None
        self.reference = reference
        camera = reference.cameras[INPUT]
        pose: TruePose = item.pose
        people = [Reconstruction(m.subject.posed_mesh(pose)) for m in cast.others(item)]
        shown = [reference.renderings[INPUT], *(p.render(camera, reference.config.background) for p in people)]
        self.gallery = embed(np.stack([_square(one.rgb, one.mask) for one in shown]))

    def rank(self, person: Reconstruction, camera: Camera) -> int:
        """1 if a person looks most like the right one, from a camera; 2 if one other is nearer, and so on."""
        seen = person.render(camera, self.reference.config.background)
        distances = embedding_distances(embed(_square(seen.rgb, seen.mask)[None])[0], self.gallery)
        return 1 + int((distances[1:] <= distances[0]).sum())


def _square(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return union_square(rgb, rgb, mask)[0]


@lru_cache(maxsize=1)
def _faces() -> FaceIdentity | None:
    needed = ("dlib", "face_recognition_models")
    return FaceIdentity() if all(installed(package) for package in needed) else None


class FaceLineup:
    """The true face of a person, seen from the front of the head."""

    def __init__(self, reference: Reference):
        truth = reference.truth
        assert truth.joints is not None and truth.head is not None
        self.reference, faces = reference, _faces()
        self.true = faces.embed(self._head(reference.person, truth.joints, truth.head)) if faces else None

    def _head(self, person: Reconstruction, joints: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        return person.render(head_camera(joints, rotation), self.reference.config.background).rgb

    def distance(self, person: Reconstruction) -> float | None:
        """Of a face to the true one (dlib's embedding), NO_FACE_DISTANCE if none is found; None if there is nothing to
        compare with or the person has no joints."""
        truth, faces = self.reference.truth, _faces()
        if self.true is None or faces is None or truth.head is None or truth.joints is None:
            return None
        joints = person.joints if person.joints is not None else truth.joints
        rotation = person.rotations[4] if person.rotations is not None else truth.head
        found = faces.embed(self._head(person, joints, rotation))
        return NO_FACE_DISTANCE if found is None else float(np.linalg.norm(found - self.true))
