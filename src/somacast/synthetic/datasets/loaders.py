"""People to evaluate on: made on the fly, from a synthetic set, THuman2.0, or a folder of anybody's meshes.

Every loader yields `EvalItem`s: a picture as a sender would get it, and the truth in the view frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from somacast.errors import SomacastError
from somacast.metrics.views import Truth
from somacast.options import RIGGED_TEST, SYNTHETIC_TEST, check_people
from somacast.types import Camera, Capture, Frame, Mesh

if TYPE_CHECKING:
    from somacast.synthetic.samples import Sample

PICTURE_PX = 384
FORMATS = ("synthetic", "thuman2", "meshes")
MESH_SUFFIXES = (".glb", ".gltf", ".obj", ".ply")
DEFAULT_PEOPLE = 40
VIEW_YAWS_DEG = (0.0, 45.0, 90.0, 180.0)  # of a figure: front, three-quarter, side, back; the sign is drawn
VIEW_STD_DEG = 15.0


@dataclass(frozen=True)
class TruePose:
    """How somebody stands in a picture: rotations [21, 3, 3] in the view frame, curl [2] of the hands, jaw."""

    rotations: np.ndarray
    curl: np.ndarray
    jaw: float = 0.0


class Subject(Protocol):
    """Somebody known whole, who can take any pose."""

    def posed_mesh(self, pose: TruePose) -> Mesh:
        """The person with unlit colours in a pose, in the view frame, the pelvis joint at the origin."""
        ...


@dataclass
class EvalItem:
    """One person to measure a system on.

    name: unique in the set; action: its label, "unlabelled" where nobody says; frame: the picture; truth: coloured
    mesh in the view frame, metres, with the pelvis at the origin, or the middle of its bounding box if there are no
    joints; truth_joints [21, 3] metres or None; yaw_deg: turn of the pelvis, 0 facing the camera, or None;
    silhouette [H, W] float32 in [0, 1]: where the person is in the picture, for benchmarks only, or None; height_m: of
    the body standing upright, barefoot, or None; camera: of the picture, pose and subject: what is in front of it, or
    None; identity: who it is, of people who may come more than once, or None; has_face: a real face, not a drawn one.
    """

    name: str
    action: str
    frame: Frame
    truth: Mesh
    truth_joints: np.ndarray | None = None
    yaw_deg: float | None = None
    silhouette: np.ndarray | None = None
    height_m: float | None = None
    camera: Camera | None = None
    pose: TruePose | None = None
    subject: Subject | None = None
    identity: str | None = None
    has_face: bool = False

    def capture(self, mask: bool = False, known_height: bool = False) -> Capture:
        """What a sender gets: the picture; mask: with the true silhouette; known_height: with the height."""
        frame = replace(self.frame, mask=self.true_silhouette()) if mask else self.frame
        return Capture([frame], self.height_m if known_height else None)

    def true_silhouette(self) -> np.ndarray:
        """Where the person truly is in the picture, [H, W] float32; SomacastError if nobody knows."""
        if self.silhouette is not None:
            return self.silhouette
        if self.frame.camera is None:
            raise SomacastError(f"{self.name}: expected a person whose silhouette or camera is known")
        from somacast.geometry.rasteriser import render_camera

        return render_camera(self.truth, self.frame.camera).mask.astype(np.float32)


def yaw_of(rotations: np.ndarray) -> float:
    """Turn of the pelvis about the vertical axis in degrees, from joint rotations [21, 3, 3] in the view frame."""
    return float(np.degrees(np.arctan2(rotations[0, 0, 2], rotations[0, 2, 2])))


def _frame(image: np.ndarray) -> Frame:
    from somacast.capture.pictures import frame_from_array

    return frame_from_array(image)


def synthetic_test(people: int = DEFAULT_PEOPLE, assets: Path | None = None, seed: int = 0) -> Iterator[EvalItem]:
    """Unseen people drawn on the fly, one picture each, the five actions of the paper in turn."""
    from somacast.synthetic.motion.clips import ACTIONS
    from somacast.synthetic.samples import SceneConfig, SyntheticPeople

    scene = SceneConfig(size_px=PICTURE_PX, views_per_person=1)
    source = SyntheticPeople("test", seed, assets, scene, actions=ACTIONS)
    for number in range(people):
        for sample in source.samples(number):
            yield _sample_item(f"{number:06d}", sample)


def _sample_item(name: str, sample: Sample) -> EvalItem:
    from somacast.synthetic.datasets.writer import camera_of

    person = sample.person
    return EvalItem(
        name,
        sample.action,
        _frame(sample.image),
        sample.truth_mesh(),
        sample.joints_m,
        yaw_of(sample.rotations),
        sample.silhouette.astype(np.float32) / 255,
        person.height_m,
        camera_of(sample.shot, len(sample.image)),
        TruePose(sample.rotations, sample.curl, sample.jaw),
        person,
        person.identity or name,
        person.has_face,
    )


def rigged_test(people: int = DEFAULT_PEOPLE, assets: Path | None = None, seed: int = 0) -> Iterator[EvalItem]:
    """The rigged test people of an asset folder (`synthetic.rigged.reader.TEST_PERSONS`), one picture each: persons in
    turn, each in their outfits in turn, every five of them in the five actions of the paper.

    SomacastError before anything is drawn if there is no folder, or nobody in it.
    """
    from somacast.synthetic.motion.clips import ACTIONS
    from somacast.synthetic.rigged.people import RiggedPeople
    from somacast.synthetic.rigged.reader import list_figures
    from somacast.synthetic.samples import SceneConfig, SyntheticPeople

    check_people(RIGGED_TEST, assets)
    assert assets is not None
    list_figures(assets)
    if not (assets / "poses" / "index.json").is_file():
        raise SomacastError(f"{assets}: no poses/index.json; expected motions beside rigged people (docs/assets.md)")
    scene = SceneConfig(size_px=PICTURE_PX, views_per_person=1, rigged_share=1.0)
    source = SyntheticPeople("test", seed, assets, scene)
    rigged = source.sources[0][0]
    assert isinstance(rigged, RiggedPeople)
    outfits = list(rigged.people("test").values())

    def items() -> Iterator[EvalItem]:
        for number in range(people):
            turn, who = divmod(number, len(outfits))
            path = outfits[who][turn % len(outfits[who])]
            action = ACTIONS[(number + turn) % len(ACTIONS)]  # another one for each person every turn
            sample = source.shoot(rigged.person(path), source.rng(number), action)
            yield _sample_item(f"{number:06d}_{path.stem}", sample)

    return items()


def synthetic_set(folder: Path) -> list[tuple[Path, str, str]]:
    """Samples of a folder that `somacast data synth` wrote: (path without suffix, name, action)."""
    from somacast.synthetic.datasets.writer import FORMAT, FORMAT_VERSION, MANIFEST_FILE, person_folder

    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise SomacastError(f"{folder}: no {MANIFEST_FILE}; expected a finished set of `somacast data synth`")
    try:
        manifest = json.loads(path.read_text())
        if manifest["format"] != FORMAT or manifest["format_version"] != FORMAT_VERSION:
            raise SomacastError(f"{path}: expected version {FORMAT_VERSION} of a set of synthetic people")
        return [
            (
                person_folder(folder, person["person"]) / f"view_{view['view']:02d}",
                f"{person['person']:06d}/{view['view']:02d}",
                view["action"],
            )
            for person in manifest["people"]
            for view in person["views"]
        ]
    except (KeyError, TypeError, json.JSONDecodeError) as fault:
        raise SomacastError(f"{path}: is damaged ({fault}); expected the manifest of a synthetic set") from fault


def _load_synthetic(stem: Path, name: str, action: str) -> EvalItem:
    from somacast.capture.pictures import read_image
    from somacast.formats.meshes import load_mesh

    path = stem.with_suffix(".npz")
    try:
        with np.load(path, allow_pickle=False) as truth:
            joints, rotations = truth["joints_m"], truth["rotations"]
            silhouette = truth["silhouette"].astype(np.float32) / 255
    except Exception as fault:  # a zip that was cut fails in many ways
        raise SomacastError(f"{path}: cannot be read; expected the truths of a sample") from fault
    mesh = load_mesh(stem.with_suffix(".ply"))
    return EvalItem(name, action, read_image(stem.with_suffix(".png")), mesh, joints, yaw_of(rotations), silhouette)


# -- scans and meshes: no joints are known, the pictures are ours ------------------------------------------------------


def thuman2_files(folder: Path) -> list[Path]:
    """Meshes of a THuman2.0 folder, `NNNN/NNNN.obj`, in order; SomacastError if there is none."""
    found = sorted(p for p in folder.glob("*/*.obj") if p.stem == p.parent.name and p.stem.isdigit())
    if not found:
        raise SomacastError(
            f"{folder}: expected the layout of THuman2.0 (0000/0000.obj with material0.jpeg), found none"
        )
    return found


def mesh_files(folder: Path) -> list[Path]:
    """GLB, glTF, OBJ and PLY files below a folder, in order; SomacastError if there is none."""
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in MESH_SUFFIXES and p.is_file())
    if not found:
        raise SomacastError(f"{folder}: expected people as {', '.join(MESH_SUFFIXES)}, found none")
    return found


def upright_metres(mesh: Mesh, y_up: bool = False) -> Mesh:
    """Anybody's mesh brought to y up, metres and a bounding box around the origin, by three rules of thumb.

    z up if z is the longest side by a third over y (turned by -90 degrees around x), unless the file's format says
    that y is up; taller than 300 units are millimetres, taller than 3 are centimetres; anything else is taken as
    metres.
    """
    vertices = mesh.vertices.astype(np.float64)
    size = np.ptp(vertices, axis=0)
    if not y_up and size[2] > 1.33 * size[1] and size[2] >= size[0]:
        vertices = vertices[:, [0, 2, 1]] * [1, 1, -1]
    height = np.ptp(vertices[:, 1])
    vertices = vertices * (0.001 if height > 300 else 0.01 if height > 3 else 1.0)
    middle = (vertices.min(0) + vertices.max(0)) / 2
    return replace(mesh, vertices=(vertices - middle).astype(np.float32))


def photograph(
    mesh: Mesh, rng: np.random.Generator, size_px: int = PICTURE_PX, yaw_deg: float | None = None
) -> tuple[np.ndarray, Camera, Mesh]:
    """A picture [S, S, 3] uint8 of an upright mesh with camera, light and background drawn as for synthetic people; the
    turn about the vertical axis too if it is not given.

    Also the camera, and the mesh turned into the view frame with the middle of its bounding box at the origin.
    """
    from somacast.geometry.rasteriser import render_camera
    from somacast.synthetic.datasets.writer import camera_of
    from somacast.synthetic.rendering import bounds
    from somacast.synthetic.samples import SceneConfig
    from somacast.synthetic.scenes import Shot, draw_background, draw_light, draw_view

    scene = SceneConfig()
    vertices = mesh.vertices @ draw_view(rng, "test", yaw_deg).T
    vertices = (vertices - (vertices.min(0) + vertices.max(0)) / 2).astype(np.float32)
    turned = replace(mesh, vertices=vertices)
    distance = float(rng.uniform(*scene.camera_distance_m))
    x0, x1, y0, y1 = bounds(vertices, distance)
    side = max(x1 - x0, y1 - y0) * rng.uniform(*scene.margin)
    shift = rng.uniform(-scene.jitter, scene.jitter, 2) * side
    center = ((x0 + x1) / 2 + shift[0], (y0 + y1) / 2 + shift[1])
    towards, ambient, tint = draw_light(rng)[:3]
    background = draw_background(rng, 2 * size_px)
    fine = camera_of(Shot(distance, *center, 2 * size_px / side), 2 * size_px)
    seen = render_camera(turned, fine, background=background / 255)
    shade = ambient + (1 - ambient) * np.maximum(seen.normals @ towards, 0)
    lit = np.minimum(seen.rgb * shade[..., None] * tint, 1)
    picture = np.where(seen.mask[..., None], lit, seen.rgb)
    small = picture.reshape(size_px, 2, size_px, 2, 3).mean((1, 3))
    image = np.clip(np.round(small * 255), 0, 255).astype(np.uint8)
    return image, camera_of(Shot(distance, *center, size_px / side), size_px), turned


def _load_scan(path: Path, folder: Path, number: int, seed: int) -> EvalItem:
    from somacast.formats.meshes import load_mesh

    rng = np.random.default_rng([seed, number, 2])
    image, camera, turned = photograph(upright_metres(load_mesh(path)), rng)
    return _scan_item(path.relative_to(folder).with_suffix("").as_posix(), image, camera, turned)


def _scan_item(name: str, image: np.ndarray, camera: Camera, turned: Mesh, yaw_deg: float | None = None) -> EvalItem:
    frame = _frame(image)
    frame.camera = camera
    return EvalItem(name, "unlabelled", frame, turned, yaw_deg=yaw_deg, camera=camera)


def _load_figure(path: Path, folder: Path, number: int, seed: int) -> Iterator[EvalItem]:
    """Somebody's figure from VIEW_YAWS_DEG. One that can move takes another pose for each: its animations in turn, at
    moments spread over their length. The yaw is known for glTF only, whose front is +z."""
    from somacast.formats.gltf_scene import FINEST, GltfScene
    from somacast.formats.meshes import load_mesh

    gltf = path.suffix.lower() in (".glb", ".gltf")
    person = GltfScene(path) if gltf else None
    moves = len(person.animations) if person else 0
    still = None if moves else person.mesh() if person else load_mesh(path, FINEST)
    name = path.relative_to(folder).with_suffix("").as_posix()
    for view, yaw in enumerate(VIEW_YAWS_DEG):
        rng = np.random.default_rng([seed, number, view, 3])
        yaw = float(yaw * rng.choice([-1, 1]) + rng.uniform(-VIEW_STD_DEG, VIEW_STD_DEG))
        share = (view + 0.5) / len(VIEW_YAWS_DEG)
        mesh = still if still is not None else person.mesh(view % moves, share) if person else None
        assert mesh is not None
        image, camera, turned = photograph(upright_metres(mesh, y_up=gltf), rng, yaw_deg=yaw)
        yield _scan_item(f"{name}/{view:02d}", image, camera, turned, yaw if gltf else None)


def count_items(data: str, format: str, people: int | None) -> int:
    """How many items `load_items` will yield; SomacastError if the folder has not the layout."""
    if data in (SYNTHETIC_TEST, RIGGED_TEST):
        return people or DEFAULT_PEOPLE
    found = len(_listing(Path(data), format))
    return (min(found, people) if people else found) * (len(VIEW_YAWS_DEG) if format == "meshes" else 1)


def _listing(folder: Path, format: str) -> list:
    if format not in FORMATS:
        raise SomacastError(f"format {format}: expected one of {', '.join(FORMATS)}")
    if not folder.is_dir():
        raise SomacastError(f"{folder}: no such folder; expected one with people")
    return {"synthetic": synthetic_set, "thuman2": thuman2_files, "meshes": mesh_files}[format](folder)


def truth_of(item: EvalItem) -> Truth:
    """What the protocol needs of an item."""
    lens = None if item.camera is None else item.frame.lens
    return Truth(item.truth, item.truth_joints, item.camera, lens, None if item.pose is None else item.pose.rotations)


def load_items(
    data: str, format: str = "synthetic", people: int | None = None, assets: Path | None = None, seed: int = 0
) -> Iterator[EvalItem]:
    """Items of "synthetic-test", "rigged-test" or of a folder in one of FORMATS; of a folder the first `people` in
    order of name, of a folder of meshes each from several sides."""
    if data in (SYNTHETIC_TEST, RIGGED_TEST):
        source = synthetic_test if data == SYNTHETIC_TEST else rigged_test
        return source(people or DEFAULT_PEOPLE, assets, seed)
    return _folder_items(Path(data), format, people, seed)


def _folder_items(folder: Path, format: str, people: int | None, seed: int) -> Iterator[EvalItem]:
    for number, entry in enumerate(_listing(folder, format)[:people]):
        if format == "meshes":
            yield from _load_figure(entry, folder, number, seed)
        else:
            yield _load_synthetic(*entry) if format == "synthetic" else _load_scan(entry, folder, number, seed)
