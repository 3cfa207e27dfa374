"""A .soma video as a person who moves: motion for animation tools, and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
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
from somacast.geometry.rasteriser import level_camera, light
from somacast.geometry.reconstruction import Reconstruction
from somacast.geometry.rig import Motion, Rig, posed, standing
from somacast.pipeline.live.outputs import Floor
from somacast.pipeline.video.files import Video
from somacast.systems.registry import System
from somacast.systems.spec import LiveBody
from somacast.types import Camera

FPS = 30.0
VIDEO_SUFFIXES = (".mp4", ".webm")
FILM_PX, SHEET_PX = 512, 320
_SHEET_FRAMES = 6


def motion_of(video: Video, body: LiveBody, rig: Rig, fps: float = FPS) -> Motion:
    """World rotations and places of the pelvis on the floor of the rig's scene, at even times."""
    floor, world_rotations, places = Floor(), [], []
    for values in _even_values(video, fps):
        pose = body.pose(values)
        world_rotations.append(pose.rotations)
        places.append(floor.place(rig, pose.rotations, pose.pelvis_m))
    return Motion(np.stack(world_rotations), np.stack(places), fps)


def _even_values(video: Video, fps: float) -> np.ndarray:
    """Values [N, M] at even times from the first frame to the last."""
    return video.values_at(np.arange(int(video.times_s[-1] * fps + 1e-6) + 1) / fps)


def people_of(video: Video, body: LiveBody, fps: float = FPS) -> Iterator[Reconstruction]:
    """The person at even times, standing on the floor, whatever the system makes of people."""
    rig = body.rig
    if rig is None:
        for values in _even_values(video, fps):
            yield body.reconstruct(values)
        return
    motion = motion_of(video, body, rig, fps)
    for rotations, pelvis in zip(motion.rotations, motion.pelvis_m, strict=True):
        yield Reconstruction(posed(rig, rotations, pelvis))


def film_camera(video: Video, body: LiveBody, size_px: int) -> Camera:
    """A level camera from in front that has the person in the picture from first to last."""
    if body.rig is not None:
        motion = motion_of(video, body, body.rig)
        height_m = float(np.ptp(body.rig.mesh.vertices[:, 1]))
        center = np.array([motion.pelvis_m[:, 0].mean(), 0.5 * height_m, motion.pelvis_m[:, 2].mean()])
        return level_camera(size_px, 1.25 * height_m + float(np.ptp(motion.pelvis_m[:, 0])), 0.0, center)
    vertices = next(people_of(video, body)).surface().vertices
    low, high = vertices.min(0), vertices.max(0)
    return level_camera(size_px, 1.6 * float(high[1] - low[1]), 0.0, (low + high) / 2)


def pictures_of(people: Iterable[Reconstruction], camera: Camera) -> Iterator[np.ndarray]:
    """Lit pictures [S, S, 3] float32 in [0, 1] of people through a camera of SUPERSAMPLE times as many pixels."""
    size_px = camera.width // SUPERSAMPLE
    for human in people:
        image = light(human.render(camera)).reshape(size_px, SUPERSAMPLE, size_px, SUPERSAMPLE, 3)
        yield image.mean((1, 3)).astype(np.float32)


def first_person(video: Video, body: LiveBody) -> Reconstruction:
    """The person of the first frame, as a picture of it would give them: pelvis at the origin."""
    values = video.values_at(video.times_s[:1])[0]
    if body.rig is None:
        return body.reconstruct(values)
    pose = body.pose(values)
    joints = joint_places(body.rig.offsets_m, pose.rotations, np.zeros(3))
    mesh = posed(body.rig, pose.rotations, np.zeros(3))
    return Reconstruction(mesh, None, joints, pose.rotations, pose.pelvis_m * VIEW_AXES)


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
    body, notes, suffix = system.live.body(decoder, video.who), [], path.suffix.lower()
    rig = body.rig
    if rig is None and suffix in (".bvh", ".glb", ".vrm"):
        raise SomacastError(
            f"{path}: people of system {system.name} have no joints; expected .mp4, .webm, .ply or .obj"
        )
    if suffix in VIDEO_SUFFIXES:
        from somacast.capture.video import write_video

        camera = film_camera(video, body, FILM_PX * SUPERSAMPLE)
        write_video(path, pictures_of(people_of(video, body), camera), FPS)
    elif rig is not None and suffix in (".bvh", ".glb"):
        motion, seen = motion_of(video, body, rig), first_person(video, body).pelvis_m
        if export.origin == "pelvis":
            motion = replace(motion, pelvis_m=motion.pelvis_m - motion.pelvis_m[0])
        camera_m = None if seen is None else motion.pelvis_m[0] - seen * VIEW_AXES
        save_motion(standing(rig), motion, path, export, camera_m)
    elif rig is not None and suffix == ".vrm":
        write_atomically(path, encode_vrm(rig, path.stem, export.vrm))
        notes.append(".vrm holds no motion: the person stands in the T-pose")
    else:
        save_person(first_person(video, body), path, export)
        notes.append(f"{suffix} holds no motion: the first of {len(_even_values(video, FPS))} frames is written")
    if preview is not None:
        people = list(people_of(video, body))
        pick = np.linspace(0, len(people) - 1, _SHEET_FRAMES).round().astype(int)
        camera = film_camera(video, body, SHEET_PX * SUPERSAMPLE)
        pictures = list(pictures_of([people[k] for k in pick], camera))
        write_atomically(preview, encode_png(np.concatenate(pictures, 1)))
    return notes
