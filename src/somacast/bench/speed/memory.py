"""Peak memory of a half of the chain or of both, in a process that does nothing else.

    python -m somacast.bench.speed.memory aflsc cpu IMAGE FILE.soma [sender|receiver|chain]

Prints the most memory the process has held, in bytes. IMAGE is read by the sender, FILE.soma is written by it and
read by the receiver.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROLES = ("sender", "receiver", "chain")


def peak_bytes() -> int | None:
    """The most memory this program has held since it started; None on Windows.

    Linux counts what the parent held before into ru_maxrss of a child process; VmHWM starts afresh with the program.
    """
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        from somacast.bench.quality.evaluate import peak_memory

        return peak_memory()


def run(system: str, device: str, image: Path, file: Path, role: str) -> None:
    """Load and use the halves that the role needs, once."""
    if role != "receiver":
        from somacast.capture.pictures import read_image
        from somacast.pipeline.still.sender import Sender
        from somacast.types import Capture

        file.write_bytes(Sender(system, device).encode(Capture([read_image(image)])).data)
    if role != "sender":
        from somacast.pipeline.still.receiver import Receiver

        Receiver(device).decode(file.read_bytes()).mesh()


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5])
    print(json.dumps(peak_bytes()))
