"""The study of eq. 14 and 17: what the search may choose, and that it finds what is worth most."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the study runs the receiver in torch")

from somacast.systems.aflsc.ablation.allocation import by_chance, chosen, searched
from somacast.systems.aflsc.ablation.show import print_allocation
from somacast.systems.aflsc.networks.looks import GRIDS

VALID = [np.ones(grid, bool) for grid in GRIDS]
BITS = [np.full(grid, 8.0) for grid in GRIDS]


def spent(masks):
    return sum(float(b[m].sum()) for b, m in zip(BITS, masks, strict=True))


def worth(rng):
    return [rng.random(grid) for grid in GRIDS]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_choice_fits_and_leaves_no_cell_without_those_above_it(share):
    least, most = 8.0 * GRIDS[0][0] * GRIDS[0][1], spent(VALID)
    room = least + share * (most - least)
    masks = chosen(worth(np.random.default_rng(1)), BITS, VALID, room)
    assert masks[0].all() and spent(masks) <= room
    assert not (masks[2] & ~masks[1].repeat(2, 0).repeat(2, 1)).any()
    if 0 < share < 0.9:
        assert spent(masks) > least + 0.9 * (room - least)


def test_cells_that_may_not_be_sent_are_not():
    valid = [m.copy() for m in VALID]
    valid[2][:, :12] = False
    masks = chosen(worth(np.random.default_rng(2)), BITS, valid, 1e9)
    assert not masks[2][:, :12].any() and masks[2][:, 12:].any()


class Linear:
    """Somebody whose error is 10 less what every cell is worth."""

    def __init__(self, gains):
        self.worth = gains

    def of(self, masks):
        return 10 - sum(float(w[m].sum()) for w, m in zip(self.worth, masks, strict=True))

    def gains(self, masks):
        return self.worth


def test_the_search_is_never_worse_than_where_it_starts_and_better_than_chance():
    person = Linear(worth(np.random.default_rng(3)))
    start = by_chance(np.random.default_rng(4), BITS, VALID, chosen(person.worth, BITS, VALID, 4000.0))
    found = searched(person, BITS, VALID, start)  # type: ignore[arg-type]
    assert person.of(found) < person.of(start) - 1 and spent(found) <= spent(start)
    assert person.of(searched(person, BITS, VALID, found)) <= person.of(found)  # type: ignore[arg-type]


def test_the_table_says_how_far_the_rule_is_above_the_search(capsys):
    figures = dict.fromkeys(("bytes", "rule", "search", "chance", "everything", "nothing"), 1.0)
    print_allocation({"300": {**figures, "rule_above": [0.07, 0.05, 0.1], "chance_above": [0.2, 0.1, 0.3]}})
    assert "7.0" in capsys.readouterr().out
