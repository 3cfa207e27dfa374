"""What the pages name is there: files, names in files, modules, and the verbs of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from somacast.cli.dispatch import Group, Verb
from somacast.cli.main import ROOT

REPOSITORY = Path(__file__).parent.parent
PACKAGE = REPOSITORY / "src" / "somacast"
# The log and the changelog tell of what was; BUILD.md is about files of another project.
PAGES = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *(REPOSITORY / "docs").glob("*.md"),
        *(p for p in PACKAGE.rglob("*.md") if "static" not in p.parts),
    ]
)
PAGES = [page for page in PAGES if page.name not in ("log.md", "CHANGELOG.md")]
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)")
FILE = re.compile(r"(?<![\w./{-])(?:(?:[\w.-]+/)*[\w-]+\.(?:py|md|toml)|results/[\w-]+\.json)(?![\w/])")
FOLDER = re.compile(r"^(?:[\w.-]+/)+$")
PLACE = re.compile(r"^([\w./-]+\.py): ([A-Za-z_][\w.]*)")
PLACEHOLDER = re.compile(r"(?:^|/)[A-Z]+(?:/|$)")
MODULE = re.compile(r"(?<![\w.])somacast(?:\.[a-z_]\w*)+(?:\.[A-Z]\w*)?")
COMMAND = re.compile(r"(?<![\w.-])somacast ((?:[a-z][\w-]*)(?: [a-z][\w-]*)*)")


EXAMPLES = {"box"}  # the system of docs/adding_a_system.md, which only its tests install


@lru_cache(maxsize=1)
def files() -> dict[str, list[Path]]:
    """Files of the repository by name."""
    found: dict[str, list[Path]] = {}
    for folder in ("src", "docs", "tests", "examples", "results"):
        for path in (REPOSITORY / folder).rglob("*"):
            found.setdefault(path.name, []).append(path)
    for path in REPOSITORY.iterdir():
        found.setdefault(path.name, []).append(path)
    return found


def code(text: str) -> str:
    """Code spans of a page and the lines of its fences, one a line."""
    return "\n".join([*SPAN.findall(FENCE.sub("", text)), *(m.group() for m in FENCE.finditer(text))])


def places(name: str, page: Path) -> list[Path]:
    """Where a file may be: from the root, from the package or from the page's folder; without a folder, anywhere."""
    if "/" not in name.removesuffix("/"):
        return files().get(name.removesuffix("/"), [])
    return [root / name for root in (REPOSITORY, PACKAGE, page.parent) if (root / name).exists()]


def missing_files(text: str, page: Path) -> Iterator[str]:
    """Files and folders that are not there, links that lead nowhere, and names that their files do not hold."""
    text = FENCE.sub("", text)
    for span in SPAN.findall(text):
        for name in [*FILE.findall(span), *FOLDER.findall(span)]:
            if not PLACEHOLDER.search(name) and not places(name, page):
                yield name
        if place := PLACE.match(span):
            name, names = place.groups()
            sources = [path.read_text() for path in places(name, page)]
            if not any(all(re.search(rf"\b{word}\b", text) for word in names.split(".")) for text in sources):
                yield span
    for target in LINK.findall(text):
        if "://" not in target and not (page.parent / target).exists():
            yield target


def missing_modules(text: str) -> Iterator[str]:
    """Dotted names of the package that cannot be found."""
    for name in MODULE.findall(code(text)):
        parts = name.split(".")[1:]
        path = PACKAGE
        while parts and (path / parts[0]).is_dir():
            path /= parts.pop(0)
        if parts and (path / f"{parts[0]}.py").is_file():
            path /= f"{parts.pop(0)}.py"
        source = path if path.is_file() else path / "__init__.py"
        if parts and not (source.is_file() and re.search(rf"\b{parts[0]}\b", source.read_text())):
            yield name


def unknown_verbs(text: str) -> Iterator[str]:
    """Commands whose words the command line does not know."""
    for words in COMMAND.findall(code(text)):
        member: Group | Verb = ROOT
        for word in words.split():
            if not isinstance(member, Group):
                break
            found = member.members().get(word)
            if found is None:
                if member.default is None and word not in EXAMPLES:
                    yield f"somacast {words}"
                break
            member = found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_what_a_page_names_is_there(page):
    text = page.read_text()
    assert sorted({*missing_files(text, page), *missing_modules(text), *unknown_verbs(text)}) == []


def test_the_check_sees_what_is_gone():
    page = REPOSITORY / "docs" / "page.md"
    text = """`cli/gone.py`, `cli/main.py`, `docs/weights.md`, `viewer/`, `human/`, `nowhere.py`,
    `systems/NAME/spec.py`, `metrics/image.py: ssim_map`, `metrics/image.py: gone`, [here](weights.md), [there](gone.md)
    """
    assert list(missing_files(text, page)) == [
        "cli/gone.py", "human/", "nowhere.py", "metrics/image.py: gone", "gone.md"
    ]  # fmt: skip
    text = "`somacast.channel.packet`, `somacast.metrics.image.ssim_map`, `somacast.encode`, `somacast.metrics.gone`"
    assert list(missing_modules(text)) == ["somacast.channel.packet", "somacast.metrics.gone"]
    text = (
        "`somacast encode me.jpg`, `somacast bench hostile`\n```\nsomacast bench rd --people 2\nsomacast paint\n```\n"
    )
    assert list(unknown_verbs(text)) == ["somacast bench hostile", "somacast paint"]
