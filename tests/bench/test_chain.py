"""The study that takes the chain's parts away: that what it takes is away, and the rest untouched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from somacast.bench.report.chain import chain_lines
from somacast.bench.report.reading import CHAIN, Committed
from somacast.bench.results import Provenance, Result
from somacast.systems.aflsc.ablation import chain
from somacast.systems.aflsc.ablation.chain import WHOLE, Altered, Foreign, absent, coarser, silent, smooth
from somacast.systems.aflsc.ablation.show import CHAIN_FIGURES, print_chain
from somacast.systems.aflsc.look_tokens.importance import TokenImportance
from somacast.systems.aflsc.look_tokens.stream import TokenCoder


class Echo:
    """A network that gives back what it is fed."""

    def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [feed[name] for name in names]


def feed(value: float) -> dict[str, np.ndarray]:
    tokens = {f"sent{k}": np.full((1, 2, 2, 2), value) for k in range(3)}
    kept = {f"kept{k}": np.ones((1, 1, 2, 2)) for k in range(3)}
    return {"condition": np.ones(3), **tokens, **kept}


def test_what_is_taken_away_is_away():
    names = ["condition", "sent0", "sent2", "kept0", "kept2"]
    for change, sums in ((silent, [3, 0, 0, 4, 4]), (absent, [3, 0, 0, 0, 0]), (coarser, [3, 40, 0, 4, 0])):
        given = feed(5.0)
        assert [float(a.sum()) for a in Altered(Echo(), change).run(names, given)] == sums
        assert given["sent0"].sum() == 40, "the others' feed is untouched"


def test_tokens_of_somebody_else_lie_on_ones_own_cells():
    foreign = Foreign()
    first, second = feed(1.0), feed(2.0)
    second["kept1"][..., 0] = 0
    assert foreign(first)["sent0"].max() == 1  # nobody came before
    found = foreign(second)
    assert found["sent0"].max() == 1 and found["sent1"].sum() == 4
    assert foreign(second)["sent0"].max() == 1, "the same person again is nobody new"


def test_colours_before_the_diffusion_are_the_coarse_ones():
    maps = np.arange(36.0).reshape(1, 9, 2, 2)
    refiner = Altered(Echo(), found=smooth)
    (found,) = refiner.run(["sharp"], {"coarse": maps, "sharp": np.zeros((1, 6, 2, 2))})
    assert np.array_equal(found, maps[:, :6])


def test_without_importance_all_cells_are_alike():
    coder = TokenCoder([], np.zeros(0), replace(TokenImportance.plain(12), sigma=7))
    changed = chain.without_importance(coder)
    assert len(np.unique(changed.importance.tau)) == 1 and len(np.unique(coder.importance.tau)) > 5


def test_every_part_has_its_equations_and_one_way_to_be_taken():
    parts = chain.parts()
    assert len({part.name for part in parts}) == len(parts) > 15
    for part in parts:
        ways = sum(way is not None for way in (part.config, part.reader, part.coder, part.encoder, part.look))
        assert part.equations and ways == 1, part.name


def test_every_person_has_tokens_and_every_part_but_one_its_networks():
    assert chain.SENT.tokens and chain.SENT.token_overlap == 1 and chain.RUN.networks
    without = [part.name for part in chain.parts() if part.config is not None and not part.config.networks]
    assert without == ["the receiver's networks"]


def test_differences_are_of_the_same_people(capsys):
    def rows(*values):
        return [{"action": "standing", "bytes": 600, **dict.fromkeys(CHAIN_FIGURES, value)} for value in values]

    equations = {WHOLE: "", "diffusion": "26, 27"}
    table = chain._table({WHOLE: rows(0.1, 0.3), "diffusion": rows(0.2, 0.4)}, equations)
    mean, low, high = table["diffusion"]["difference"]["input_stlpips"]
    assert np.allclose([mean, low, high], 0.1) and table[WHOLE]["difference"]["iou"] == [0, 0, 0]
    print_chain({"600": table})
    shown = capsys.readouterr().out
    assert "diffusion (26, 27)" in shown and "50.0" in shown


def test_pages_say_what_carries_weight():
    def row(input_gap, sides_gap):
        figures = {"equations": "8-13", "bytes": 590.0, "input_stlpips": 0.1, "sides_stlpips": 0.2, "iou": 0.7,
                   "mpjpe_m": 0.08}  # fmt: skip
        return figures | {"difference": {"input_stlpips": input_gap, "sides_stlpips": sides_gap}}

    none = [0.0, 0.0, 0.0]
    table = {
        "everything": row(none, none),
        "networks": row([0.02, 0.01, 0.03], [0.02, -0.01, 0.03]),
        "noise": row([0.0, -0.01, 0.01], [0.0, -0.01, 0.01]),
        "ballast": row([-0.02, -0.03, -0.01], none),
        "trade": row([0.02, 0.01, 0.03], [-0.02, -0.03, -0.01]),
    }
    about = Provenance("somacast bench study", "aflsc", {}, 0, "cpu", "0123456789", {}, {}, {})
    found = Result("chain", about, {"people": 3, "failures": [], "tables": {"600": table}})
    lines = [line for line in chain_lines({CHAIN: Committed(Path("chain.json"), found)}) if line.startswith("| ")]
    cells = {line.split(" | ")[0][2:]: line.rstrip(" |").split(" | ") for line in lines}
    assert "0.1000 (+20.0 %, +10.0 to +30.0)" in cells["networks"] and cells["networks"][-1] == "carries"
    assert cells["noise"][-1] == "carries nothing measurable" and cells["ballast"][-1] == "costs"
    assert cells["trade"][-1] == "carries one view, costs the other"
    assert not chain_lines({})
