"""`somacast info`: what is inside a .soma file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from somacast.cli.common import read_file, show_notes
from somacast.options import Existing

LARGEST_BYTES = 1 << 30  # of a video of days


@dataclass(frozen=True)
class Arguments:
    """Show header, layers and the bits of every label group of a .soma file.

    Example: somacast info person.soma --json
    """

    file: Annotated[tyro.conf.Positional[Path], Existing("a .soma file", stream=True)]
    """.soma file; - for one on standard input"""
    json: bool = False
    """everything as JSON, every label with its symbols and value included"""


def run(arguments: Arguments) -> int:
    """Describe, print."""
    data = read_file(arguments.file, "a .soma file", LARGEST_BYTES)
    from somacast.pipeline.still.inspect import describe

    description = describe(data)
    if arguments.json:
        print(json.dumps(description, indent=2))
        return 0
    show_notes(description["notes"])
    show(description)
    return 0


def show(description: dict[str, Any]) -> None:
    """Header, layers and groups as tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    header = Table(title="Header", title_justify="left", show_header=False)
    for name, value in description["header"].items():
        header.add_row(name.replace("_", " "), str(value))
    payload = " + ".join(str(layer["bytes"]) for layer in description["layers"])
    header.add_row("layers, bytes each", payload)
    packets = [packet for packet in description.get("packets", ()) if packet["kind"] == "motion"]
    if packets:
        motion, alone = sum(packet["bytes"] for packet in packets), sum(packet["stands_alone"] for packet in packets)
        header.add_row("packets of motion", f"{len(packets)}, {motion:,} bytes, {alone} stand alone")
        header.add_row("kbit/s of motion", f"{8 * motion / max(description['header']['seconds'], 1e-9) / 1000:.2f}")
    console.print(header)
    groups = Table(title="Label groups", title_justify="left", show_footer=True)
    total = {
        key: sum(group[key] for group in description["groups"]) for key in ("sent", "labels", "levels_sent", "levels")
    }
    bits = sum(group["bits"] for group in description["groups"])
    groups.add_column("group", footer="all")
    groups.add_column("labels sent", justify="right", footer=f"{total['sent']} of {total['labels']}")
    groups.add_column("levels sent", justify="right", footer=f"{total['levels_sent']} of {total['levels']}")
    groups.add_column("bits", justify="right", footer=f"{bits:.1f}")
    for group in description["groups"]:
        groups.add_row(
            group["group"],
            f"{group['sent']} of {group['labels']}",
            f"{group['levels_sent']} of {group['levels']}",
            f"{group['bits']:.1f}",
        )
    if description["groups"]:
        console.print(groups)
