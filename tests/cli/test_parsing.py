"""Words to configurations: what is wrong is one line, whatever the parser's private hook does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
import tyro

from somacast.cli import parsing
from somacast.cli.parsing import parse
from somacast.errors import SomacastError
from somacast.options import check_positive


@dataclass(frozen=True)
class Inner:
    samples: Annotated[int, tyro.conf.arg(prefix_name=False)] = 5
    hidden: tyro.conf.Suppress[int] = 1

    def __post_init__(self) -> None:
        check_positive(samples=self.samples)


@dataclass(frozen=True)
class Config:
    """Do something."""

    file: tyro.conf.Positional[str]
    out: Annotated[str, tyro.conf.arg(aliases=["-o"])]
    count_px: int = 1
    kind: Literal["a", "b"] = "a"
    sizes: tuple[int, ...] = (1, 2)
    flag: bool = False
    inner: Inner = field(default_factory=lambda: Inner(20))

    def __post_init__(self) -> None:
        check_positive(count_px=self.count_px)


GOOD = ["f", "-o", "x"]
WRONG = [
    ([], "missing: FILE, --out STR"),
    (["f"], "missing: --out STR"),
    ([*GOOD, "--nonsense", "3"], "unrecognized options: --nonsense 3"),
    ([*GOOD, "--hidden", "3"], "unrecognized options: --hidden 3"),
    ([*GOOD, "more"], "unexpected arguments: more"),
    ([*GOOD, "--count-px", "many"], "--count-px many: expected INT"),
    ([*GOOD, "--count_px=many"], "--count-px many: expected INT"),
    ([*GOOD, "--count-px", "1", "--count-px", "many"], "--count-px many: expected INT"),
    ([*GOOD, "--count-px"], "--count-px: expected INT"),
    ([*GOOD, "--sizes", "1", "x"], "--sizes 1 x: expected [INT [INT ...]]"),
    ([*GOOD, "--kind", "c"], "--kind c: expected one of a, b"),
]
REFUSED = [
    (["--count-px", "0"], "--count-px 0: expected a number above 0"),
    (["--samples", "-3"], "--samples -3: expected a number above 0"),
]


def fault(words: list[str]) -> str:
    with pytest.raises(SomacastError) as caught:
        parse(Config, words, "somacast do")
    return str(caught.value)


def test_words_become_a_configuration():
    assert parse(Config, GOOD, "somacast do") == Config("f", "x")
    words = [*GOOD, "--count-px", "7", "--sizes", "3", "--flag", "--samples", "9"]
    assert parse(Config, words, "somacast do") == Config("f", "x", 7, sizes=(3,), flag=True, inner=Inner(9))


@pytest.mark.parametrize(("words", "line"), WRONG, ids=[line for _, line in WRONG])
def test_what_is_wrong_is_one_line(words, line, capsys):
    assert fault(words) == f"{line} (see somacast do --help)"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("words", "line"), REFUSED, ids=[line for _, line in REFUSED])
def test_values_that_the_configuration_refuses(words, line, capsys):
    assert fault([*GOOD, *words]) == line
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("hook", [None, "strange"])
def test_another_version_of_the_parser_costs_the_detail_only(monkeypatch, capsys, hook):
    """Without the hook, or with events of a kind that nobody knows: still one line, and our own faults in full."""
    real = parsing._on_parse_error
    strange = None if real is None or hook is None else lambda complain: real(lambda event: complain(object()))
    monkeypatch.setattr(parsing, "_on_parse_error", strange)
    for words, _ in WRONG:
        assert fault(words) == "wrong arguments (see somacast do --help)"
    for words, line in REFUSED:
        assert fault([*GOOD, *words]) == line
    assert capsys.readouterr() == ("", "")


def test_help_leaves_with_nothing_wrong(capsys):
    with pytest.raises(SystemExit) as leave:
        parse(Config, ["--help"], "somacast do")
    assert leave.value.code == 0 and "--count-px" in capsys.readouterr().out


def test_the_hook_is_there_in_the_pinned_version():
    assert parsing._on_parse_error is not None
