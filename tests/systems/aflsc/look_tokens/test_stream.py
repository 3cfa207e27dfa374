"""Look tokens as bytes: they come back, a stream may end anywhere, and its length is what the networks expect."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from somacast.errors import BitstreamError
from somacast.systems.aflsc.look_tokens.capsules import GRID, PARTS
from somacast.systems.aflsc.look_tokens.importance import STATES, STEEPNESS, TokenImportance
from somacast.systems.aflsc.look_tokens.priors import LEVELS, IntegerPrior, symbol_tables
from somacast.systems.aflsc.look_tokens.stream import NAME_BYTES, TokenCoder, TokenGrids

torch = pytest.importorskip("torch", reason="the networks' own expectations need torch")

from somacast.systems.aflsc.networks.looks import DIMS, GRIDS, LookCodec, symbol_bits  # noqa: E402


@pytest.fixture(scope="module")
def net() -> LookCodec:
    torch.manual_seed(0)
    made = LookCodec().eval()
    for prior in made.priors:
        prior.out.weight.data *= 8  # so that the tables differ
    return made


@pytest.fixture(scope="module")
def coder(net) -> TokenCoder:
    arrays = [{k: v.detach().numpy() for k, v in prior.state_dict().items()} for prior in net.priors]
    return TokenCoder([IntegerPrior.of(a) for a in arrays], symbol_tables(), TokenImportance.plain(DIMS[0]))


def somebody(seed: int = 0) -> tuple[TokenGrids, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    depths = np.maximum(rng.integers(-4, 7, (len(PARTS), *GRID)), 0)
    depths[:, :, :6] = 0
    symbols = [np.rint(np.clip(rng.normal(0, 1.5, (d, *g)), -LEVELS, LEVELS)).astype(np.int64)
               for d, g in zip(DIMS, GRIDS, strict=True)]  # fmt: skip
    return TokenGrids.of(depths, len(GRIDS)), symbols


@pytest.mark.parametrize("pictured", [False, True])
@pytest.mark.parametrize("state", [0, 1, 60, 120, 200, STATES])
def test_tokens_come_back_as_far_as_they_go(net, coder, state, pictured):
    grids, symbols = somebody()
    data = coder.encode(symbols, grids, state, pictured)
    found, sent = coder.decode(data, grids, pictured)
    bits, coarser = 0.0, None
    for k, (wanted, got, kept) in enumerate(zip(symbols, found, sent, strict=True)):
        np.testing.assert_array_equal(got, wanted * kept)
        assert not (kept & (grids.parts[k].max(0) < 2)).any(), "only cells that the body touches"
        with torch.inference_mode():
            given, keep = torch.from_numpy(got).float()[None], torch.from_numpy(kept).float()[None, None]
            flag = np.full((1, *GRIDS[k]), float(pictured))
            parts = torch.from_numpy(np.concatenate([grids.parts[k] / 4 - 1, flag])).float()[None]
            mean, scale = net.priors[k](coarser, parts, given, getattr(net, f"first{k}"))
            bits += float((symbol_bits(given, mean, scale) * keep).sum())
            coarser = torch.cat([given, keep], 1)
    assert len(data) == pytest.approx(1 + bits / 8, rel=0.01, abs=2), "the integer tables cost what the networks expect"


def test_a_freer_network_never_takes_cells_away(coder):
    grids, symbols = somebody(3)
    before = [np.zeros(cells.shape, bool) for cells in grids.valid]
    counts = []
    for state in range(STATES, -1, -5):
        _, now = coder.decode(coder.encode(symbols, grids, state, False), grids, False)
        assert all((a <= b).all() for a, b in zip(before, now, strict=True))
        before, counts = now, [*counts, sum(int(kept.sum()) for kept in now)]
    assert len(set(counts)) > 10 and np.array_equal(now[0], grids.valid[0])
    assert all(np.array_equal(kept, cells) for kept, cells in zip(now, grids.valid, strict=True))


def test_the_head_goes_first():
    depths = np.zeros((len(PARTS), *GRID), np.int64)
    depths[PARTS.index("head"), 4:8, 8:12] = 5
    depths[PARTS.index("trunk"), 10:30, 6:18] = 8
    importance = TokenImportance.plain(DIMS[0])
    omega = importance.omega(depths, np.zeros((DIMS[0], *GRIDS[0]), np.int64))
    levels = importance.levels(omega, 200 // STEEPNESS)
    assert (levels[4:8, 8:12] == 3).all() and levels[10:30, 6:18].max() < 3 and not levels[:4].any()
    fine, coarse = TokenGrids.of(depths, len(GRIDS)).sent(levels)[::-2]
    assert fine[4:8, 8:12].all() and fine.sum() == 16 and coarse[1, 2] and coarse.sum() > 8


def test_what_a_cell_shows_may_decide_about_its_levels():
    """eq. 14 with embeddings: the farther from the context of its part, the fewer."""
    plain = TokenImportance.plain(DIMS[0])
    embeddings = np.zeros((DIMS[0], 2 * LEVELS + 1, 2), np.int64)
    embeddings[3, LEVELS + 2] = 100, 50
    importance = replace(plain, embeddings=embeddings, context=np.zeros((len(PARTS), 2), np.int64), sigma=100)
    depths = np.full((len(PARTS), *GRID), 5)
    coarse = np.zeros((DIMS[0], *GRIDS[0]), np.int64)
    coarse[3, 0, 0] = 2
    omega = importance.omega(depths, coarse)
    assert omega[0, 0] == pytest.approx(omega[0, 4] * 128 / 148 * np.exp(-1.5), rel=0.02)
    assert np.array_equal(TokenImportance.from_arrays(importance.to_arrays()).omega(depths, coarse), omega)


def test_the_longest_stream_that_fits_is_found(coder):
    grids, symbols = somebody(2)
    everything, least = (len(coder.encode(symbols, grids, state, True)) for state in (0, STATES))
    for room in (least, (least + everything) // 2, everything):
        data = coder.largest(symbols, grids, room, True)
        assert data is not None and len(data) <= room
        state = data[NAME_BYTES]
        assert state == 0 or len(coder.encode(symbols, grids, state - 1, True)) > room
    assert coder.largest(symbols, grids, least - 1, True) is None
    strained = coder.largest(symbols, grids, everything, True, lowest_state=90)
    assert strained is not None and strained[NAME_BYTES] == 90


def test_streams_that_nobody_sends_are_refused(coder):
    grids, symbols = somebody(1)
    data = coder.encode(symbols, grids, 100, False)
    for bad in (b"", data + b"\1" * 8):
        with pytest.raises(BitstreamError):
            coder.decode(bad, grids, False)
    for seed in range(20):  # damage decodes to something, or is refused; it never hangs or breaks
        rng = np.random.default_rng(seed)
        broken = bytearray(data)
        broken[int(rng.integers(1, len(data)))] ^= int(rng.integers(1, 256))
        try:
            found, _ = coder.decode(bytes(broken), grids, False)
        except BitstreamError:
            continue
        assert all(np.abs(f).max() <= LEVELS for f in found)


def test_tables_are_tables():
    tables = symbol_tables().astype(int)
    assert (tables[..., 0] == 0).all() and (tables[..., -1] == 4096).all() and (np.diff(tables) > 0).all()
