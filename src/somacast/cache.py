"""The one folder that Somacast writes into unasked: what it can make anew, so that the next start is quick."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from somacast import __version__

VARIABLE = "SOMACAST_CACHE"
NONE = "off"


@lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """The folder of this version's cache, or None where there is none.

    SOMACAST_CACHE names it, or says "off" for none; it may be filled and read-only. Without that word it is the
    platform's folder for caches, or where that cannot be written a private one among the temporary files.
    """
    asked = os.environ.get(VARIABLE, "")
    if asked == NONE:
        return None
    if asked:
        return _usable(Path(os.path.abspath(os.path.expanduser(asked))), private=False)
    return next((found for found in map(_usable, _candidates()) if found is not None), None)


def _candidates() -> Iterator[Path]:
    """Folders in order of preference; the second is looked for, by writing, only when the first is of no use."""
    caches = platform_caches()
    if caches is not None:
        yield caches / "somacast"
    with suppress(OSError):  # where there is no temporary folder either
        yield Path(tempfile.gettempdir(), f"somacast-{os.getuid()}" if hasattr(os, "getuid") else "somacast")


def platform_caches() -> Path | None:
    """Where this platform keeps the caches of a user; None for a user without a home."""
    home = os.path.expanduser("~")
    known = os.path.isabs(home)
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", "")
        return Path(local) if os.path.isabs(local) else Path(home, "AppData", "Local") if known else None
    if sys.platform == "darwin":
        return Path(home, "Library", "Caches") if known else None
    named = os.environ.get("XDG_CACHE_HOME", "")
    return Path(named) if os.path.isabs(named) else Path(home, ".cache") if known else None


def _usable(folder: Path, private: bool = True) -> Path | None:
    """The version's folder in a cache, made if it is missing; None if it can be neither written nor, where it is not to
    be private, read. What it holds is code that will run: a private one belongs to this user and to nobody else."""
    place = folder / __version__
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
        if private and not (_is_ours(folder) and _is_ours(place)):
            return None
    except OSError:
        pass
    reads, writes = os.access(place, os.R_OK | os.X_OK), os.access(place, os.W_OK | os.X_OK)
    return place if writes or (reads and not private) else None


def _is_ours(folder: Path) -> bool:
    if not hasattr(os, "getuid"):  # Windows: the folders of a user are closed to others
        return True
    state = folder.lstat()
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o022
