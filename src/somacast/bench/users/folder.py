"""What worker processes gain: a folder of pictures by `somacast encode FOLDER`, against the same pictures one after the
other in one process. Both times hold the start of their processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from somacast.checks import check_count
from somacast.errors import SomacastError

_ONE_BY_ONE = "import sys; from somacast.bench.users.folder import one_by_one; one_by_one(*sys.argv[1:])"


def measure(
    pictures: int = 200, workers: int = 2, rounds: int = 3, size_px: int = 256, seed: int = 0
) -> dict[str, Any]:
    """times: one process over the folder's run, the median of `rounds` in which both run in turn on the same `pictures`
    of `pictures / rounds` each; one_process_s, folder_s: wall clock of all rounds; one_process_cpu_s, folder_cpu_s: the
    processor's seconds, which tell how busy the machine was with other things; made: files of the folder's runs."""
    check_count("pictures", pictures, workers)
    check_count("rounds", rounds, 1)
    alone, together, made = [], [], 0
    with tempfile.TemporaryDirectory() as name:
        for number in range(rounds):
            folder, out = Path(name, f"in{number}"), Path(name, f"out{number}")
            folder.mkdir()
            draw(folder, pictures, size_px, number)
            alone.append(_timed(["-c", _ONE_BY_ONE, str(folder), str(out) + "-alone"]))
            words = ["encode", str(folder), "-o", str(out), "--workers", str(workers)]
            together.append(_timed(["-m", "somacast", *words], allowed=(0, 3)))
            made += len(list(out.glob("*.soma")))
    return {
        "times": median(a[0] / b[0] for a, b in zip(alone, together, strict=True)),
        "one_process_s": sum(wall for wall, _ in alone),
        "folder_s": sum(wall for wall, _ in together),
        "one_process_cpu_s": sum(cpu for _, cpu in alone),
        "folder_cpu_s": sum(cpu for _, cpu in together),
        "pictures": pictures * rounds,
        "made": made,
        "workers": workers,
    }


def draw(folder: Path, count: int, size_px: int, seed: int) -> None:
    """Pictures of one synthetic person each, 000.png and so on."""
    from PIL import Image

    from somacast.synthetic.samples import SceneConfig, SyntheticPeople

    people = SyntheticPeople("test", seed, None, SceneConfig(size_px=size_px, views_per_person=1))
    for number in range(count):
        for sample in people.samples(number):
            Image.fromarray(sample.image).save(folder / f"{number:03d}.png")


def one_by_one(folder: str, out: str) -> None:
    """All pictures of a folder by one sender, as a script of a user would do it."""
    from somacast.files import write_atomically
    from somacast.pipeline.still.sender import Sender, capture_of

    Path(out).mkdir()
    sender = Sender()
    for path in sorted(Path(folder).iterdir()):
        try:
            write_atomically(Path(out, f"{path.stem}.soma"), sender.encode(capture_of(path)).data)
        except SomacastError:
            continue


def _timed(words: list[str], allowed: tuple[int, ...] = (0,)) -> tuple[float, float]:
    """Wall clock and processor seconds of a Python process and its children, with as many threads as it likes."""
    limits = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = {key: value for key, value in os.environ.items() if key not in limits}
    before, began_s = os.times(), time.perf_counter()
    run = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment)
    wall_s, after = time.perf_counter() - began_s, os.times()
    if run.returncode not in allowed:
        raise SomacastError(f"python {words[0]}: failed with code {run.returncode}: {run.stderr.strip()[-200:]}")
    cpu = sum(getattr(after, key) - getattr(before, key) for key in ("children_user", "children_system"))
    return wall_s, cpu
