"""The cache: where it is, whose it is, and that a kernel runs the same with one, with none and with a broken one."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import somacast
from somacast import cache
from somacast.cache import NONE, VARIABLE, cache_folder, platform_caches

VERSION = somacast.__version__


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch, tmp_path):
    """A user with an empty home and temporary folder of their own, and no word about caches."""
    for name in (VARIABLE, "XDG_CACHE_HOME", "LOCALAPPDATA", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, folder in (("HOME", "home"), ("TMPDIR", "temporary")):
        (tmp_path / folder).mkdir()
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(sys, "platform", "linux")
    cache_folder.cache_clear()
    yield
    cache_folder.cache_clear()


def private_one(tmp_path: Path) -> Path:
    return tmp_path / "temporary" / f"somacast-{os.getuid()}"


def test_it_is_where_the_platform_keeps_caches(monkeypatch, tmp_path):
    home = tmp_path / "home"
    assert cache_folder() == home / ".cache" / "somacast" / VERSION
    assert stat.S_IMODE((home / ".cache" / "somacast").stat().st_mode) == 0o700
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "with a space, \u00fcml\u00e4ut"))
    assert platform_caches() == tmp_path / "with a space, \u00fcml\u00e4ut"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the standard forbids
    assert platform_caches() == home / ".cache"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert platform_caches() == home / "Library" / "Caches"
    monkeypatch.setattr(sys, "platform", "win32")
    assert platform_caches() == home / "AppData" / "Local"
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert platform_caches() == tmp_path / "local"


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_without_a_home_a_private_folder_takes_its_place(monkeypatch, tmp_path, platform):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does for a user whom nobody knows
    assert platform_caches() is None
    assert cache_folder() == private_one(tmp_path) / VERSION
    assert stat.S_IMODE(private_one(tmp_path).stat().st_mode) == 0o700


@pytest.mark.parametrize("home", ["/dev/null", "/proc/nowhere", "/"])
def test_a_home_that_cannot_be_written_is_left_alone(monkeypatch, tmp_path, home):
    monkeypatch.setenv("HOME", home)
    if home == "/":
        monkeypatch.setenv("XDG_CACHE_HOME", "/proc")
    assert cache_folder() == private_one(tmp_path) / VERSION


def test_nothing_can_be_written(monkeypatch):
    monkeypatch.setenv("HOME", "/dev/null")

    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert cache_folder() is None


@pytest.mark.parametrize("trap", ["open to all", "a link", "a file", "of another user"])
def test_a_folder_that_others_can_fill_is_not_used(monkeypatch, tmp_path, trap):
    """What lies in a cache is run: in a temporary folder anybody may have been there first."""
    monkeypatch.setenv("HOME", "/dev/null")
    place = private_one(tmp_path)
    if trap == "a link":
        (tmp_path / "elsewhere").mkdir()
        place.symlink_to(tmp_path / "elsewhere")
    elif trap == "a file":
        place.touch()
    else:
        place.mkdir()
        place.chmod(0o777 if trap == "open to all" else 0o755)
    stranger = os.getuid() + 1
    if trap == "of another user":
        monkeypatch.setattr(cache.os, "getuid", lambda: stranger)
        place.rename(private_one(tmp_path))
    assert cache_folder() is None


def test_the_user_names_it_or_wants_none(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "a" / "b"))
    assert cache_folder() == tmp_path / "a" / "b" / VERSION
    for word in (NONE, "/dev/null/x"):  # a folder that cannot be: none, not another one
        cache_folder.cache_clear()
        monkeypatch.setenv(VARIABLE, word)
        assert cache_folder() is None
    cache_folder.cache_clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "here")
    assert cache_folder() == tmp_path / "here" / VERSION
    assert list((tmp_path / "home").iterdir()) == []


def test_versions_do_not_share(monkeypatch, tmp_path):
    first = cache_folder()
    cache_folder.cache_clear()
    monkeypatch.setattr(cache, "__version__", "9.9")
    assert cache_folder() == first.parent / "9.9" != first


# -- kernels ----------------------------------------------------------------------------------------------------------

CALLED = """
from somacast.kernels import compiled

@compiled()
def part(x):
    return x + {part}
"""
CALLER = """
from somacast.kernels import compiled
from called import part

@compiled(nogil=True)
def whole(x):
    return part(x) * 10
"""
USER = """
import sys
sys.path.insert(0, {folder!r})
{before}
from caller import whole
print(whole(1), sum(whole.stats.cache_hits.values()))
"""


def answers(tmp_path: Path, before: str = "", part: int = 1, **environment: str) -> list[int]:
    """What the kernel gives for 1 in a fresh interpreter, and how often it came out of the cache."""
    folder = tmp_path / "sources of \u00fcs"
    folder.mkdir(exist_ok=True)
    (folder / "called.py").write_text(CALLED.format(part=part))
    (folder / "caller.py").write_text(CALLER)
    run = subprocess.run(
        [sys.executable, "-c", USER.format(folder=str(folder), before=before)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return [int(word) for word in run.stdout.split()]


def test_the_second_start_compiles_nothing(tmp_path):
    assert answers(tmp_path) == [20, 0]
    assert answers(tmp_path) == [20, 1]
    assert list(tmp_path.glob("sources*/*/")) == []  # numba's own cache stands there


def test_a_kernel_that_calls_a_changed_one_is_compiled_again(tmp_path):
    assert answers(tmp_path) == [20, 0]
    assert answers(tmp_path, part=2) == [30, 0]


@pytest.mark.parametrize("place", [NONE, "/dev/null/x"])
def test_without_a_cache_kernels_are_compiled_each_time(tmp_path, place):
    assert answers(tmp_path, **{VARIABLE: place}) == [20, 0]
    assert list((tmp_path / "home").iterdir()) == []


def test_a_kernel_without_sources_is_compiled(tmp_path):
    """As in a package of compiled files alone, or typed into a prompt."""
    before = (
        "from somacast.kernels import compiled\nexec('@compiled()\\ndef typed(x): return x + 5')\nassert typed(1) == 6"
    )
    assert answers(tmp_path, before=before) == [20, 0]


def test_a_full_disk_costs_the_cache_and_nothing_else(tmp_path):
    full = "import resource, signal; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))"
    full += "; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)"
    assert answers(tmp_path, before=full) == [20, 0]
    assert not [p for p in (tmp_path / "home").rglob("*") if p.is_file() and p.stat().st_size > 100]
    assert answers(tmp_path) == [20, 0]  # there is room again


def test_damaged_files_are_compiled_anew(tmp_path):
    answers(tmp_path)
    files = {path: path.read_bytes() for path in (tmp_path / "home").rglob("*.nb?")}
    assert {path.suffix for path in files} == {".nbi", ".nbc"}
    for content, suffixes in ((b"", ".nbi .nbc"), (b"no pickle", ".nbi"), (b"\x80\x04.", ".nbc")):
        for path, whole in files.items():
            path.write_bytes(content if path.suffix in suffixes.split() else whole)
        assert answers(tmp_path) == [20, 0]


def test_a_filled_cache_may_be_read_only(tmp_path):
    """Root may write all the same, and becomes somebody else where that one may come here."""
    place = tmp_path / "filled"
    assert answers(tmp_path, **{VARIABLE: str(place)}) == [20, 0]
    for path in [*place.rglob("*"), place]:
        path.chmod(path.stat().st_mode & ~0o222)
    nobody = "import os; os.geteuid() or os.setresuid(65534, 65534, 65534)"
    for path in [tmp_path, *tmp_path.parents]:
        if not path.stat().st_mode & 0o001:
            nobody = ""  # another user does not get here
    try:
        assert answers(tmp_path, before=nobody, **{VARIABLE: str(place)}) == [20, 1]
    finally:
        for path in [place, *place.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o700)
