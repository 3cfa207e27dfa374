"""Controls: what anybody could show instead of a result, measured beside it, and what figures must say of them.

A figure is worth a headline only if it puts the truth first, then the result, and behind it the controls that lack what
the figure claims to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from somacast.body.rotations import about_axis
from somacast.body.skeleton import CANONICAL_JOINTS, MIRROR
from somacast.body.table import BODY_VERTICES, TPOSE, load_body
from somacast.geometry.gaussian import gaussian_filter
from somacast.geometry.rasteriser import MID_GREY, Rendering
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.views import Truth
from somacast.types import Camera, Mesh

TRUTH, BLURRED, GREY, MANNEQUIN, OTHER, MIRRORED = "truth", "blurred", "grey", "mannequin", "other", "mirrored"
TITLES = {
    TRUTH: "the truth against itself",
    BLURRED: "the truth, blurred",
    GREY: "our result in flat grey",
    MANNEQUIN: "one grey mannequin, right yaw",
    OTHER: "another person in the true pose",
    MIRRORED: "the truth, mirrored",
}
DUMMY_GREY = 0.44  # mean luma of 40 training people, unlit
BLUR = 1 / 128  # standard deviation over the picture's side
ARMS_DOWN_DEG = 72.0


@dataclass
class Repainted(Reconstruction):
    """Somebody whose pictures are changed. inner: who is rendered; paint: from a rendering to its colours."""

    inner: Reconstruction | None = None
    paint: Callable[[Rendering], np.ndarray] = lambda seen: seen.rgb

    @classmethod
    def of(cls, person: Reconstruction, paint: Callable[[Rendering], np.ndarray]) -> Repainted:
        """A person with all that is known of it, painted otherwise."""
        return cls(person.mesh, person.cloud, person.joints, person.rotations, person.pelvis_m, inner=person,
                   paint=paint)  # fmt: skip

    def render(self, camera: Camera, background: float = MID_GREY) -> Rendering:
        """See `Reconstruction.render`."""
        assert self.inner is not None
        seen = self.inner.render(camera, background)
        return replace(seen, rgb=self.paint(seen))

    def translated(self, offset_m: np.ndarray) -> Reconstruction:
        """See `Reconstruction.translated`."""
        assert self.inner is not None
        return Repainted.of(self.inner.translated(offset_m), self.paint)


def _in_grey(seen: Rendering) -> np.ndarray:
    return np.where(seen.mask[..., None], np.float32(DUMMY_GREY), seen.rgb).astype(np.float32)


def _blurred(seen: Rendering) -> np.ndarray:
    sigma = BLUR * seen.rgb.shape[1]
    return gaussian_filter(seen.rgb, sigma, int(np.ceil(3 * sigma)), (0, 1), mirror=True).astype(np.float32)


def in_grey(person: Reconstruction) -> Reconstruction:
    """The same person in one flat grey."""
    return Repainted.of(person, _in_grey)


def blurred(person: Reconstruction) -> Reconstruction:
    """The same person in blurred pictures."""
    return Repainted.of(person, _blurred)


def mirrored(person: Reconstruction) -> Reconstruction:
    """A person with a mesh as a mirror shows it, left and right exchanged."""
    mesh, flip = person.surface(), np.array([-1.0, 1.0, 1.0], np.float32)
    faces, texture = np.ascontiguousarray(mesh.faces[:, ::-1]), mesh.texture
    if texture is not None:
        texture = replace(texture, corners=np.ascontiguousarray(texture.corners[:, ::-1]))
    turned = replace(mesh, vertices=mesh.vertices * flip, faces=faces, texture=texture)
    joints = None if person.joints is None else (person.joints * flip)[MIRROR]
    return Reconstruction(turned, joints=joints)


def mannequin(yaw_deg: float) -> Reconstruction:
    """The mean body, standing with its arms down, in one grey, turned by a yaw (0 faces the camera); pelvis at the
    origin."""
    body = load_body()
    rotations = np.array(TPOSE, np.float64)
    for side, sign in (("l", -1), ("r", 1)):
        for part in ("upper_arm", "lower_arm", "hand"):
            rotations[CANONICAL_JOINTS.index(f"{side}_{part}")] = about_axis("z", np.radians(sign * ARMS_DOWN_DEG))
    rotations = (about_axis("y", np.radians(yaw_deg)) @ rotations).astype(np.float32)
    vertices, joints = body.pose(np.zeros(0, np.float32), rotations)
    colors = np.full((BODY_VERTICES, 3), DUMMY_GREY, np.float32)
    mesh = Mesh(vertices - joints[0], body.faces[~body.inner_faces], colors)
    return Reconstruction(mesh, joints=joints - joints[0], rotations=rotations)


def controls_of(truth: Truth, yaw_deg: float | None, other: Mesh | None = None) -> dict[str, Reconstruction]:
    """The controls that need no result, by name, all standing where the truth stands; other: another person in the
    true pose, where there is one."""
    person = Reconstruction(truth.mesh, joints=truth.joints)
    dummy = mannequin(yaw_deg or 0.0)
    if truth.joints is None:
        points = dummy.surface().vertices
        dummy = dummy.translated(-(points.min(0) + points.max(0)) / 2)
    found = {TRUTH: person, BLURRED: blurred(person), MANNEQUIN: dummy, MIRRORED: mirrored(person)}
    return found if other is None else found | {OTHER: Reconstruction(other)}


@dataclass(frozen=True)
class Headline:
    """A figure for the first table. key: in rows; title, factor, digits, unit: for people; less: less is better; worse:
    controls that lack what it judges, which it must put behind the result; blind: what it does not judge, by control,
    and why."""

    key: str
    title: str
    less: bool
    factor: float
    digits: int
    unit: str
    worse: tuple[str, ...]
    blind: Mapping[str, str]

    def better(self, a: float, b: float) -> bool:
        """Whether value a is strictly better than b."""
        return a < b if self.less else a > b


_TRUE_POSE = "it stands in the true pose"
HEADLINES = (
    Headline("input_stlpips", "ST-LPIPS, input camera", True, 1, 3, "", (GREY, MANNEQUIN, OTHER, MIRRORED), {}),
    Headline("input_iou", "IoU, input camera", False, 1, 3, "", (MANNEQUIN, MIRRORED),
             {GREY: "the outline is the same", OTHER: _TRUE_POSE}),
    Headline("same_person", "same person, top 1", False, 100, 0, " %", (GREY, MANNEQUIN, OTHER),
             {MIRRORED: "it is the same person"}),
    Headline("centred_chamfer_m", "Chamfer", True, 100, 2, " cm", (MANNEQUIN, MIRRORED),
             {GREY: "the surface is the same", OTHER: _TRUE_POSE}),
    Headline("mpjpe_m", "MPJPE", True, 1000, 0, " mm", (MANNEQUIN, MIRRORED),
             {GREY: "the joints are the same", OTHER: _TRUE_POSE}),
)  # fmt: skip


def order_faults(result: Mapping[str, float], controls: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What the means of a result and of controls contradict, one line each: of every headline figure that they have,
    the truth must be better than the result and the result better than `Headline.worse`."""
    faults = []
    for headline in HEADLINES:
        own = result.get(headline.key)
        if own is None:
            continue
        for name, row in controls.items():
            value = row.get(headline.key)
            if value is None:
                continue
            if name == TRUTH and not headline.better(value, own):
                faults.append(f"{headline.key}: {TITLES[name]} {value:.4g}, the result {own:.4g}")
            if name in headline.worse and not headline.better(own, value):
                faults.append(f"{headline.key}: the result {own:.4g}, {TITLES[name]} {value:.4g}")
    return faults
