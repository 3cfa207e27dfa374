"""`somacast evaluate`: a system on test people, as docs/protocol.md says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from somacast.cli.common import Device, check_device, check_output, check_positive, parse
from somacast.errors import SomacastError

SYNTHETIC_TEST = "synthetic-test"


@dataclass(frozen=True)
class Arguments:
    """Measure a system on test people and write the results as JSON.

    Data is a folder, or synthetic-test for people made on the fly whose bodies and motions no training has seen.

    Example: somacast evaluate --system aflsc --data synthetic-test --people 40 --json results/aflsc.json
    """

    system: str
    """system to measure"""
    data: str
    """folder with people, or synthetic-test"""
    json: Annotated[Path, tyro.conf.arg(name="json")]
    """file for the results"""
    format: Literal["thuman2", "meshes", "synthetic"] = "synthetic"
    """layout of the folder: THuman2.0, a folder of GLB or OBJ people, or what `somacast data synth` writes"""
    people: int | None = None
    """how many people; all of a folder if not given; a folder of meshes gives four pictures of each"""
    assets: Path | None = None
    """asset wardrobe and motions for synthetic-test"""
    seed: int = 0
    """start of all randomness"""
    budget_bytes: int | None = None
    """most bytes a person may have; full quality if not given"""
    tell_height: bool = False
    """tell the sender how tall each person stands, as encode --height-m does"""
    sheet: Path | None = None
    """PNG with the worst, the median and the best person"""
    device: Device = "cpu"


def run(argv: Sequence[str]) -> int:
    """Parse and evaluate."""
    arguments = parse(Arguments, argv, "somacast evaluate")
    check_output(arguments.json, (".json",))
    if arguments.sheet:
        check_output(arguments.sheet, (".png",))
    check_positive(people=arguments.people, budget_bytes=arguments.budget_bytes)
    if arguments.data != SYNTHETIC_TEST and not Path(arguments.data).is_dir():
        raise SomacastError(f"{arguments.data}: no such folder; expected one with people, or {SYNTHETIC_TEST}")
    if arguments.assets and not arguments.assets.is_dir():
        raise SomacastError(f"{arguments.assets}: no such folder; expected one with assets")
    device = check_device(arguments.device)
    from somacast.bench.quality.evaluate import EvaluateConfig, evaluate_system

    options = {name: value for name, value in vars(arguments).items() if name not in ("json", "device")}
    evaluate_system(EvaluateConfig(json_path=arguments.json, device=device, **options))
    return 0
