"""`somacast data synth` and `somacast data check-assets`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from somacast.cli.dispatch import Verb
from somacast.errors import SomacastError
from somacast.options import Folder
from somacast.synthetic.datasets.config import SynthConfig

VERBS = {
    "synth": Verb(
        "write a data set of synthetic people: pictures and everything that is true about them",
        "somacast.synthetic.datasets.config:SynthConfig",
        "somacast.cli.data:synth",
    ),
    "check-assets": Verb(
        "name every fault of an asset folder", "somacast.cli.data:CheckAssets", "somacast.cli.data:check", True
    ),
}


@dataclass(frozen=True)
class CheckAssets:
    """Name every fault of an asset folder; exit code 2 if there is one.

    Example: somacast data check-assets my_assets
    """

    folder: Annotated[tyro.conf.Positional[Path], Folder("assets")]
    """folder in the format of docs/assets.md"""


def synth(config: SynthConfig) -> int:
    """Make people."""
    from somacast.synthetic.datasets.writer import synthesise

    manifest = synthesise(config)
    print(f"{config.out}: {len(manifest['files'])} files, sha256 of the set {manifest['sha256']}")
    return 0


def check(arguments: CheckAssets) -> int:
    """Check, list the faults."""
    from somacast.synthetic.rigged.reader import check_rigged
    from somacast.synthetic.wardrobe.assets import check_assets

    faults = check_assets(arguments.folder) + check_rigged(arguments.folder)
    for fault in faults:
        print(fault)
    if faults:
        raise SomacastError(f"{arguments.folder}: {len(faults)} faults in this asset folder")
    print(f"{arguments.folder}: no faults")
    return 0
