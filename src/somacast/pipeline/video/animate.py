"""A .soma video as a person who moves: motion for animation tools, and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from somacast.body.skeleton import joint_places
from somacast.errors import SomacastError
from somacast.files import write_atomically
from somacast.formats.export import Export
from somacast.formats.people import VIEW_AXES, save_motion, save_person
from somacast.formats.vrm import encode_vrm
from somacast.geometry.preview import SUPERSAMPLE, encode_png
from somacast.geometry.rasteriser import MID_GREY, level_camera, light
from somacast.geometry.reconstruction import Reconstruction
from somacast.geometry.rig import Motion, Rig, posed, standing
from somacast.pipeline.video.clock import Shot, even_fps, even_times, mean_fps, shots
from somacast.pipeline.video.files import HOLD_S, Stretch, Video
from somacast.pipeline.video.floor import Floor
from somacast.systems.registry import System
from somacast.systems.spec import LiveBody
from somacast.types import Camera

VIDEO_SUFFIXES = (".mp4", ".webm")
FILM_PX, SHEET_PX = 512, 320
_SHEET_FRAMES = 6
_NOTED_S = 0.1
MAX_POSES = 216_000  # of a .glb or .bvh, which are made in memory: two hours at 30 frames a second
_JUST_S = 1e-3  # before its end a pause is over


@dataclass
class Cast:
    """Who moves in a video, each as a body on a floor of their own."""

    video: Video
    system: System
    decoder: Any
    _bodies: dict[int, LiveBody] = field(default_factory=dict)
    _floors: dict[int, Floor] = field(default_factory=dict)

    def body(self, person: int) -> LiveBody:
        """The body of a person, made when it is first asked for."""
        if person not in self._bodies:
            self._bodies[person] = self.system.live.body(self.decoder, self.video.people[person])
        return self._bodies[person]

    def pose(self, person: int, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World rotations [21, 3, 3] and place of the pelvis [3] on the floor of somebody with a rig."""
        body = self.body(person)
        assert body.rig is not None
        pose = body.pose(values)
        floor = self._floors.setdefault(person, Floor())
        return pose.rotations, floor.place(body.rig, pose.rotations, pose.pelvis_m)

    def human(self, shot: Shot) -> Reconstruction | None:
        """Whoever is to be seen in a picture."""
        if shot.stretch is None:
            return None
        person, values = shot.stretch.person, self.video.at(shot.time_s, shot.stretch)
        rig = self.body(person).rig
        if rig is None:
            return self.body(person).reconstruct(values)
        return Reconstruction(posed(rig, *self.pose(person, values)))

    @property
    def rig(self) -> Rig | None:
        """The rig of who comes first."""
        return self.body(self.video.stretches[0].person).rig


def own_stretches(video: Video) -> tuple[list[Stretch], list[str]]:
    """The stretches of who comes first, and a note on others, for files that hold one person."""
    first = video.stretches[0].person
    own = [one for one in video.stretches if one.person == first]
    others = len({one.person for one in video.stretches}) - 1
    if not others:
        return own, []
    who = "another person" if others == 1 else f"{others} other people"
    return own, [f"the film shows {who} too, who are left out: an .mp4 shows them all"]


def thinning(video: Video) -> int:
    """Every how many poses fit into a file that is made in memory: 1 for all but the longest."""
    return -(-len(video.times_s) // MAX_POSES)


def keyed_motion(cast: Cast, stretches: list[Stretch]) -> Motion:
    """One person's poses at the times of the source's frames. A pause between frames is held, not blended; times in
    which they are not to be seen are told."""
    video, rotations, places, times = cast.video, [], [], []
    for one in stretches:
        for number in range(one.first, one.stop, thinning(video)):
            time_s = float(video.times_s[number])
            if number > one.first and time_s - times[-1] > HOLD_S:
                rotations.append(rotations[-1])
                places.append(places[-1])
                times.append(time_s - _JUST_S)
            turned, place = cast.pose(one.person, video.row(number))
            rotations.append(turned)
            places.append(place)
            times.append(time_s)
    seen = seen_s(video, stretches)
    always = len(seen) == 1 and seen[0][0] == 0 and seen[0][1] >= video.end_s
    return Motion(np.stack(rotations), np.stack(places), times_s=np.array(times), seen_s=None if always else seen)


def seen_s(video: Video, stretches: list[Stretch]) -> tuple[tuple[float, float], ...]:
    """From when until when somebody is to be seen."""
    return tuple((float(video.times_s[one.first]), one.end_s) for one in stretches)


def even_motion(cast: Cast, stretches: list[Stretch], fps: float) -> Motion:
    """One person's poses at even times over the whole film; who is not to be seen stands as they were last, or will be
    first."""
    video, rotations, places = cast.video, [], []
    place = 0
    for time_s in even_times(video, fps):
        while place + 1 < len(stretches) and video.times_s[stretches[place + 1].first] <= time_s + 0.25 / fps:
            place += 1
        turned, pelvis = cast.pose(stretches[place].person, video.at(float(time_s), stretches[place]))
        rotations.append(turned)
        places.append(pelvis)
    return Motion(np.stack(rotations), np.stack(places), fps)


def film_camera(cast: Cast, plan: list[Shot], size_px: int) -> Camera:
    """A level camera from in front that has everybody in the picture from first to last."""
    seen = [shot for shot in plan if shot.stretch is not None]
    if cast.rig is None:
        vertices = next(human for shot in seen if (human := cast.human(shot))).surface().vertices
        low, high = vertices.min(0), vertices.max(0)
        return level_camera(size_px, 1.6 * float(high[1] - low[1]), 0.0, (low + high) / 2)
    pelvis_m = np.stack([cast.pose(s.stretch.person, cast.video.at(s.time_s, s.stretch))[1] for s in seen if s.stretch])
    rigs = [cast.body(person).rig for person in dict.fromkeys(s.stretch.person for s in seen if s.stretch)]
    height_m = max(float(np.ptp(rig.mesh.vertices[:, 1])) for rig in rigs if rig is not None)
    center = np.array([pelvis_m[:, 0].mean(), 0.5 * height_m, pelvis_m[:, 2].mean()])
    return level_camera(size_px, 1.25 * height_m + float(np.ptp(pelvis_m[:, 0])), 0.0, center)


def pictures_of(people: Iterable[Reconstruction | None], camera: Camera) -> Iterator[np.ndarray]:
    """Lit pictures [S, S, 3] float32 in [0, 1] of people through a camera of SUPERSAMPLE times as many pixels; where
    nobody is, the background alone."""
    size_px = camera.width // SUPERSAMPLE
    for human in people:
        if human is None:
            yield np.full((size_px, size_px, 3), MID_GREY, np.float32)
            continue
        image = light(human.render(camera)).reshape(size_px, SUPERSAMPLE, size_px, SUPERSAMPLE, 3)
        yield image.mean((1, 3)).astype(np.float32)


def first_person(cast: Cast) -> Reconstruction:
    """The person of the first frame, as a picture of it would give them: pelvis at the origin."""
    person, values = cast.video.stretches[0].person, cast.video.row(0)
    body = cast.body(person)
    if body.rig is None:
        return body.reconstruct(values)
    pose = body.pose(values)
    joints = joint_places(body.rig.offsets_m, pose.rotations, np.zeros(3))
    mesh = posed(body.rig, pose.rotations, np.zeros(3))
    return Reconstruction(mesh, None, joints, pose.rotations, pose.pelvis_m * VIEW_AXES)


def write_motion(cast: Cast, path: Path, export: Export | None = None) -> list[str]:
    """The person who comes first as an animated .glb or .bvh; notes for the user."""
    rig, video, export = cast.rig, cast.video, export or Export()
    assert rig is not None
    own, notes = own_stretches(video)
    if thinning(video) > 1:
        notes.append(
            f"{len(video.times_s):,} poses are more than {path.suffix} takes: one of {thinning(video)} is written"
        )
    if path.suffix.lower() == ".glb":
        motion = keyed_motion(cast, own)
    else:
        motion = even_motion(cast, own, mean_fps(video) / thinning(video))
        hidden_s = video.end_s - sum(end_s - start_s for start_s, end_s in seen_s(video, own))
        if hidden_s > _NOTED_S:
            notes.append(f".bvh hides nobody: for {hidden_s:.1f} s in which nobody is there the pose is held")
    if export.origin == "pelvis":
        motion = replace(motion, pelvis_m=motion.pelvis_m - motion.pelvis_m[0])
    seen_m = first_person(cast).pelvis_m
    camera_m = None if seen_m is None else motion.pelvis_m[0] - seen_m * VIEW_AXES
    save_motion(standing(rig), motion, path, export, camera_m)
    return notes


def write_video_person(
    video: Video, system: System, decoder: Any, path: Path, preview: Path | None = None, export: Export | None = None
) -> list[str]:
    """Write a .soma video as an animated .glb, a .bvh, a rendered .mp4 or .webm, an avatar (.vrm), or its first frame
    as a mesh (.ply, .obj); preview: PNG with some frames side by side. Notes for the user.

    SomacastError for a format that holds motion of joints, of a system whose people have none, and for choices of
    `export` that the format does not have.
    """
    export = export or Export()
    export.check(path)
    cast, notes, suffix = Cast(video, system, decoder), [], path.suffix.lower()
    rig = cast.rig
    if rig is None and suffix in (".bvh", ".glb", ".vrm"):
        raise SomacastError(
            f"{path}: people of system {system.name} have no joints; expected .mp4, .webm, .ply or .obj"
        )
    if suffix in VIDEO_SUFFIXES:
        write_film(cast, path)
    elif rig is not None and suffix in (".bvh", ".glb"):
        notes += write_motion(cast, path, export)
    elif rig is not None and suffix == ".vrm":
        write_atomically(path, encode_vrm(rig, path.stem, export.vrm, export.picture))
        notes.append(".vrm holds no motion: the person stands in the T-pose")
    else:
        save_person(first_person(cast), path, export)
        notes.append(f"{suffix} holds no motion: the first of {len(video.times_s)} frames is written")
    if preview is not None:
        seen = [shot for shot in shots(video, None) if shot.stretch is not None]
        pick = [seen[k] for k in np.linspace(0, len(seen) - 1, _SHEET_FRAMES).round().astype(int)]
        camera = film_camera(cast, pick, SHEET_PX * SUPERSAMPLE)
        write_atomically(preview, encode_png(np.concatenate(list(pictures_of(map(cast.human, pick), camera)), 1)))
    return notes


def write_film(cast: Cast, path: Path) -> None:
    """Everybody as a rendered .mp4 or .webm that lies over the source frame by frame."""
    from somacast.capture.video import write_video

    fps = even_fps(cast.video)
    plan = shots(cast.video, fps)
    camera = film_camera(cast, plan, FILM_PX * SUPERSAMPLE)
    times_s = None if fps else [shot.time_s for shot in plan]
    write_video(path, pictures_of(map(cast.human, plan), camera), fps or mean_fps(cast.video), times_s)
