"""docs/results.md says what the results say, and every file of results is looked at."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from somacast.bench import results as form
from somacast.bench.report import curves, reading
from somacast.bench.report import document as report
from somacast.bench.results import Provenance, Result
from somacast.cli import main as cli
from somacast.errors import SomacastError
from somacast.weights.manifest import list_weights

ROOT = Path(__file__).parents[2]
MAIN = "aflsc.safetensors"
SHIPPED = {entry["file"]: entry["sha256"] for entry in list_weights()}
TOTAL = {"ssim_whole": 0.91, "ssim_box": 0.62, "mse": 0.03, "centred_chamfer_m": 0.03, "mpjpe_m": 0.1,
         "pa_mpjpe_m": 0.07, "bytes": 150.0, "centred_normal_consistency": 0.7}  # fmt: skip


def provenance(command: str | None, **changes) -> Provenance:
    about = {"cpu": "some processor", "cores": 2}
    found = Provenance(command, "aflsc", {}, 0, "cpu", "0123456789abcdef", dict(SHIPPED), about, {"numpy": "2"})
    return dataclasses.replace(found, **changes)


def evaluation(command: str = "somacast evaluate --people 40", **changes: float) -> Result:
    total = TOTAL | changes
    sizes = {"mean": 150.0, "median": 150.0, "p95": 170.0, "max": 180.0}
    results = {"people": 40, "failed": 1, "actions": {"walking": total}, "counts": {"walking": 39}, "total": total,
               "by_yaw": {"front": {"people": 39, **total}}, "distribution": {"bytes": sizes}}  # fmt: skip
    return Result("evaluate", provenance(command), results)


def speed_result() -> Result:
    timing = {"median": 1.2, "mean": 1.25, "p95": 1.6, "max": 1.75}
    results = {
        "encode_s": {"median": 0.09, "max": 0.2}, "decode_s": timing, "stages": [
            {"half": "sender", "stage": "find", "part_of": None, "ms": 51.0, "share": 0.04},
            {"half": "receiver", "stage": "surface", "part_of": "human", "ms": 400.0, "share": 0.3}],
        "peak_memory_bytes": {"chain": 900_000_000, "chain_photograph": 1_200_000_000},
        "commands": {"encode": {"second_s": 4.0}, "decode": {"second_s": 4.5}},
        "package": {"installed_bytes": 33_000_000, "wheel_bytes": 30_000_000},
    }  # fmt: skip
    return Result("speed", provenance("somacast bench speed --people 9", config={"photograph_px": 3000}), results)


def live_result(**changes) -> Result:
    seen = {"starts": 10, "first_seen_s": {"p50": 1.2, "p95": 1.4}}
    seen |= {"textured": 9, "first_textured_s": {"p50": 1.8, "p95": 4.2}}
    delay = {"camera_to_rendered_ms": {"p50": 110.0, "p95": 150.0}, "received_fps": 16.0}
    delay |= {"between_rendered_early_ms": {"max": 60.0}}
    plain = delay | {"between_rendered_early_ms": {"max": 50.0}}
    about = provenance(None, **({"system": None} | changes))
    return Result("live", about, {"delay": delay, "delay_without_looks": plain, "starts": {"udp with keys": seen}})


def replace(result: Result, **changes) -> Result:
    return dataclasses.replace(result, provenance=dataclasses.replace(result.provenance, **changes))


def put(root: Path, name: str, result: Result) -> Path:
    path = root / "results" / f"{name}.json"
    form.write_result(path, result)
    return path


@pytest.fixture
def working_copy(tmp_path: Path) -> Path:
    for folder in ("results/stills", "results/live", "docs"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / report.PAGE).write_text(f"# Before\n\n{report.BEGIN}\nold\n{report.END}\n\n## After\n")
    put(tmp_path, f"stills/{reading.FULL}", evaluation())
    put(tmp_path, "stills/speed", speed_result())
    put(tmp_path, "live/live", live_result())
    return tmp_path


def text_of(root: Path) -> str:
    report.write(root)
    return (root / report.PAGE).read_text()


def row(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"| {start}"))


# -- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_is_renewed_between_its_marks_and_then_agrees(working_copy):
    assert any("does not say what the results say" in fault for fault in report.check(working_copy))
    text = text_of(working_copy)
    assert text.startswith(f"# Before\n\n{report.BEGIN}\n") and text.endswith(f"{report.END}\n\n## After\n")
    assert "old" not in text.split()
    assert report.check(working_copy) == [] and text_of(working_copy) == text
    for content, message in (("no marks", "expected the lines <!-- results"), (None, "not found")):
        (working_copy / report.PAGE).unlink() if content is None else (working_copy / report.PAGE).write_text(content)
        with pytest.raises(SomacastError, match=message):
            report.write(working_copy)


def test_the_table_says_value_floor_verdict_and_command(working_copy):
    text = text_of(working_copy)
    assert row(text, "SSIM, box").split(" | ")[1:4] == [">= 0.660", "**0.620**", "**no**"]
    assert row(text, "bytes to mesh").split(" | ")[1:4] == ["<= 300 ms", "**1,200 ms**", "**no**"]
    assert row(text, "picture to bytes").split(" | ")[2:4] == ["**90 ms**", "yes"]
    assert "worst 1.75 s" in row(text, "bytes to mesh")
    assert "worst action: walking, 3.00 cm" in row(text, "Chamfer")
    assert row(text, "MPJPE").split(" | ")[1:3] == ["<= 80 mm", "**100 mm**"]
    assert row(text, "`.soma` files on a budget").split(" | ")[2:4] == ["not measured", "-"]
    assert "* A: `somacast evaluate --people 40`\n" in text and "* C: `somacast bench speed --people 9`\n" in text
    assert "--budget-bytes N --json results/stills/aflsc_small.json` (to be run)" in text
    assert "1 of 40 people failed" in text and "find 51 ms" in text and "surface" not in text
    assert row(text, "walking").split(" | ")[1:4] == ["39", "0.910", "0.620"]


def test_live_stands_there_with_its_goals(working_copy):
    text = text_of(working_copy)
    assert "**110 / 150 ms at 16.0 fps** | yes | `somacast bench live" in row(text, "camera to rendered person")
    assert "**1.20 s (p95 1.40 s, 10 starts)** | yes" in row(text, "person on screen")
    assert "**1.80 s (p95 4.20 s, 9 of 10 starts)** | yes" in row(text, "the same with their picture on them")
    assert "longest gap while looks come 60 ms, without 50 ms** | yes" in row(text, "delay without looks")
    assert "some processor, 2 cores" in row(text, "`results/live/live.json`")


def test_a_floor_is_judged_by_the_value_and_not_by_what_is_shown(working_copy):
    put(working_copy, "stills/aflsc", evaluation(ssim_whole=0.90996, mpjpe_m=0.0802))
    text = text_of(working_copy)
    assert row(text, "SSIM, whole").split(" | ")[2:4] == ["**0.910**", "**no**"]
    assert row(text, "MPJPE").split(" | ")[2:4] == ["**80 mm**", "**no**"]


def test_other_people_and_known_heights_are_set_beside_the_rest(working_copy):
    put(working_copy, f"stills/{reading.OTHERS}", evaluation("others!", ssim_box=0.60, centred_chamfer_m=0.045))
    put(working_copy, f"stills/{reading.HEIGHT}", evaluation("height!", ssim_box=0.64, mpjpe_m=0.061))
    lines = text_of(working_copy).splitlines()
    (line,) = [x for x in lines if "People of other makers" in x]
    assert "-0.020 against synthetic" in line and "times 1.50" in line and "`others!`" in line
    (line,) = [x for x in lines if "Known height" in x]
    assert "box 0.640 (without 0.620)" in line and "MPJPE mm 61 (without 100)" in line and "`height!`" in line


# -- every file -------------------------------------------------------------------------------------------------------


def test_check_sees_a_changed_page(working_copy, capsys):
    text = text_of(working_copy)
    (working_copy / report.PAGE).write_text(text.replace("0.620", "0.820"))
    assert cli.main(["bench", "report", "--check", "--root", str(working_copy)]) == 2
    assert "results.md does not say what the results say" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "result", "message"),
    [
        ("stills/aflsc_small", replace(evaluation(), weights_sha256={MAIN: "00" * 32}), "was made with other weights"),
        ("live/live", live_result(weights_sha256=None), "live.json names no weights"),
        ("live/live", live_result(weights_sha256={"x.onnx": "00" * 32}), "live.json was made with other weights"),
        ("stills/avif", replace(evaluation(), system="avif", weights_sha256={"a": "0"}), "made with other weights"),
    ],
)
def test_check_looks_at_the_weights_of_every_file(working_copy, name, result, message):
    put(working_copy, name, result)
    report.write(working_copy)
    (fault,) = report.check(working_copy)
    assert message in fault


def test_results_may_name_the_checkpoint_that_a_file_was_written_from(working_copy):
    (entry,) = [e for e in list_weights() if e["file"] == MAIN]
    assert entry["checkpoint"] != entry["sha256"]
    put(working_copy, "stills/aflsc_small", replace(evaluation(), weights_sha256={MAIN: entry["checkpoint"]}))
    put(working_copy, "stills/avif", replace(evaluation(), system="avif"))
    report.write(working_copy)
    assert report.check(working_copy) == []


def test_ablations_belong_to_the_variant_with_nothing_taken_away(working_copy):
    for digest, count in ((SHIPPED[MAIN], 0), ("00" * 32, 1)):
        about = provenance("somacast bench study aflsc ablations", weights_sha256={"full.safetensors": digest})
        put(working_copy, "stills/ablations", Result("ablations", about, {"smallest_within_10mm_bytes": 41.0}))
        text = text_of(working_copy)
        assert len(report.check(working_copy)) == count
    assert row(text, "smallest stream within").split(" | ")[2:4] == ["**41 B**", "yes"]


def test_people_need_no_weights(working_copy):
    rows = [{"processes": 2, "samples_per_s": 70.0}]
    put(working_copy, "stills/people", Result("people", provenance(None, weights_sha256={}), {}, rows))
    assert "**70 samples/s** | yes" in text_of(working_copy) and report.check(working_copy) == []


def test_a_file_that_is_no_result_is_named_by_check_and_by_write(working_copy):
    report.write(working_copy)
    for content, message in (("{}", "expected the format"), ("[", "expected JSON"), (None, "lacks figures")):
        path = working_copy / "results" / "live" / "live.json"
        if content is None:
            form.write_result(path, dataclasses.replace(live_result(), results={"delay": {}}))
        else:
            path.write_text(content)
        (fault,) = report.check(working_copy)
        assert "live.json" in fault and message in fault and "\n" not in fault
        with pytest.raises(SomacastError, match=r"live\.json"):
            report.write(working_copy)


def test_two_files_of_one_name_and_none_at_all_are_refused(working_copy):
    put(working_copy, "live/speed", speed_result())
    assert "expected one file of this name" in report.check(working_copy)[0]
    for path in (working_copy / "results").rglob("*.json"):
        path.unlink()
    assert "no results there" in report.check(working_copy)[0]
    with pytest.raises(SomacastError, match="no results there"):
        report.write(working_copy)


def test_the_page_of_this_repository_agrees_with_its_results():
    assert report.check(ROOT) == []
    assert "<!-- results" not in (ROOT / "README.md").read_text()
    for one in reading.read_all(ROOT).values():
        assert one.path.parts[1] in ("stills", "likeness", "looks", "live", "users") and one.result.provenance.commit


def controlled() -> Result:
    """An evaluation with controls."""
    figures = {
        "input_stlpips": 0.2,
        "input_iou": 0.8,
        "same_person": 0.9,
        "input_delta_e": 7.0,
        "input_normal_deg": 30.0,
    }
    plain = evaluation(**figures)
    views = {"90": {"stlpips": 0.25, "iou": 0.7, "delta_e": 8.0, "normal_deg": 31.0}}
    truth = {"input_stlpips": 0.0, "input_iou": 1.0, "same_person": 1.0, "centred_chamfer_m": 0.002, "mpjpe_m": 0.0}
    dummy = {"input_stlpips": 0.5, "input_iou": 0.5, "same_person": 0.0, "centred_chamfer_m": 0.08, "mpjpe_m": 0.2}
    controls = {"truth": truth, "mannequin": dummy | {"ssim_box": 0.69}}
    more = {"controls": {name: {"people": 40, "total": row, "views": {}} for name, row in controls.items()},
            "views": views, "intervals": {"input_stlpips": [0.18, 0.22]}, "order_faults": []}  # fmt: skip
    return dataclasses.replace(plain, results=plain.results | more)


def test_the_page_begins_with_what_a_viewer_gets_and_the_front_page_has_the_headline(working_copy):
    put(working_copy, f"stills/{reading.FULL}", controlled())
    front = working_copy / report.FRONT_PAGE
    front.write_text(f"# Front\n{report.FRONT_MARKS[0]}\nold\n{report.FRONT_MARKS[1]}\nrest\n")
    assert any("README.md does not say" in fault for fault in report.check(working_copy))
    text = text_of(working_copy)
    assert text.index("## What a viewer gets") < text.index("## Stills")
    assert row(text, "**aflsc**").split(" | ")[1:4] == ["**0.200** (0.180 to 0.220)", "0.800", "90 %"]
    assert row(text, "one grey mannequin").split(" | ")[1:4] == ["0.500", "0.500", "0 %"]
    assert "Every headline figure puts the truth before the result" in text and "0.690" in text
    assert row(text, "90 degrees").split(" | ")[1:3] == ["0.250", "0.700"]
    lines = front.read_text().splitlines()
    assert lines[-1] == "rest" and "old" not in lines
    assert row(front.read_text(), "**Somacast**").split(" | ")[1:4] == ["0.200", "0.800", "90 %"]
    assert report.check(working_copy) == []
    wrong = controlled()
    wrong.results["order_faults"] = ["input_iou: the mannequin is better"]
    put(working_copy, f"stills/{reading.FULL}", wrong)
    assert "**Out of order**: input_iou" in text_of(working_copy)
    front.write_text("# no marks")
    assert any("README.md: expected the lines" in fault for fault in report.check(working_copy))


# -- curves -----------------------------------------------------------------------------------------------------------


def test_curves_are_drawn_from_lines_with_figures(working_copy):
    folder = working_copy / "results" / "curves"
    folder.mkdir()
    lines = [{"recipe": {"batch": 32}}, {"samples": 100, "joints_px": 9.0, "iou": 0.5, "heat": 1.0}]
    lines += [{"samples": 200, "joints_px": None}, {"samples": 300, "joints_px": 5.0, "iou": 0.7}]
    (folder / "extract.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rows = curves.read_curve(folder / "extract.jsonl")
    assert len(rows) == 3
    assert curves.series(rows, ("joints_px",)) == {"joints_px": ([100.0, 300.0], [9.0, 5.0])}
    assert set(curves.series(rows, ("iou", "z_mm", "joints_px"))) == {"iou", "joints_px"}
    assert working_copy / report.CURVES_IMAGE in report.write(working_copy)
    assert (working_copy / report.CURVES_IMAGE).read_bytes().startswith(b"\x89PNG")
    assert "](images/curves.png)" in (working_copy / report.PAGE).read_text() and report.check(working_copy) == []
    (folder / "extract.jsonl").write_text("not json")
    with pytest.raises(SomacastError, match=r"extract\.jsonl: cannot be read"):
        report.write(working_copy)


# -- command line -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["speed", "people", "report"])
def test_help_of_the_benchmarks(capsys, verb):
    assert cli.main(["bench", verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Example: somacast bench {verb}" in text and ("--device" in text) == (verb == "speed")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "unknown verb 'bench nonsense'"),
        (["speed"], "missing: --json"),
        (["speed", "--json", "no_such_folder/x.json"], "no_such_folder"),
        (["speed", "--json", "x.txt"], ".json"),
        (["speed", "--json", "x.json", "--people", "0"], "--people 0"),
        (["speed", "--json", "x.json", "--system", "nobody"], "'nobody'"),
        (["people", "--json", "x.json", "--assets", "no_such_folder"], "no_such_folder"),
        (["report", "--root", "no_such_folder"], "no_such_folder"),
    ],
)
def test_mistakes_are_one_line(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0]
    assert list(tmp_path.iterdir()) == []
