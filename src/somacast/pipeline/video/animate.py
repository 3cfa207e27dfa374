"""A .soma video as a person who moves: motion for animation tools, and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from somacast.files import write_atomically
from somacast.formats.bvh import encode_bvh
from somacast.formats.gltf_writer import encode_rigged_glb
from somacast.formats.meshes import mesh_suffix, save_mesh
from somacast.geometry.preview import SUPERSAMPLE, encode_png
from somacast.geometry.rasteriser import MID_GREY, light, render_orthographic
from somacast.geometry.rig import Motion, posed
from somacast.pipeline.live.outputs import Floor
from somacast.pipeline.video.files import MovingPerson, Video, moving_person

FPS = 30.0
VIDEO_SUFFIXES = (".mp4", ".webm")
_SHEET_FRAMES = 6


def motion_of(video: Video, moving: MovingPerson, fps: float = FPS) -> Motion:
    """World rotations and places of the pelvis on the floor of the rig's scene, at even times."""
    count = int(video.times_s[-1] * fps + 1e-6) + 1
    floor, world_rotations, places = Floor(), [], []
    for values in video.values_at(np.arange(count) / fps):
        rotations, pelvis = moving.pose(values)
        world_rotations.append(rotations)
        places.append(floor.place(moving.rig, rotations, pelvis))
    return Motion(np.stack(world_rotations), np.stack(places), fps)


def pictures_of(
    moving: MovingPerson, motion: Motion, size_px: int = 512, azimuth_deg: float = 0.0
) -> Iterator[np.ndarray]:
    """Lit pictures [S, S, 3] float32 in [0, 1] of every frame, at one scale, from in front unless told otherwise."""
    height = float(np.ptp(moving.rig.mesh.vertices[:, 1]))
    centre = np.array([motion.pelvis_m[:, 0].mean(), 0.5 * height, motion.pelvis_m[:, 2].mean()])
    extent = 1.25 * height + float(np.ptp(motion.pelvis_m[:, 0]))
    for rotations, pelvis in zip(motion.rotations, motion.pelvis_m, strict=True):
        mesh = posed(moving.rig, rotations, pelvis)
        rendering = render_orthographic(mesh, size_px * SUPERSAMPLE, extent, azimuth_deg, centre, background=MID_GREY)
        image = light(rendering).reshape(size_px, SUPERSAMPLE, size_px, SUPERSAMPLE, 3)
        yield image.mean((1, 3)).astype(np.float32)


def write_video_person(video: Video, decoder: Any, path: Path, preview: Path | None = None) -> list[str]:
    """Write a .soma video as an animated .glb, a .bvh, a rendered .mp4 or .webm, or its first frame as a mesh (.ply,
    .obj); preview: PNG with some frames side by side. Notes for the user."""
    moving = moving_person(decoder, video.who)
    motion, notes, suffix = motion_of(video, moving), [], path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        from somacast.capture.video import write_video

        write_video(path, pictures_of(moving, motion), motion.fps)
    elif suffix == ".bvh":
        write_atomically(path, encode_bvh(moving.rig.joints, moving.rig.rotations, motion).encode())
    elif suffix == ".glb":
        write_atomically(path, encode_rigged_glb(moving.rig, motion, matte=True))
    else:
        mesh_suffix(path)
        save_mesh(posed(moving.rig, motion.rotations[0], motion.pelvis_m[0]), path)
        notes.append(f"{suffix} holds no motion: the first of {len(motion.rotations)} frames is written")
    if preview is not None:
        pick = np.linspace(0, len(motion.rotations) - 1, _SHEET_FRAMES).round().astype(int)
        some = Motion(motion.rotations[pick], motion.pelvis_m[pick], motion.fps)
        pictures = list(pictures_of(moving, some, 320))
        write_atomically(preview, encode_png(np.concatenate(pictures, 1)))
    return notes
