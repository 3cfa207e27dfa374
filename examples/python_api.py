"""A picture becomes a few hundred bytes, and those a person in 3D, from Python.

    python examples/python_api.py                        a made person
    python examples/python_api.py person.jpg out         a photograph of yours

Writes person.soma, person.glb and views.png into the folder (default: the current one).
"""

from __future__ import annotations

import sys
from pathlib import Path

import somacast
from somacast.errors import SomacastError
from somacast.formats.people import save_person
from somacast.geometry.preview import encode_png, turntable
from somacast.pipeline.still.demo import built_in_person


def main(arguments: list[str]) -> int:
    picture = Path(arguments[0]) if arguments else built_in_person()  # a path, an array, or a Pillow image
    folder = Path(arguments[1]) if len(arguments) > 1 else Path(".")
    folder.mkdir(parents=True, exist_ok=True)

    data = somacast.encode(picture)
    (folder / "person.soma").write_bytes(data)
    smaller = somacast.encode(picture, budget_bytes=max(80, len(data) // 2))
    print(f"{len(data)} bytes; with half the budget {len(smaller)}")

    human = somacast.decode(data)
    if human.mesh is None or human.joints is None:
        raise SomacastError("expected a system that gives a mesh and joints")
    height_m = float(human.mesh.vertices[:, 1].max() - human.mesh.vertices[:, 1].min())
    print(f"{len(human.mesh.vertices):,} vertices, {len(human.joints)} joints, {height_m:.2f} m from top to bottom")
    print("wears:", ", ".join(f"{name} {value}" for name, value in human.info["attributes"].items()))

    save_person(human, folder / "person.glb")  # or .ply, .obj, .bvh
    (folder / "views.png").write_bytes(encode_png(turntable(human.mesh)))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except SomacastError as fault:  # no person in the picture, not a picture, ...
        sys.exit(f"error: {fault}")
