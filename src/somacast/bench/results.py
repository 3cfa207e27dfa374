"""Files of results: one form for all benchmarks, written and read here and nowhere else.

    describe_run(benchmark, config) -> Provenance \\
                                                    Result -> write_result -> JSON -> read_result -> Result
    figures and rows of the benchmark ------------/

A file says how it came about: the command that makes it again, its settings, seed, commit, digests of the weights,
machine and versions. What an old file never recorded is null there.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import somacast
from somacast.errors import SomacastError
from somacast.files import write_atomically

FORMAT, VERSION = "somacast result", 1
FIGURES_DEPEND_ON = ("numpy", "scipy", "numba", "pillow", "torch", "scikit-image")
# Settings that say where something is written or kept: no figure depends on them.
_PLACES = ("json", "json_path", "sheet", "figure", "cache")


@dataclass(frozen=True)
class Provenance:
    """How figures came about. command: makes them again; system: that was measured; config: every setting, by name;
    commit: with "+changes" if the working copy was not clean; weights_sha256: digests of weights files by name, {}
    where none is used; machine: cpu, cores, system; versions: of packages. None: was not recorded."""

    command: str | None
    system: str | None
    config: dict[str, Any]
    seed: int | None
    device: str | None
    commit: str | None
    weights_sha256: dict[str, str] | None
    machine: dict[str, Any]
    versions: dict[str, str]


@dataclass(frozen=True)
class Result:
    """What a benchmark found. results: figures by name; rows: of single people, cases or runs, where there are any."""

    benchmark: str
    provenance: Provenance
    results: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """As it stands in a file."""
        return {"format": FORMAT, "version": VERSION, **dataclasses.asdict(self)}


# -- how figures came about -------------------------------------------------------------------------------------------


def describe_run(
    benchmark: str,
    config: Any,
    *,
    system: str | None = None,
    weights_sha256: Mapping[str, str] | None = None,
    packages: Iterable[str] = (),
) -> Provenance:
    """Provenance of a run that is going on in this process.

    config: the benchmark's dataclass; its `system`, `seed` and `device` are taken over; system: for a config without
    one; weights_sha256: what was used, all weights of the package if not given; packages: whose versions count too.
    """
    return Provenance(
        command=command_of(benchmark, config),
        system=getattr(config, "system", system),
        config=settings_of(config),
        seed=getattr(config, "seed", None),
        device=getattr(config, "device", "cpu"),
        commit=git_commit(Path(somacast.__file__).parent),
        weights_sha256=weights_digests() if weights_sha256 is None else dict(weights_sha256),
        machine=machine(),
        versions=versions(packages),
    )


def settings_of(config: Any) -> dict[str, Any]:
    """Every setting of a config by name, without places to write to; of other paths the name alone."""
    return {
        f.name: _without_folders(getattr(config, f.name)) for f in dataclasses.fields(config) if f.name not in _PLACES
    }


def _without_folders(value: Any) -> Any:
    if isinstance(value, Path):
        return value.name
    if isinstance(value, str) and "/" in value:
        return Path(value).name
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def command_of(benchmark: str, config: Any) -> str:
    """The command line that runs a benchmark with these settings. Paths come without their folders, but for a relative
    one of the results: where files lie on a machine is nobody's business."""
    words = ["somacast", *(["bench"] if benchmark != "evaluate" else []), benchmark]
    return " ".join([*words, *_options(config), *_output(config)])


def _options(config: Any, standard: Any = None) -> Iterator[str]:
    """Options of the fields that differ from `standard`, or from their defaults; those of a config inside another are
    called by their own names, as on the command line."""
    for one in dataclasses.fields(config):
        value, option = getattr(config, one.name), f"--{one.name.replace('_', '-')}"
        if one.name in _PLACES or value == (_default(one) if standard is None else getattr(standard, one.name)):
            continue
        if dataclasses.is_dataclass(value):
            yield from _options(value, _default(one))
        elif isinstance(value, bool):
            yield option if value else f"--no-{one.name.replace('_', '-')}"
        elif value is not None:
            yield f"{option} {_word(value)}"


def _default(one: dataclasses.Field) -> Any:
    return one.default_factory() if one.default_factory is not dataclasses.MISSING else one.default


def _word(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(_word, value))
    if isinstance(value, float) and float(short := f"{value:g}") == value:
        return short
    return str(_without_folders(value))


def _output(config: Any) -> list[str]:
    path = getattr(config, "json_path", None) or getattr(config, "json", None)
    return [] if path is None else ["--json", path.name if path.is_absolute() else path.as_posix()]


def git_commit(folder: Path) -> str | None:
    """Commit of the working copy that holds `folder`, with "+changes" if it is not clean; None outside of one."""
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=True
            )
            for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() + ("+changes" if changes.stdout.strip() else "")


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, threads of torch if it is loaded, system."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, Any] = {"cpu": model, "cores": cores, "system": f"{platform.system()} {platform.machine()}"}
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch_threads"] = torch.get_num_threads()
    return found


def versions(packages: Iterable[str] = ()) -> dict[str, str]:
    """Of Python, Somacast, the packages that all figures depend on, and those named."""
    found = {"python": platform.python_version(), "somacast": somacast.__version__}
    for name in (*FIGURES_DEPEND_ON, *packages):
        try:
            found[name.lower()] = version(name)
        except PackageNotFoundError:
            continue
    return found


def weights_digests() -> dict[str, str]:
    """The sha256 of every weights file in the package by name, as the manifest states it."""
    from somacast.weights.manifest import list_weights

    return {entry["file"]: entry["sha256"] for entry in list_weights()}


# -- files ------------------------------------------------------------------------------------------------------------


def rounded(value: Any) -> Any:
    """Floats to six digits, NaN to None, NumPy's numbers and paths to plain ones: what JSON and a reader of diffs can
    bear."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return str(value) if isinstance(value, Path) else value


def to_text(plain: Mapping[str, Any]) -> str:
    """JSON with lists of numbers in one line each."""
    text = json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False)
    return re.sub(r"\[([\s\d.eE+,null-]*)\]", lambda found: "[" + " ".join(found[1].split()) + "]", text) + "\n"


def write_result(path: Path | None, result: Result) -> Result:
    """Write a result, its numbers rounded; gives what the file now says. path: None writes nothing.

    SomacastError for a result that does not keep to the form, or a place that cannot be written.
    """
    text = to_text(rounded(result.plain()))
    written = parse_result(text, str(path or result.benchmark))
    if path is not None:
        write_atomically(path, text.encode())
    return written


def write_study(system: str, study: str, config: Any, found: Mapping[str, Any]) -> Result:
    """Write what a study of a system's own parts found to config.json_path: results, and weights_sha256 if they are not
    those of the package."""
    about = describe_run(f"study {system} {study}", config, system=system, weights_sha256=found.get("weights_sha256"))
    return write_result(config.json_path, Result(study, about, found["results"]))


def read_result(path: Path) -> Result:
    """The result in a file. SomacastError, one line, if it is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as fault:
        raise SomacastError(f"{path}: cannot be read ({fault})") from fault
    return parse_result(text, str(path))


def parse_result(text: str, name: str) -> Result:
    """A result from its JSON; `name` says in errors whose it is."""
    try:
        found = json.loads(text)
    except ValueError as fault:
        raise SomacastError(f"{name}: expected JSON of {FORMAT!r} ({fault})") from fault
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        got = found.get("format") if isinstance(found, dict) else type(found).__name__
        raise SomacastError(f"{name}: expected the format {FORMAT!r}, got {got!r}")
    if found.get("version") != VERSION:
        raise SomacastError(f"{name}: expected version {VERSION} of the format, got {found.get('version')!r}")
    body = {key: value for key, value in found.items() if key not in ("format", "version")}
    _check_fields(name, body, _RESULT)
    _check_fields(f"{name}, provenance", body["provenance"], _PROVENANCE)
    if not body["results"] and not body["rows"]:
        raise SomacastError(f"{name}: expected results or rows, got neither")
    return Result(body["benchmark"], Provenance(**body["provenance"]), body["results"], body["rows"])


_NONE = type(None)
_RESULT: dict[str, tuple[type, ...]] = {"benchmark": (str,), "provenance": (dict,), "results": (dict,), "rows": (list,)}
_PROVENANCE: dict[str, tuple[type, ...]] = {
    "command": (str, _NONE), "system": (str, _NONE), "config": (dict,), "seed": (int, _NONE), "device": (str, _NONE),
    "commit": (str, _NONE), "weights_sha256": (dict, _NONE), "machine": (dict,), "versions": (dict,),
}  # fmt: skip


def _check_fields(name: str, found: Mapping[str, Any], expected: Mapping[str, tuple[type, ...]]) -> None:
    missing, unknown = [k for k in expected if k not in found], [k for k in found if k not in expected]
    if missing or unknown:
        parts = [f"{word} {', '.join(keys)}" for word, keys in (("without", missing), ("with", unknown)) if keys]
        raise SomacastError(f"{name}: expected the fields {', '.join(expected)}, got one {' and '.join(parts)}")
    for key, kinds in expected.items():
        if not isinstance(found[key], kinds):
            names = " or ".join("null" if kind is _NONE else kind.__name__ for kind in kinds)
            raise SomacastError(f"{name}: {key}: expected {names}, got {type(found[key]).__name__}")
