"""Data sets of synthetic people on disk: `somacast data synth`. The layout of a set is described in docs/synthetic.md.

The same configuration gives the same bytes on any number of processes, because every person draws from a generator
of its own number. A person's folder counts as done when its `person.json`, written last, agrees with its files.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import platform
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import somacast
from somacast.errors import SomacastError
from somacast.files import write_atomically
from somacast.synthetic.datasets.config import SynthConfig
from somacast.synthetic.scenes import Shot
from somacast.threads import threads_each
from somacast.types import Camera, Mesh

if TYPE_CHECKING:
    from somacast.synthetic.samples import Sample, SyntheticPeople

FORMAT = "somacast synthetic people"
FORMAT_VERSION = 1
CONFIG_FILE, MANIFEST_FILE, PERSON_FILE = "config.json", "manifest.json", "person.json"
BUILTIN_LICENCE = (
    "CC0-1.0 (built-in wardrobe and motions of Somacast; body from anny, Apache-2.0; emotes, for training only, from "
    "Decentraland, Apache-2.0)"
)
# Validation draws from the bodies and motions of training, but its people are numbered where no training set reaches.
_VAL_FIRST = 1_000_000_000
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


# -- what one sample becomes ------------------------------------------------------------------------------------------


def camera_of(shot: Shot, size_px: int, shift_m: float = 0.0) -> Camera:
    """The OpenCV camera of a shot, in the view frame; shift_m: to the right along x (the second of a stereo pair)."""
    return Camera(
        np.diag([1.0, -1.0, -1.0]),
        np.array([-shift_m, 0.0, shot.distance_m]),
        shot.scale,
        shot.scale,
        size_px / 2 - shot.cx * shot.scale,
        size_px / 2 + shot.cy * shot.scale,
        size_px,
        size_px,
    )


def weld(mesh: Mesh) -> Mesh:
    """The same triangles with vertices of equal place and equal 8-bit colour shared; colours come out as 8-bit."""
    if mesh.colors is None:
        raise ValueError("weld: expected a mesh with colours")
    row = np.zeros((len(mesh.vertices), 4), np.uint32)
    row[:, :3] = np.ascontiguousarray(mesh.vertices + np.float32(0), np.float32).view(np.uint32)  # -0 becomes 0
    byte = np.round(np.clip(mesh.colors, 0, 1) * 255).astype(np.uint32)
    row[:, 3] = byte[:, 0] << 16 | byte[:, 1] << 8 | byte[:, 2]
    factor = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)
    mixed = row.astype(np.uint64) * factor
    key = (mixed ^ (mixed >> np.uint64(29))).sum(1, dtype=np.uint64)
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    if not (row[first[inverse]] == row).all():  # two rows of one hash: about once in 10^10 meshes
        _, first, inverse = np.unique(row, axis=0, return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    colors = (byte[first] / 255).astype(np.float32)
    return Mesh(mesh.vertices[first], inverse[mesh.faces].astype(np.int32), colors)


def encode_npz(arrays: dict[str, np.ndarray]) -> bytes:
    """A compressed .npz whose bytes depend on its content only (np.savez stamps the time of day)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, 0o644 << 16, 3
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asarray(array), allow_pickle=False)
            archive.writestr(entry, content.getvalue(), compresslevel=6)
    return buffer.getvalue()


def sample_arrays(sample: Sample, person: int, stereo_baseline_m: float | None) -> dict[str, np.ndarray]:
    """Everything true about a sample as plain arrays; docs/synthetic.md lists them."""
    size_px = len(sample.image)
    attributes = sample.person.outfit.attributes
    cameras = [camera_of(sample.shot, size_px)]
    if stereo_baseline_m is not None:
        cameras.append(camera_of(sample.shot, size_px, stereo_baseline_m))
    return {
        "silhouette": sample.silhouette,
        "depth_m": sample.depth_m,
        "normals": sample.normals.astype(np.float16),
        "parts": sample.part,
        "material": sample.material,
        "joints_px": sample.joints_px.astype(np.float32),
        "joints_m": sample.joints_m.astype(np.float32),
        "rotations": sample.rotations.astype(np.float32),
        "shape": sample.person.shape.astype(np.float32),
        "curl": sample.curl.astype(np.float32),
        "jaw_rad": np.array(sample.jaw, np.float32),
        "camera_rotation": np.stack([c.rotation for c in cameras]),
        "camera_translation_m": np.stack([c.translation for c in cameras]),
        "camera_focal_px": np.array([[c.fx, c.fy] for c in cameras]),
        "camera_center_px": np.array([[c.cx, c.cy] for c in cameras]),
        "attribute_names": np.array(list(attributes), str),
        "attribute_values": np.array(list(attributes.values()), str),
        "phenotype_names": np.array(list(sample.person.phenotype), str),
        "phenotype_values": np.array(list(sample.person.phenotype.values()), np.float64),
        "action": np.array(sample.action),
        "person": np.array(person, np.int64),
    }


def sample_files(sample: Sample, person: int, view: int) -> dict[str, bytes]:
    """The files of one sample by name."""
    from somacast.formats.ply import encode_ply
    from somacast.geometry.preview import encode_png
    from somacast.synthetic.samples import STEREO_BASELINE_M

    stem = f"view_{view:02d}"
    baseline = None if sample.right is None else STEREO_BASELINE_M
    files = {
        f"{stem}.png": encode_png(sample.image),
        f"{stem}.npz": encode_npz(sample_arrays(sample, person, baseline)),
        f"{stem}.ply": encode_ply(weld(sample.truth_mesh())),
    }
    if sample.right is not None:
        files[f"{stem}_right.png"] = encode_png(sample.right)
    return files


# -- one person -------------------------------------------------------------------------------------------------------


def person_folder(out: Path, number: int) -> Path:
    """Folder of person `number`, counted from 0 within the set."""
    return out / "people" / f"{number:06d}"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _done(folder: Path) -> dict[str, Any] | None:
    """The person's record if all its files are as recorded, else None."""
    try:
        record = json.loads((folder / PERSON_FILE).read_text())
        if all(_sha256(folder / name) == digest for name, digest in record["files"].items()):
            return record
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        pass
    return None


def _to_json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _source(config: SynthConfig) -> SyntheticPeople:
    from somacast.synthetic.samples import SceneConfig, SyntheticPeople

    scene = SceneConfig(
        size_px=config.size_px, views_per_person=config.views, stereo=config.stereo, rigged_share=config.rigged_share
    )
    pictures = _pictures(config.backgrounds) if config.backgrounds else None
    split = "test" if config.split == "test" else "train"
    return SyntheticPeople(split, config.seed, config.assets, scene, pictures)


def _write_person(source: SyntheticPeople, config: SynthConfig, number: int) -> None:
    folder = person_folder(config.out, number)
    folder.mkdir(parents=True, exist_ok=True)
    for stray in folder.glob("*.part"):  # of a process that was killed
        stray.unlink(missing_ok=True)
    rendered = number + (_VAL_FIRST if config.split == "val" else 0)
    digests: dict[str, str] = {}
    views = []
    for view, sample in enumerate(source.samples(rendered)):
        for name, data in sample_files(sample, number, view).items():
            write_atomically(folder / name, data)
            digests[name] = hashlib.sha256(data).hexdigest()
        views.append({"view": view, "action": sample.action, "attributes": sample.person.outfit.attributes})
    write_atomically(folder / PERSON_FILE, _to_json({"person": number, "views": views, "files": digests}))


_worker: tuple[SyntheticPeople, SynthConfig] | None = None


def _start_worker(config: SynthConfig) -> None:
    global _worker
    _worker = _source(config), config


def _work(number: int) -> int:
    assert _worker is not None
    _write_person(*_worker, number)
    return number


def _write_people(config: SynthConfig, numbers: list[int]) -> Iterator[int]:
    """Write these people, here or on several processes; yields each number when it is done."""
    if config.processes == 1 or len(numbers) < 2:
        source = _source(config) if numbers else None
        for number in numbers:
            assert source is not None
            _write_person(source, config, number)
            yield number
        return
    workers = min(config.processes, len(numbers))
    context = multiprocessing.get_context("spawn")  # numba and BLAS threads do not survive a fork
    with (
        threads_each(),
        ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(config,)) as pool,
    ):
        try:
            for future in as_completed([pool.submit(_work, number) for number in numbers]):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


# -- the whole set ----------------------------------------------------------------------------------------------------


def _pictures(folder: Path) -> list[Path]:
    """Background pictures in a fixed order; SomacastError if there is none or one cannot be read."""
    from PIL import Image

    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in _PICTURES)
    if not found:
        raise SomacastError(f"{folder}: expected pictures ({', '.join(_PICTURES)}), found none")
    for path in found:
        try:
            with Image.open(path) as picture:
                picture.verify()
        except Exception as fault:  # decoders fail in many ways
            raise SomacastError(f"{path}: is not a picture that can be read") from fault
    return found


def folder_digest(folder: Path, files: list[Path] | None = None) -> str:
    """The sha256 over names and contents of a folder's files, in the form of `sha256sum`."""
    files = files if files is not None else sorted(p for p in folder.rglob("*") if p.is_file())
    lines = sorted(f"{_sha256(p)}  {p.relative_to(folder).as_posix()}\n" for p in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _licences(config: SynthConfig) -> list[str]:
    found, assets = {BUILTIN_LICENCE}, config.assets
    if config.rigged_share:
        found.add("rigged people: as the LICENSE in their folder states (VALID: MIT, (c) 2022 Tiffany Do)")
    if assets:
        found.add("assets: CC0-1.0 as their folder states, unless listed otherwise")
        index = assets / "poses" / "index.json"
        for entry in json.loads(index.read_text()) if index.is_file() else []:
            found.add(f"motions: {entry.get('license') or entry.get('licence') or 'not stated'}")
    if config.backgrounds:
        found.add("backgrounds: pictures of the user's, under the terms the user has them")
    return sorted(found)


def _identity(config: SynthConfig) -> dict[str, Any]:
    """What decides the bytes of a person: everything but the number of people and the machine's part."""
    from somacast.body.table import BODY_TABLE

    packages = {name: version(name) for name in ("numpy", "numba", "pillow")}
    rigged = {"rigged_share": config.rigged_share} if config.rigged_share else {}
    return rigged | {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "seed": config.seed,
        "split": config.split,
        "views": config.views,
        "size_px": config.size_px,
        "stereo": config.stereo,
        "assets_sha256": folder_digest(config.assets) if config.assets else None,
        "backgrounds_sha256": folder_digest(config.backgrounds, _pictures(config.backgrounds))
        if config.backgrounds
        else None,
        "body_sha256": _sha256(BODY_TABLE),
        "versions": {"somacast": somacast.__version__, "python": platform.python_version(), **packages},
    }


def _check(config: SynthConfig) -> None:
    if config.split not in ("train", "val", "test"):
        raise SomacastError(f"split {config.split}: expected train, val or test")
    for name in ("people", "views", "size_px", "processes"):
        if getattr(config, name) < 1:
            raise SomacastError(f"{name} {getattr(config, name)}: expected a number above 0")
    if config.views > 100 or not 32 <= config.size_px <= 2048:
        raise SomacastError(f"expected at most 100 views of 32 to 2048 px, got {config.views} of {config.size_px}")
    if config.seed < 0:
        raise SomacastError(f"seed {config.seed}: expected 0 or more")


def _claim(config: SynthConfig, identity: dict[str, Any]) -> None:
    """Make the folder or find it made for the same set; SomacastError if it holds anything else."""
    out = config.out
    try:
        out.mkdir(parents=True, exist_ok=True)
        strangers = [p.name for p in out.iterdir() if not p.name.endswith(".part")]
    except OSError as fault:
        raise SomacastError(f"{out}: cannot be made ({fault.strerror or fault}); expected a folder") from fault
    path = out / CONFIG_FILE
    if not path.exists():
        if strangers:
            raise SomacastError(f"{out}: the folder holds other files ({strangers[0]}); expected an empty or new one")
        write_atomically(path, _to_json(identity))
        return
    try:
        held = json.loads(path.read_text())
    except ValueError as fault:
        raise SomacastError(f"{path}: is damaged; expected the settings of a data set") from fault
    differing = [k for k in identity if not isinstance(held, dict) or held.get(k) != identity[k]]
    if differing:
        raise SomacastError(f"{out}: holds a data set made otherwise ({', '.join(differing)}); choose another folder")
    if person_folder(out, config.people).exists():
        raise SomacastError(f"{out}: holds more than {config.people} people already; ask for at least as many")


def synthesise(config: SynthConfig) -> dict[str, Any]:
    """Write the data set and return its manifest; goes on where an earlier run of the same settings stopped.

    A finished set grows if more people are asked for. Raises SomacastError for settings out of range, a folder that
    holds something else, a full disk.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    _check(config)
    identity = _identity(config)
    _claim(config, identity)
    todo = [n for n in range(config.people) if _done(person_folder(config.out, n)) is None]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("people", total=config.people, completed=config.people - len(todo))
        for _ in _write_people(config, todo):
            progress.advance(task)
    people = []
    files: dict[str, str] = {}
    for number in range(config.people):
        folder = person_folder(config.out, number)
        record = json.loads((folder / PERSON_FILE).read_text())
        people.append({"person": number, "views": record["views"]})
        for name, digest in record["files"].items():
            files[(folder / name).relative_to(config.out).as_posix()] = digest
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    manifest = {
        **identity,
        "people_count": config.people,
        "licences": _licences(config),
        "people": people,
        "files": files,
        "sha256": hashlib.sha256(lines.encode()).hexdigest(),
    }
    write_atomically(config.out / MANIFEST_FILE, _to_json(manifest))
    return manifest
