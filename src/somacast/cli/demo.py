"""`somacast demo`: the whole chain once, with what it is worth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from somacast.cli.common import milliseconds, show_notes
from somacast.formats.export import TexturePx
from somacast.options import Device, Existing, Made, SystemName
from somacast.systems.registry import DEFAULT


@dataclass(frozen=True)
class Arguments:
    """Send one person through the whole chain and write the results.

    Without --image a synthetic person is used. Written are person.soma of at most 600 bytes, which holds the picture
    itself, person.glb and contact_sheet.png, which shows beside it what the system sends without a budget.

    Example: somacast demo --image person.jpg --out runs/demo
    """

    image: Annotated[Path | None, Existing("a picture")] = None
    """picture of a person; a synthetic person if not given"""
    out: Annotated[Path, Made()] = Path("runs/demo")
    """folder for the results, made if needed"""
    system: SystemName = DEFAULT
    """which system sends the person"""
    texture: TexturePx | None = None
    """side of the person's texture in texels; 1024 if not given"""
    device: Device = "cpu"

    @property
    def more_written(self) -> list[Path]:
        """Files in the folder."""
        built_in = ["input.png"] if self.image is None else []
        return [self.out / name for name in ("person.soma", "person.glb", "contact_sheet.png", *built_in)]


def run(arguments: Arguments) -> int:
    """Run, print."""
    from somacast.pipeline.still.demo import run_demo

    show(run_demo(arguments.image, arguments.out, arguments.device, arguments.system, arguments.texture))
    return 0


def show(result: dict[str, Any]) -> None:
    """Sizes, times and files as tables."""
    from rich.console import Console
    from rich.table import Table

    show_notes(result["notes"])
    console = Console()
    soma_bytes = result["soma_bytes"]
    sizes = Table(title="The same person, sent as", title_justify="left")
    for name, justify in (("what", "left"), ("bytes", "right"), ("times ours", "right"), ("remark", "left")):
        sizes.add_column(name, justify=justify)  # type: ignore[arg-type]
    sizes.add_row(
        "[bold].soma file[/bold]", f"[bold]{soma_bytes:,}[/bold]", "1", "a 3D person with the picture on them"
    )
    plain_bytes = result["plain_bytes"]
    plain = [f"[bold]{text}[/bold]" for text in (".soma file without a budget", f"{plain_bytes:,}")]
    sizes.add_row(*plain, f"{plain_bytes / soma_bytes:.1f}", "a coloured 3D person")
    picture = result["picture"]
    rows = [(f"picture {picture['path'].name}", picture["bytes"], "the file as it is")]
    rows += [(baseline.name, baseline.size_bytes, baseline.remark) for baseline in result["baselines"]]
    for name, size_bytes, remark in rows:
        known = size_bytes is not None
        sizes.add_row(
            name, f"{size_bytes:,}" if known else "-", f"{size_bytes / soma_bytes:.1f}" if known else "-", remark
        )
    console.print(sizes)
    times = Table(title="Stage times", title_justify="left")
    times.add_column("stage")
    times.add_column("time", justify="right")
    for stage, seconds in result["stage_times_s"].items():
        times.add_row(stage, milliseconds(seconds))
    console.print(times)
    for name, path in result["files"].items():
        print(f"{name.replace('_', ' ')}: {path}")
