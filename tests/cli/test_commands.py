"""docs/commands.md says what the command line says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from somacast.cli import main as cli
from somacast.cli.commands import options_of, page, verbs_of
from somacast.cli.dispatch import load
from somacast.geometry.rasteriser import MID_GREY
from somacast.metrics.config import ProtocolConfig

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
COMMANDS = dict(verbs_of())


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == page(), "run: python -m somacast.cli.commands > docs/commands.md"


@pytest.mark.parametrize("prog", COMMANDS)
def test_the_page_has_the_options_that_the_parser_has(capsys, prog):
    assert cli.main([*prog.split()[1:], "--help"]) == 0
    shown = set(re.findall(r"^\W{0,3}(?:-\w(?: \w+)?, )?(--[a-z][\w-]*)", capsys.readouterr().out, re.M)) - {"--help"}
    written = {word for option in options_of(load(COMMANDS[prog].config)) for word in option.name.split()}
    assert {word for word in written if word.startswith("--")} == shown


@pytest.mark.parametrize("prog", COMMANDS)
def test_every_option_is_explained(prog):
    assert [option.name for option in options_of(load(COMMANDS[prog].config)) if not option.text] == []


def test_the_protocol_draws_on_the_grey_of_the_rasteriser():
    assert ProtocolConfig().background == MID_GREY
