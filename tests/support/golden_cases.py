"""Shared by test_bitstream.py and test_format.py."""

from __future__ import annotations

import json
from pathlib import Path

GOLDEN = (Path(__file__).parents[1] / "bitstream" / "golden" / "tiny.soma").read_bytes()
GOLDEN_CONTENT = json.loads((Path(__file__).parents[1] / "bitstream" / "golden" / "tiny.json").read_text())
