"""`somacast bench ...`: the figures of docs/results.md; those of the live stream are measured in live_verbs.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from somacast.bench.detection.config import DetectorBench
from somacast.bench.likeness.config import LikenessConfig, SheetConfig
from somacast.bench.quality.config import AgainstConfig, EvaluateConfig
from somacast.bench.rate_distortion.config import RdConfig
from somacast.bench.speed.config import PeopleBench, SpeedConfig
from somacast.bench.users.config import UsersBench
from somacast.cli.dispatch import Group, Verb
from somacast.errors import SomacastError
from somacast.options import Folder


def _verb(config: str, run: str, summary: str) -> Verb:
    return Verb(summary, f"somacast.bench.{config}", f"somacast.cli.bench.{run}")


VERBS = {
    "speed": _verb("speed.config:SpeedConfig", "verbs:speed",
                   "time of every stage and of whole commands, peak memory, size on disk"),
    "people": _verb("speed.config:PeopleBench", "verbs:people", "how many synthetic people are drawn per second"),
    "rd": _verb("rate_distortion.config:RdConfig", "verbs:rate_distortion",
                "quality against bytes: our labels, picture codecs with our reconstruction, Draco and OBJ meshes"),
    "likeness": _verb("likeness.config:LikenessConfig", "verbs:likeness",
                      "how like people look at several budgets, from all sides, with a sheet of them"),
    "sheet": _verb("likeness.config:SheetConfig", "verbs:sheet",
                   "the people of photographs, rebuilt at several budgets, from all sides on one sheet"),
    "study": Group("what a system measures of its own parts", "somacast.cli.bench.study:systems",
                   missing="study: expected a system, one of {known} (see {prog} --help)"),
    "against": _verb("quality.config:AgainstConfig", "verbs:against",
                     "this checkout beside another one: the same people? how much quicker?"),
    "detector": _verb("detection.config:DetectorBench", "verbs:detector",
                      "is the one person in a picture found, and nobody taken for somebody?"),
    "link": _verb("network.config:LinkBenchConfig", "live_verbs:link",
                  "how well rate controls hold a link whose capacity steps"),
    "video": _verb("network.config:VideoBench", "live_verbs:video",
                   "what moving people cost, how smooth they are, and what losses do to them"),
    "live": _verb("network.config:LiveBench", "live_verbs:live",
                  "delay from camera to screen, and how soon somebody is seen over a bad link"),
    "soak": _verb("robustness.config:SoakConfig", "live_verbs:soak",
                  "an hour of trouble on a simulated clock: crashes, memory, stalls"),
    "fuzz": _verb("robustness.config:FuzzConfig", "live_verbs:fuzz",
                  "a million changed packets: crashes, hangs, memory, stalls"),
    "users": _verb("users.config:UsersBench", "verbs:users",
                   "what users run into: privacy, starts, time, memory, folders, kinds of files, people cut"),
    "report": Verb("draw the tables of docs/results.md and the curves from the results",
                   "somacast.cli.bench.verbs:Report", "somacast.cli.bench.verbs:report"),
}  # fmt: skip


@dataclass(frozen=True)
class Report:
    """Draw the tables of docs/results.md from the committed results, and the curves.

    With --check nothing is written: exit code 2 if a file is no result or names no weights, or the page says something
    else than the results do.

    Example: somacast bench report --check
    """

    root: Annotated[Path, Folder("docs/ and results/")] = Path(".")
    """working copy with docs/ and results/"""
    check: bool = False
    """only compare"""


def evaluate(config: EvaluateConfig) -> int:
    """Measure, as docs/protocol.md says."""
    from somacast.bench.quality.evaluate import evaluate_system

    evaluate_system(config)
    return 0


def speed(config: SpeedConfig) -> int:
    """Measure."""
    from somacast.bench.speed.stages import measure_speed

    measure_speed(config)
    return 0


def people(config: PeopleBench) -> int:
    """Draw, show the rates."""
    from somacast.bench.speed.people import run

    for row in run(config).rows:
        print(f"{row['processes']} processes: {row['samples_per_s']:.1f} samples/s")
    return 0


def rate_distortion(config: RdConfig) -> int:
    """Measure."""
    from somacast.bench.rate_distortion.measure import measure_rd

    measure_rd(config)
    return 0


def likeness(config: LikenessConfig) -> int:
    """Measure."""
    from somacast.bench.likeness.measure import measure_likeness

    measure_likeness(config)
    return 0


def sheet(config: SheetConfig) -> int:
    """Rebuild, show what could not be."""
    import sys

    from somacast.bench.likeness.photographs import make_sheet

    for line in make_sheet(config):
        print(line, file=sys.stderr)
    return 0


def against(config: AgainstConfig) -> int:
    """Compare, show the ratios."""
    from somacast.bench.quality.against import measure_against

    found = measure_against(config).results
    for name, row in found["times"].items():
        print(f"{name}: {row['here_s']:.3f} s here, {row['there_s']:.3f} s there, {row['ratio']:.3f} times")
    for name, row in found["same_people"]["figures"].items():
        print(f"{name}: {row['here']:.5g} here, {row['there']:.5g} there, at most {row['largest']:.3g} for one person")
    return 0


def detector(config: DetectorBench) -> int:
    """Measure, show the shares."""
    from somacast.bench.detection.measure import measure_detector

    found = measure_detector(config).results
    for name in ("detector", "sender"):
        row = found[name]
        print(f"{name}: {row['found']:.1%} of {found['people']} found, {row['false']:.1%} of {found['empty']} false")
    return 0


def report(arguments: Report) -> int:
    """Draw or compare."""
    from somacast.bench.report.document import check, write

    if arguments.check:
        faults = check(arguments.root)
        if faults:
            raise SomacastError("; ".join(faults))
        print("docs/results.md agrees with the results")
        return 0
    for path in write(arguments.root):
        print(path)
    return 0


def users(config: UsersBench) -> int:
    """Measure, a line for each part."""
    import sys

    from somacast.bench.users.measure import measure_users

    measure_users(config, lambda line: print(line, file=sys.stderr, flush=True))
    return 0
