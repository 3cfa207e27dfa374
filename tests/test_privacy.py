"""Nothing leaves the machine, and nothing is written but what was asked for and the cache that we name."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import somacast
from somacast.bench.users.watch import Watched, unavailable, watch
from somacast.cache import VARIABLE, cache_folder
from somacast.extras import EXTRA_OF_PACKAGE

PACKAGE = Path(somacast.__file__).parent
ROOT = PACKAGE.parents[1]
SWITCH = "ORT_DISABLE_TELEMETRY"
# Libraries that report, or write where they like, unless they are told not to: the one file that may import each.
ONE_DOOR = {"onnxruntime": "src/somacast/weights/sessions.py", "numba": "src/somacast/kernels.py"}
watched = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))


def imported(tree: ast.AST) -> set[str]:
    """Top-level packages that a source imports when it runs, in functions too; not for types alone."""
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).partition(".")[0])
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        else:
            names |= imported(node)
            function = getattr(node, "func", None)
            if getattr(function, "attr", getattr(function, "id", "")) in ("import_module", "importorskip"):
                names |= {str(a.value).partition(".")[0] for a in node.args if isinstance(a, ast.Constant)}
    return names


def test_onnx_runtime_and_numba_have_one_door():
    sources = [p for part in ("src", "tests", "examples") for p in (ROOT / part).rglob("*.py")]
    named = {path: text for path in sources if any(name in (text := path.read_text()) for name in ONE_DOOR)}
    found = {
        str(path.relative_to(ROOT)): sorted(names)
        for path, text in named.items()
        if (names := imported(ast.parse(text)) & set(ONE_DOOR))
    }
    assert found == {path: [name] for name, path in ONE_DOOR.items()}


def test_the_check_sees_an_import_wherever_it_stands():
    assert imported(ast.parse("def f():\n    if x:\n        from onnxruntime.capi import y")) == {"onnxruntime"}
    assert imported(ast.parse("x = importlib.import_module('numba.core')")) == {"numba"}
    assert imported(ast.parse("if TYPE_CHECKING:\n    import onnxruntime")) == set()


def environment(home: Path, **more: str) -> dict[str, str]:
    """An environment with an empty home, and nothing in it that switches anything off."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ORT_", "XDG_", "NUMBA_CACHE", VARIABLE))}
    home.mkdir(exist_ok=True)
    return {**kept, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", **more}


def run(code: str, home: Path, **more: str) -> str:
    words = [sys.executable, "-c", code]
    return subprocess.run(words, capture_output=True, text=True, check=True, env=environment(home, **more)).stdout


ASK_A_WORKER = f"""
import os
from multiprocessing import get_context
import somacast.weights.sessions
if __name__ == "__main__":
    with get_context("spawn").Pool(1) as pool:
        print(pool.apply(os.getenv, ("{SWITCH}",)))
"""


@pytest.mark.parametrize("given", [{}, {SWITCH: "0"}, {SWITCH: ""}])
def test_whoever_imports_us_has_telemetry_off(tmp_path, given):
    assert run(f"import somacast, os; print(os.environ['{SWITCH}'])", tmp_path, **given) == "1\n"
    assert run(f"import somacast.cli.main, os; print(os.environ['{SWITCH}'])", tmp_path, **given) == "1\n"


def test_workers_have_telemetry_off(tmp_path):
    assert run(ASK_A_WORKER, tmp_path) == "1\n"


def test_telemetry_is_also_stopped_by_call(tmp_path):
    """For a program that loaded ONNX Runtime before us."""
    code = """
import onnxruntime
onnxruntime.disable_telemetry_events = lambda: print("stopped")
from somacast.weights.sessions import open_session
open_session("detector.onnx")
"""
    assert run(code, tmp_path, **{SWITCH: "1"}) == "stopped\n"


@watched
def test_the_guard_sees_what_native_and_python_code_asks_for(tmp_path):
    code = """
import socket, subprocess, threading
def ask():
    for work in (lambda: socket.getaddrinfo("somewhere.example", 443), lambda: socket.socket(socket.AF_INET6)):
        try:
            work()
        except OSError:
            pass
    open("left.txt", "w").close()
thread = threading.Thread(target=ask)
thread.start(); thread.join()
subprocess.run(["mkdir", "-p", "made/deeper"])
socket.socketpair()
"""
    seen = watch([sys.executable, "-c", code], environment=environment(tmp_path / "home"), folder=tmp_path)
    assert seen.code == 0 and seen.look_ups > 0 and "AF_INET6" in seen.sockets and "AF_UNIX" not in seen.sockets
    assert {path.relative_to(tmp_path).as_posix() for path in seen.written} == {"left.txt", "made", "made/deeper"}
    failed = watch([sys.executable, "-c", "import sys; print('no'); sys.exit(3)"])
    assert (failed.code, failed.output, failed.sockets, failed.written) == (3, "no\n", [], [])


VERBS = """
from somacast.cli.main import main
for words in (
    "demo --out demo",
    "encode demo/input.png -o person.soma --report report.json",
    "info person.soma",
    "decode person.soma -o person.glb",
    "weights",
):
    assert main(words.split()) == 0, words
"""
API = "import somacast; print(somacast.decode(somacast.encode('demo/input.png')).mesh.vertices.shape)"


@watched
@pytest.mark.slow
def test_nothing_is_asked_of_any_network_and_nothing_written_elsewhere(tmp_path):
    """Takes seconds: each verb runs as its users run it, with an empty home."""
    cache, home = cache_folder(), tmp_path / "home"
    place = {VARIABLE: str(cache.parent)} if cache else {}  # kernels of this test run, or it would compile them all
    work = tmp_path / "work"
    work.mkdir()
    for code in (VERBS, API):
        seen = watch([sys.executable, "-c", code], environment=environment(home, **place), folder=work)
        assert seen.code == 0, seen.output
        assert (seen.sockets, seen.look_ups) == ([], 0)
        assert elsewhere(seen, work, *([cache] if cache else [])) == []
        assert list(home.iterdir()) == []
    assert {p.name for p in work.iterdir()} == {"demo", "person.soma", "report.json", "person.glb"}


IMPORT_ALL = """
import importlib, sys
for name in sys.argv[1].split():
    try:
        importlib.import_module(name)
    except ImportError:
        print("not imported:", name)
"""


@watched
@pytest.mark.slow
def test_no_library_reports_or_writes_when_it_is_loaded(tmp_path):
    """Each that any extra brings, as far as it is installed; takes seconds, torch most of them. Figures of matplotlib
    write into our cache (tests/test_extras.py)."""
    plain = "numpy numba PIL safetensors trimesh docstring_parser tyro rich google_crc32c threadpoolctl"
    names = [*plain.split(), *(name for name in EXTRA_OF_PACKAGE if name != "matplotlib")]
    command = [sys.executable, "-c", IMPORT_ALL, " ".join(names)]
    seen = watch(command, environment=environment(tmp_path / "home"), folder=tmp_path)
    assert seen.code == 0, seen.output
    assert (seen.sockets, seen.look_ups, elsewhere(seen)) == ([], 0, []), seen.output


@watched
def test_a_home_gets_one_folder_and_nothing_else(tmp_path):
    """One small kernel instead of all."""
    home = tmp_path / "home"
    code = """
import numpy as np
from somacast.geometry.gaussian import gaussian_filter
gaussian_filter(np.ones((4, 4)), 1.0, 2, (0,))
"""
    seen = watch([sys.executable, "-c", code], environment=environment(home), folder=tmp_path)
    assert seen.code == 0, seen.output
    ours = home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "somacast"
    assert ours in seen.written and any(path.suffix.startswith(".nb") or ".nb" in path.name for path in seen.written)
    assert elsewhere(seen, ours, ours.parent) == []


def elsewhere(seen: Watched, *folders: Path) -> list[Path]:
    """What was written outside of folders."""
    return [path for path in seen.written if not any(path.is_relative_to(folder) for folder in folders)]
