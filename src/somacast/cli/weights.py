"""`somacast weights`: what is in the package and whether it is whole."""

from __future__ import annotations

import json
from dataclasses import dataclass

from somacast.errors import SomacastError


@dataclass(frozen=True)
class Arguments:
    """List the weights inside the package and verify their sha256; exit code 2 if one is missing or damaged.

    Example: somacast weights --json
    """

    json: bool = False
    """the whole manifest as JSON: sha256, licence, recipe, data, score"""


def run(arguments: Arguments) -> int:
    """List, verify."""
    from somacast.weights.manifest import list_weights, verify

    entries = list_weights()
    if arguments.json:
        print(json.dumps(entries, indent=2))
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table(title="Weights in this package", title_justify="left")
        for name in ("file", "bytes", "sha256", "licence", "learnt from", "score"):
            table.add_column(name, justify="right" if name == "bytes" else "left")
        for entry in entries:
            score = entry["score"]
            text = ", ".join(f"{k} {v}" for k, v in score.items()) if isinstance(score, dict) else str(score)
            row = (entry["file"], f"{entry['bytes']:,}", entry["sha256"][:12], entry["licence"], entry["data"], text)
            table.add_row(*row)
        Console().print(table)
    faults = verify()
    if faults:
        raise SomacastError("; ".join(faults))
    if not arguments.json:
        print(f"{len(entries)} files, {sum(entry['bytes'] for entry in entries) / 1e6:.1f} MB, all verified")
    return 0
