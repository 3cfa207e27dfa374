"""`somacast bench report`: docs/results.md, drawn from committed results and nothing else.

results/**/*.json -> read_all -> page -> docs/results.md        check: is it what stands there?
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from somacast.bench.report.likeness import likeness_block
from somacast.bench.report.live import live_lines
from somacast.bench.report.people import front_block
from somacast.bench.report.reading import COMMANDS, FOLDER, FULL, Committed, read_all, weights_faults, weights_of
from somacast.bench.report.stills import CURVES, still_lines
from somacast.bench.report.users import users_lines
from somacast.errors import SomacastError
from somacast.files import write_atomically

PAGE = Path("docs/results.md")
CURVES_IMAGE = Path("docs/images/curves.png")
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
LIKENESS_PAGE, LIKENESS_MARKS = Path("docs/likeness/README.md"), ("<!-- likeness:begin -->", "<!-- likeness:end -->")
FRONT_PAGE, FRONT_MARKS = Path("README.md"), ("<!-- headline:begin -->", "<!-- headline:end -->")


def block(results: Mapping[str, Committed], root: Path) -> str:
    """All that stands between the two marks of the page; `root` is asked which pictures are there. SomacastError for a
    result without the figures that are shown of it."""

    links = _links(root, PAGE)
    lines = [""]
    try:
        lines += [*still_lines(results, links), *live_lines(results, links), *users_lines(results)]
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, StopIteration) as fault:
        raise SomacastError(f"{root / FOLDER}: {_culprit(results, links)} lacks figures ({fault!r})") from fault
    curves = links(CURVES_IMAGE)
    if curves:
        lines += ["", "## Learning curves", "", f"![Learning curves of the shipped weights]({curves})"]
    return "\n".join([*lines, "", "## Where the figures come from", "", *sources(results), ""])


def _links(root: Path, page: Path) -> Callable[[Path], str]:
    """What a page calls a path of the working copy, "" if there is none."""

    def link(path: Path) -> str:
        return Path(os.path.relpath(path, page.parent)).as_posix() if (root / path).is_file() else ""

    return link


def _culprit(results: Mapping[str, Committed], links: Callable[[Path], str]) -> str:
    """The first file that cannot be shown together with the one that others are compared with."""
    for name, one in results.items():
        part = {key: results[key] for key in (FULL, name) if key in results}
        try:
            _ = still_lines(part, links), live_lines(part, links), users_lines(part)
        except (KeyError, TypeError, IndexError, AttributeError, ValueError, StopIteration):
            return f"{one.path} (made with: {one.command})"
    return "a file"


def sources(results: Mapping[str, Committed]) -> list[str]:
    """A table of the files: commit, machine and weights of each."""
    lines = ["| file | commit | machine | weights |", "| --- | --- | --- | --- |"]
    for one in results.values():
        about = one.result.provenance
        commit, _, changes = (about.commit or "not recorded").partition("+")
        commit = (commit[:10] if about.commit else commit) + (f" with {changes}" if changes else "")
        digest = weights_of(one.result)
        weights = digest[:8] if digest else f"{len(about.weights_sha256)} files" if about.weights_sha256 else "none"
        machine = f"{about.machine.get('cpu', '?')}, {about.machine.get('cores', '?')} cores"
        lines.append(f"| `{one.path.as_posix()}` | {commit} | {machine} | {weights} |")
    return lines


def _results(root: Path) -> dict[str, Committed]:
    found = read_all(root)
    if not found:
        raise SomacastError(f"{root / FOLDER}: no results there; make them with: {COMMANDS[FULL]}")
    return found


def _split_page(root: Path, page: Path = PAGE, marks: tuple[str, str] = (BEGIN, END)) -> tuple[str, str, str]:
    """What stands before, between and after the marks of a page."""
    path = root / page
    if not path.is_file():
        raise SomacastError(f"{path}: not found; expected a working copy of Somacast")
    before, begin, rest = path.read_text(encoding="utf-8").partition(f"{marks[0]}\n")
    inside, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise SomacastError(f"{path}: expected the lines {marks[0]} and {marks[1]}")
    return before + begin, inside, end + after


def _pages(root: Path, results: Mapping[str, Committed]) -> list[tuple[Path, str, str, str]]:
    """Pages that hold figures: where, what stands between their marks, what should, and the whole page with that."""
    found = []
    more = [
        (FRONT_PAGE, FRONT_MARKS, front_block(results)),
        (LIKENESS_PAGE, LIKENESS_MARKS, likeness_block(results, _links(root, LIKENESS_PAGE))),
    ]
    there = [one for one in more if (root / one[0]).is_file()]
    for page, marks, text in [(PAGE, (BEGIN, END), block(results, root)), *there]:
        before, inside, after = _split_page(root, page, marks)
        found.append((page, inside, text, before + text + after))
    return found


def write(root: Path) -> list[Path]:
    """Renew the page and its pictures; returns the files that were written."""
    results = _results(root)
    _pages(root, results)  # faults are found before anything is written
    written = []
    for name in CURVES:
        if name in results:
            from somacast.bench.rate_distortion.figures import draw_rd

            written.append(root / results[name].path.with_suffix(".png"))
            write_atomically(written[-1], draw_rd(results[name].result))
    curves = sorted((root / FOLDER / "curves").glob("*.jsonl"))
    if curves:
        from somacast.bench.report.curves import draw_curves

        written.append(root / CURVES_IMAGE)
        written[-1].parent.mkdir(exist_ok=True)
        write_atomically(written[-1], draw_curves(curves))
    for page, _, _, whole in _pages(root, results):
        written.append(root / page)
        write_atomically(written[-1], whole.encode())
    return written


def check(root: Path) -> list[str]:
    """Faults of every result and of the page, one line each: files that are no results, that name no weights or others
    than the package's, a page that says something else than they do."""
    try:
        results = _results(root)
        pages = _pages(root, results)
    except SomacastError as fault:
        return [str(fault)]
    faults = list(weights_faults(results))
    for page, inside, text, _ in pages:
        if inside != text:
            faults.append(f"{page} does not say what the results say: run somacast bench report")
    return faults
