"""The committed results, every file of them, and what must be true of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from somacast.bench.results import Result, read_result
from somacast.bench.users.config import PARTS
from somacast.errors import SomacastError
from somacast.systems.registry import DEFAULT
from somacast.weights.manifest import origins

FOLDER = "results"
# Names of result files, without ending; all others are called as their benchmark.
FULL, SMALL, HEIGHT, RIGGED, OTHERS = (
    DEFAULT,
    f"{DEFAULT}_small",
    f"{DEFAULT}_height",
    f"{DEFAULT}_rigged",
    "others",
)
LIKENESS, LIKENESS_RIGGED = "likeness", "likeness_rigged"
SIDES, SIDES_RIGGED = "sides", "sides_rigged"
CHAIN, CHAIN_RIGGED, ALLOCATION = "chain", "chain_rigged", "allocation"
_EVALUATE = f"somacast evaluate --system {DEFAULT}"
# How to make a file that is not there, or that did not record its command.
COMMANDS = {
    FULL: f"{_EVALUATE} --data synthetic-test --json results/stills/{FULL}.json",
    SMALL: f"{_EVALUATE} --data synthetic-test --budget-bytes N --json results/stills/{SMALL}.json",
    HEIGHT: f"{_EVALUATE} --data synthetic-test --tell-height --json results/stills/{HEIGHT}.json",
    RIGGED: f"{_EVALUATE} --data rigged-test --assets ASSETS --json results/stills/{RIGGED}.json",
    OTHERS: f"{_EVALUATE} --data FOLDER --format meshes --json results/stills/{OTHERS}.json",
    "speed": "somacast bench speed --json results/stills/speed.json",
    "people": "somacast bench people --json results/stills/people.json",
    "ablations": "somacast bench study aflsc ablations --run RUN --json results/stills/ablations.json",
    "detector": "somacast bench detector --json results/stills/detector.json",
    "rd": "somacast bench rd --json results/stills/rd.json",
    "rd_rigged": "somacast bench rd --data rigged-test --assets ASSETS --json results/stills/rd_rigged.json",
    LIKENESS: f"somacast bench likeness --json results/likeness/{LIKENESS}.json",
    LIKENESS_RIGGED: "somacast bench likeness --data rigged-test --assets ASSETS "
    f"--json results/likeness/{LIKENESS_RIGGED}.json",
    SIDES: f"somacast bench study {DEFAULT} sides --json results/looks/{SIDES}.json",
    SIDES_RIGGED: f"somacast bench study {DEFAULT} sides --data rigged-test --assets ASSETS "
    f"--json results/looks/{SIDES_RIGGED}.json",
    CHAIN: f"somacast bench study {DEFAULT} chain --people 40 --json results/looks/{CHAIN}.json",
    CHAIN_RIGGED: f"somacast bench study {DEFAULT} chain --data rigged-test --assets ASSETS "
    f"--json results/looks/{CHAIN_RIGGED}.json",
    ALLOCATION: f"somacast bench study {DEFAULT} allocation --json results/looks/{ALLOCATION}.json",
    "video": "somacast bench video --json results/live/video.json",
    "link": "somacast bench link --json results/live/link.json",
    "live": "somacast bench live --json results/live/live.json",
    "soak": "somacast bench soak --json results/live/soak.json",
    "fuzz": "somacast bench fuzz --json results/live/fuzz.json",
}
COMMANDS |= {part: f"somacast bench users --parts {part} --out results/users" for part in PARTS}
WITHOUT_WEIGHTS = ("people",)  # benchmarks in which no network runs


@dataclass(frozen=True)
class Committed:
    """A result and where it lies, relative to the working copy."""

    path: Path
    result: Result

    @property
    def command(self) -> str:
        """What makes it again, as far as that is known."""
        found = self.result.provenance.command or COMMANDS.get(self.path.stem)
        return found or f"somacast bench {self.result.benchmark}"


def read_all(root: Path) -> dict[str, Committed]:
    """Every result under results/, by the name of its file without ending. SomacastError for a file that is no result,
    and for two of one name."""
    found: dict[str, Committed] = {}
    for path in sorted((root / FOLDER).rglob("*.json")):
        place = path.relative_to(root)
        if path.stem in found:
            raise SomacastError(f"{place}: expected one file of this name, got {found[path.stem].path} too")
        try:
            found[path.stem] = Committed(place, read_result(path))
        except SomacastError as fault:
            raise SomacastError(f"{fault}; make it with: {COMMANDS.get(path.stem, 'somacast bench')}") from fault
    return found


def main_file(result: Result) -> str:
    """The weights file of the result's system; old files did not record it, and none but the default was there."""
    return f"{result.provenance.system or DEFAULT}.safetensors"


def weights_of(result: Result) -> str | None:
    """Digest of the system's own weights; ablations hold them as the variant with nothing taken away. None if the
    result names no such file."""
    digests = result.provenance.weights_sha256 or {}
    return digests.get(main_file(result), digests.get("full.safetensors"))


def weights_faults(results: Mapping[str, Committed]) -> Iterator[str]:
    """Results that name no weights, or others than those of the package (the checkpoint that a file was written from
    counts as that file), one line each."""
    for one in results.values():
        result, digests = one.result, one.result.provenance.weights_sha256
        if result.benchmark in WITHOUT_WEIGHTS:
            continue
        if not digests:
            yield f"{one.path} names no weights: run {one.command}"
            continue
        known = origins(main_file(result))
        if known:
            same = weights_of(result) in known
        else:  # a system without weights of its own, that uses others'
            same = any(digest in origins(file) for file, digest in digests.items())
        if not same:
            yield f"{one.path} was made with other weights than those of the package: run {one.command}"
