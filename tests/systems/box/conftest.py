"""Installs the box for the tests of this folder, as pip would: its folder on the path, with its entry point."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def box_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
    yield
    for name in [name for name in sys.modules if name.startswith("box_system")]:
        del sys.modules[name]
