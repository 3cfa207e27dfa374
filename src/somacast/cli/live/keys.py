"""`somacast keys`: an authority and a certificate for each machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from somacast.options import Made


@dataclass(frozen=True)
class Arguments:
    """Make the keys that let machines trust each other: an authority, and a folder for every machine.

    Example: somacast keys home-keys --host studio.example.org --host 192.0.2.7
    """

    out_dir: Annotated[tyro.conf.Positional[Path], Made()]
    """folder to make; run again with the same folder and new names to let more machines in"""
    name: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """a machine to let in, once for each; sender, receiver and relay if not given"""
    host: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """host name or address under which these machines are reached, once for each; localhost is always among them"""
    days: int = 365
    """how long the certificates last"""
    replace: bool = False
    """overwrite certificates of the same names"""


def run(arguments: Arguments) -> int:
    """Make keys, say what to copy where."""
    from somacast.network.keys import AUTHORITY_KEY, ROLES, make_keys

    folders = make_keys(
        arguments.out_dir,
        arguments.name or ROLES,
        arguments.host,
        days=arguments.days,
        replace=arguments.replace,
    )
    width = max(len(folder.name) for folder in folders)
    for folder in folders:
        print(
            f"{folder.name:<{width}}  copy the folder {folder} to that machine, and name it there: --keys {folder.name}"
        )
    print(f"Keep {arguments.out_dir / AUTHORITY_KEY} to yourself: whoever has it can let machines in.")
    return 0
