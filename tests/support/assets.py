"""Where the asset folder lies, for tests that look at real people; they skip, loudly, where it is not."""

import os
from pathlib import Path

import pytest

ASSETS = Path(os.environ.get("SOMACAST_ASSETS") or Path(__file__).parents[3] / "shared" / "assets")
needs_rigged = pytest.mark.skipif(
    not (ASSETS / "rigged").is_dir(), reason=f"NO RIGGED PEOPLE IN {ASSETS}: name an asset folder with SOMACAST_ASSETS"
)
