"""Look tokens as bytes: they come back, a stream may end anywhere, and its length is what the networks expect."""

from __future__ import annotations

import numpy as np
import pytest

from somacast.errors import BitstreamError
from somacast.systems.aflsc.look_tokens.capsules import GRID, PARTS
from somacast.systems.aflsc.look_tokens.priors import LEVELS, IntegerPrior, symbol_tables
from somacast.systems.aflsc.look_tokens.stream import SHARES, TokenCoder, TokenGrids

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
    return TokenCoder([IntegerPrior.of(a) for a in arrays], symbol_tables())


def somebody(seed: int = 0) -> tuple[TokenGrids, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    depths = np.maximum(rng.integers(-4, 7, (len(PARTS), *GRID)), 0)
    depths[:, :, :6] = 0
    symbols = [np.rint(np.clip(rng.normal(0, 1.5, (d, *g)), -LEVELS, LEVELS)).astype(np.int64)
               for d, g in zip(DIMS, GRIDS, strict=True)]  # fmt: skip
    return TokenGrids.of(depths, len(GRIDS)), symbols


@pytest.mark.parametrize("pictured", [False, True])
@pytest.mark.parametrize("extent", [0, 1, 40, SHARES, SHARES + 1, 2 * SHARES, 2 * SHARES + 17, 3 * SHARES])
def test_tokens_come_back_as_far_as_they_go(net, coder, extent, pictured):
    grids, symbols = somebody()
    data = coder.encode(symbols, grids, extent, pictured)
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


def test_more_cells_are_never_fewer():
    grids, _ = somebody(3)
    before = [np.zeros(p[0].size, bool) for p in grids.parts]
    for extent in range(0, 3 * SHARES + 1, 5):
        now = grids.sent(extent)
        assert all((a <= b).all() for a, b in zip(before, now, strict=True))
        before = now
    assert [int(kept.sum()) for kept in grids.sent(3 * SHARES)] == [len(order) for order in grids.order]


def test_the_head_goes_first():
    depths = np.zeros((len(PARTS), *GRID), np.int64)
    depths[PARTS.index("head"), 4:8, 8:12] = 5
    depths[PARTS.index("trunk"), 10:30, 6:18] = 8
    grids = TokenGrids.of(depths, len(GRIDS))
    first = grids.order[-1][:16]
    rows, columns = np.divmod(first, GRID[1])
    assert ((rows >= 4) & (rows < 8) & (columns >= 8) & (columns < 12)).all()


def test_streams_that_nobody_sends_are_refused(coder):
    grids, symbols = somebody(1)
    data = coder.encode(symbols, grids, 100, False)
    for bad in (b"", bytes([3 * SHARES + 1]) + data[1:], data + b"\1" * 8):
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
