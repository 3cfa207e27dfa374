"""Curves of quality over bytes are compared as they should be."""

from __future__ import annotations

import pytest

from somacast.bench.rate_distortion import curves as rd_curves

SSIM = next(q for q in rd_curves.QUALITIES if q.key == "ssim_box")


def test_half_the_bytes_are_minus_fifty_percent():
    baseline = [(100.0 * 2**k, 0.5 + 0.05 * k) for k in range(6)]
    ours = [(size / 2, quality) for size, quality in baseline]
    found = rd_curves.compare(ours, baseline)
    assert found["bd_rate_percent"] == pytest.approx(-50) and found["note"] is None
    assert found["overlap"] == pytest.approx([0.5, 0.75])
    assert rd_curves.compare(baseline, ours)["bd_rate_percent"] == pytest.approx(100)
    # worse points that cost more change nothing
    assert rd_curves.compare([*ours, (5000.0, 0.4)], baseline)["bd_rate_percent"] == pytest.approx(-50)


def test_curves_that_do_not_overlap_are_told_and_not_judged():
    low, high = [(100.0, -0.08), (200.0, -0.06)], [(100.0, -0.05), (200.0, -0.03)]
    better = rd_curves.compare(high, low, -1)
    assert better["bd_rate_percent"] is None and better["overlap"] is None
    assert better["note"] == "no overlap: our worst (0.05) is no worse than the baseline's best (0.06)"
    assert rd_curves.compare(low, high, -1)["note"].startswith("no overlap: the baseline's worst (0.05)")
    assert "no point of the baseline" in rd_curves.compare(high, [])["note"]
    assert "no point of ours" in rd_curves.compare([], high)["note"]
    assert "fewer than two points on our curve" in rd_curves.compare([(100.0, -0.07)], low)["note"]


def test_the_frontier_drops_what_costs_more_and_gives_less():
    points = [(200.0, 0.6), (100.0, 0.5), (100.0, 0.4), (300.0, 0.55), (400.0, 0.6), (500.0, 0.7)]
    assert rd_curves.frontier(points) == [(100.0, 0.5), (200.0, 0.6), (500.0, 0.7)]


def test_bytes_needed_are_interpolated_and_never_invented():
    points = [(100.0, 0.5), (400.0, 0.7)]
    assert rd_curves.bytes_needed(points, 0.6) == pytest.approx(200)
    assert rd_curves.bytes_needed(points, 0.3) == 100 and rd_curves.bytes_needed(points, 0.7) == pytest.approx(400)
    assert rd_curves.bytes_needed(points, 0.71) is None and rd_curves.bytes_needed([], 0.1) is None


def figures(size: float, box: float) -> dict:
    return {"bytes": size, "ssim_box": box, "ssim_whole": box + 0.3, "centred_chamfer_m": 0.1 * (1 - box),
            "psnr_db": 10 + 10 * box, "setting": "48 px"}  # fmt: skip


def test_means_say_who_is_missing_and_points_are_of_everybody():
    rows = [figures(90, 0.5), None, {"bytes": 80, "failed": "no person"}, figures(100, 0.6)]
    mean = rd_curves.mean_rows(rows)
    assert (mean["people"], mean["too_small"], mean["failed"]) == (2, 1, 1)
    assert mean["bytes"] == 95 and mean["ssim_box"] == pytest.approx(0.55) and "setting" not in mean
    assert "ssim_box" not in rd_curves.mean_rows([None, None])
    table = {"100": mean, "200": rd_curves.mean_rows([figures(190, 0.7), figures(200, 0.7)])}
    assert rd_curves.points_of(table, SSIM) == [(195, pytest.approx(0.7))]


def curve_table(scale: float) -> dict:
    return {
        str(b): rd_curves.mean_rows([figures(scale * b, 0.5 + 0.05 * k)]) for k, b in enumerate((100, 200, 400, 800))
    }


def test_the_best_picture_codec_is_the_upper_envelope():
    tables = {"ours": curve_table(0.5), "jpeg": curve_table(1), "vvc": curve_table(1)}
    tables["jpeg"]["100"]["ssim_box"] = 0.54
    best = rd_curves.best_of({n: tables[n] for n in ("jpeg", "vvc")}, SSIM)
    assert best == [(100, 0.54), (200, pytest.approx(0.55)), (400, pytest.approx(0.6)), (800, pytest.approx(0.65))]
    found = rd_curves.compare_all(tables, "ours", ["jpeg", "vvc"])
    assert found["bd_rate"]["centred_chamfer_m"]["vvc"]["bd_rate_percent"] == pytest.approx(-50)
    assert found["bd_rate"]["centred_chamfer_m"]["vvc"]["overlap"] == pytest.approx([0.05, 0.035])
    assert set(found["bd_rate"]["ssim_box"]) == {"jpeg", "vvc", rd_curves.BEST_PICTURE}
    assert found["bytes_for_quality"]["ssim_box"]["ours"]["0.6"] == pytest.approx(200)
    first = found["at_our_quality"]["ssim_box"][1]
    assert first["bytes"] == 100 and first["others_bytes"]["vvc"] == pytest.approx(200)


def test_files_of_some_sizes_are_compared_alone():
    tables = {"ours": curve_table(1), "jpeg": curve_table(1)}
    assert rd_curves.within([(100, 1.0), (108, 2.0), (600, 3.0), (601, 4.0)], 120, 600) == [(108, 2.0), (600, 3.0)]
    for row in tables["jpeg"].values():
        row["bytes"] *= 2
    found = rd_curves.compare_all(tables, "ours", ["jpeg"])["bd_rate_of_sizes"]["ssim_box"]
    assert set(found) == {"120-600", "600-2000"}
    assert found["120-600"]["bd_rate_percent"] == pytest.approx(-50)
    assert found["600-2000"]["bd_rate_percent"] is None and "no overlap" in found["600-2000"]["note"]


def test_only_what_was_measured_is_compared_and_the_first_of_it_decides():
    tables = {"ours": curve_table(0.5), "jpeg": curve_table(1)}
    assert [q.key for q in rd_curves.measured(tables)] == ["ssim_box", "centred_chamfer_m", "psnr_db"]
    assert "input_stlpips" not in rd_curves.compare_all(tables, "ours", ["jpeg"])["bd_rate"]
    for row in tables["jpeg"].values():
        row["input_stlpips"] = 0.2
    assert rd_curves.measured(tables)[0].key == "input_stlpips"
    assert "input_stlpips" in rd_curves.compare_all(tables, "ours", ["jpeg"])["bd_rate"]


def test_the_best_is_found_by_looks_if_all_have_them():
    rows = {"jpeg": {"ssim_box": 0.7, "input_stlpips": 0.2}, "vvc": {"ssim_box": 0.6, "input_stlpips": 0.1}}
    best, quality = rd_curves.best_by(rows)
    assert (best, quality.key) == ("vvc", "input_stlpips")
    del rows["vvc"]["input_stlpips"]
    best, quality = rd_curves.best_by(rows)
    assert (best, quality.key) == ("jpeg", "ssim_box")
    assert rd_curves.best_by({})[0] is None
