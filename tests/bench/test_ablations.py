"""Ablations: variants are made once and alike, and their figures say what they mean (no trained weights needed)."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from somacast.cli import main as cli
from somacast.coding.label_coding import CodingTables, encode_layers, symbol_bits
from somacast.errors import SomacastError
from somacast.extras import installed
from somacast.systems.aflsc.ablation import coding as ablate_coding
from somacast.systems.aflsc.ablation import measure as ablate
from somacast.systems.aflsc.ablation import show as ablate_show
from somacast.systems.aflsc.ablation.coding import Said
from somacast.systems.aflsc.labels.codec import LabelCodec
from somacast.systems.aflsc.training import ablations
from somacast.systems.aflsc.training.config import FOLDER, AblationConfig
from somacast.systems.aflsc.training.labels import build_tables, fit_importance
from support.aflsc_cases import poses, random_values, space

DIGEST = b"abc"


@lru_cache(maxsize=3)
def codec(conditional: bool = True, alike: bool = False) -> LabelCodec:
    vocabulary = space().vocabulary
    model = fit_importance(space().vocabulary, alike=alike)
    return LabelCodec(vocabulary, build_tables(space(), random_values(300), model, conditional), DIGEST)


@lru_cache(maxsize=1)
def people() -> tuple[Said, ...]:
    """Four who really stand as their unquantised labels say."""
    values = random_values(4, seed=9)
    symbols = space().vocabulary.quantise(values)
    return tuple(
        Said(("standing", "walking")[k % 2], v, s, ablate_coding.joints_of(space(), v))
        for k, (v, s) in enumerate(zip(values, symbols, strict=True))
    )


# -- label coding -----------------------------------------------------------------------------------------------------


def test_a_full_file_moves_nobody_and_a_small_one_does():
    person = people()[0]
    full = ablate_coding.coded(space(), codec(), person, None)
    small = ablate_coding.coded(space(), codec(), person, len(ablate_coding.smallest_stream(codec(), person.symbols)))
    assert full and small and small["bytes"] < full["bytes"]
    assert full["joints_move_mm"] < small["joints_move_mm"] and full["skin_move_mm"] < small["skin_move_mm"]
    assert full["mpjpe_mm"] == pytest.approx(full["joints_move_mm"])  # their truth is what the sender meant
    assert ablate_coding.coded(space(), codec(), person, 13) is None


def test_rows_hold_the_people_whom_all_variants_can_code():
    codecs = {"full": codec(), "no-conditional": codec(conditional=False), "no-importance": codec(alike=True)}
    sizes = [len(ablate_coding.smallest_stream(codec(), p.symbols)) for p in people()]
    rows = ablate_coding.coding_table(space(), codecs, people(), (min(sizes), None))
    assert [r["variant"] for r in rows] == list(codecs) * 2
    tight, whole = rows[:3], rows[3:]
    assert all(r["people"] == 4 and r["too_small"] == 0 for r in whole)
    assert len({r["people"] for r in tight}) == 1
    assert tight[0]["people"] <= 4 - max(r["too_small"] for r in tight)
    assert "bytes" not in tight[0] or tight[0]["bytes"] <= min(sizes)
    # everything is sent at full quality, whatever the importance
    assert whole[0]["bytes"] == whole[2]["bytes"] and whole[0]["skin_move_mm"] == whole[2]["skin_move_mm"]


def test_bits_by_group_add_up_to_the_stream():
    symbols = people()[0].symbols
    data = ablate_coding.stream(codec(), encode_layers(symbols, 0, codec().vocabulary, codec().tables), 0)
    table = ablate_coding.bits_table(codec(), [data])
    assert table["bytes"] == len(data)
    assert table["bits"] == pytest.approx(symbol_bits(symbols, codec().vocabulary, codec().tables).sum())
    assert table["bits"] == pytest.approx(sum(sum(g["levels"]) for g in table["groups"]))
    assert 0 < len(data) - table["bits"] / 8 < 40  # header, checks and the ends of the streams
    base = ablate_coding.bits_table(codec(), [ablate_coding.smallest_stream(codec(), symbols)])
    assert all(sum(g["levels"][1:]) == 0 for g in base["groups"])
    assert sum(g["sent"] for g in base["groups"]) == codec().vocabulary.minimum_levels.sum()


def test_the_smallest_stream_keeps_the_limit():
    find = lambda limit: ablate_coding.smallest_within(space(), codec(), people(), limit, (0, 255))  # noqa: E731
    near, anything = find(10.0), find(1e6)
    assert near["mpjpe_mm"] - near["full_mpjpe_mm"] <= 10 and near["bytes"] <= near["full_bytes"]
    least = np.mean([len(ablate_coding.smallest_stream(codec(), p.symbols)) for p in people()])
    assert anything["bytes"] == pytest.approx(least) and anything["layers"] == 1
    sizes, errors = zip(*((r["bytes"], r["mpjpe_mm"]) for r in near["front"]), strict=True)
    assert list(sizes) == sorted(sizes) and list(errors) == sorted(errors, reverse=True)


# -- senders and showing ----------------------------------------------------------------------------------------------


def test_the_discriminator_is_judged_by_pairs(tmp_path):
    config = ablate.AblateConfig(tmp_path, tmp_path / "a.json", tmp_path / "b.svg")
    row = lambda action, error: {"action": action, "mpjpe_mm": error, "pa_mpjpe_mm": 1.0, "label_bits": 5.0}  # noqa: E731
    assert ablate.discriminator_table(config, {"with-discriminator": [row("a", 1.0)]}) is None
    rows = {"with-discriminator": [row("a", 100.0), row("b", 50.0), row("b", 60.0)],
            "no-discriminator": [row("a", 103.0), row("b", 51.0), row("b", 62.0)]}  # fmt: skip
    found = ablate.discriminator_table(config, rows)
    assert found and found["with-discriminator"]["mpjpe_mm"] == (100 + 55) / 2  # mean over the actions
    assert found["difference"]["mpjpe_mm"] == {"mean": 2.0, "standard_error": pytest.approx(1 / 3**0.5)}


def results() -> dict:
    bits = ablate_coding.bits_table(codec(), [ablate_coding.smallest_stream(codec(), p.symbols) for p in people()])
    near = {"bytes": 40.0, "mpjpe_mm": 60.0, "full_bytes": 400.0, "full_mpjpe_mm": 55.0, "front": []}
    return {
        "coding": [{"variant": "full", "budget_bytes": None, "people": 4, "too_small": 0, "bytes": 400.0}],
        "bits": {"full": bits, "smallest": bits},
        "discriminator": None,
        "extractor": {"no-masks": {"samples": 64, "joints_px": 4.0}},
        "smallest_bytes": {"full": 33.0},
        "smallest_within_10mm_bytes": 40.0,
        "smallest_within_10mm": near,
    }


def test_tables_and_figure(capsys):
    pytest.importorskip("matplotlib")
    ablate_show.print_tables(results())
    shown = capsys.readouterr().out
    assert "no-masks" in shown and "smallest_within_10mm: 40.0 B" in shown
    rendered = ablate_show.draw_bits(results()["bits"])
    assert (
        rendered.startswith(b"<?xml") and b"pose (" in rendered and rendered == ablate_show.draw_bits(results()["bits"])
    )


# -- making the variants ----------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> AblationConfig:
    """A run's folder with two empty shards in its pool."""
    for name in ablations.RUN_FILES:
        (tmp_path / name).touch()
    for name in ("charts", "pool", "held_out"):
        (tmp_path / name).mkdir()
        for number in range(2):
            np.savez(tmp_path / name / f"{number:06d}.npz", image=np.zeros((3, 2, 2, 3), np.uint8))
    (tmp_path / FOLDER).mkdir()
    return AblationConfig(tmp_path, minutes=1.0, shards=1)


def test_a_run_that_is_not_whole_is_named(run, tmp_path):
    ablations.check_run(run)
    with pytest.raises(SomacastError, match="no shards"):
        ablations.check_run(replace(run, pool=tmp_path / "elsewhere"))
    (tmp_path / "semantic.pt").unlink()
    with pytest.raises(SomacastError, match=r"no semantic\.pt"):
        ablations.check_run(run)


def test_the_plan_holds_for_all_variants(run):
    plan = ablations.make_plan(run)
    assert plan["shards"] == ["000001.npz"]
    np.savez(run.folder("pool") / "000002.npz", image=np.zeros((3, 2, 2, 3), np.uint8))
    assert ablations.make_plan(run) == plan  # a growing pool changes nothing
    pool = ablations.FixedPool(run.folder("pool"), plan["shards"])
    assert pool.refresh() == 3 and list(pool.shards) == ["000001.npz"]
    calls = []
    probe = lambda folder, minutes: calls.append(minutes) or 50  # noqa: E731
    assert ablations._planned_steps(run, plan, "semantic", probe) == 200  # 50 in a quarter of a minute
    assert ablations._planned_steps(run, ablations.make_plan(run), "semantic", probe) == 200 and calls == [0.25]
    with pytest.raises(SomacastError, match="begun with minutes 1 and seed 0"):
        ablations.make_plan(replace(run, minutes=2.0))


def test_coding_variants_differ_by_their_idea_alone(run, monkeypatch):
    monkeypatch.setattr("somacast.systems.aflsc.training.charts.load_charts", lambda folder: {})
    monkeypatch.setattr("somacast.systems.aflsc.training.recipe.coding_values", lambda *given: random_values(300))
    monkeypatch.setattr("somacast.systems.aflsc.training.recipe.network_states", lambda out: {"extract": {}})
    np.save(run.run / "poses.npy", poses())
    made: dict[str, CodingTables] = {}

    def save(path, label_space, tables, states):
        made[path.stem] = tables
        path.touch()

    monkeypatch.setattr(ablations, "save_variant", save)
    (run.out / "full.safetensors").touch()
    ablations.coding_stage(run, space())
    assert set(made) == {"no-conditional", "no-importance"}  # what is there is left alone
    assert (made["no-conditional"].parents == -1).all() and (made["no-importance"].parents >= 0).any()
    tau, alike = (made[name].importance.tau for name in ("no-conditional", "no-importance"))
    assert len(np.unique(tau)) > 2 and set(alike[5:].tolist()) <= {1, 60_000}


def test_steps_stretch_the_schedule_of_the_semantic_coder(tmp_path):
    torch = pytest.importorskip("torch")
    from somacast.systems.aflsc.training.semantic import SemanticRecipe, train

    rng = np.random.default_rng(0)
    truth = {"rotations": poses()[:24], "shape": rng.normal(0, 1, (24, 12)).astype(np.float32),
             "attributes": np.zeros((24, 5), np.int64), "curl": np.full((24, 2), 0.5, np.float32)}  # fmt: skip
    sets = {"train": (rng.normal(0, 1, (24, 16)), truth), "held_out": (rng.normal(0, 1, (24, 16)), truth)}
    coders = []
    for name, gamma in (("a", 0.02), ("b", 0.02), ("c", 0.0)):
        (tmp_path / name).mkdir()
        recipe = SemanticRecipe(minutes=0, batch=8, steps=3, gamma=gamma)
        coders.append(train(recipe, space(), sets, tmp_path / name).state_dict())
        assert json.loads((tmp_path / name / "semantic.jsonl").read_text().splitlines()[-1])["step"] == 3
    assert all(torch.equal(v, coders[1][k]) for k, v in coders[0].items())
    assert any(not torch.equal(v, coders[2][k]) for k, v in coders[0].items())
    found = ablations.held_out_figures(coder_of(coders[0]), space(), *sets["held_out"])
    assert found["mpjpe_mm"] > 0 and np.isfinite(found["label_loss_nats"])


def coder_of(state):
    """The coder of a state."""
    from somacast.systems.aflsc.labels.layout import LabelLayout
    from somacast.systems.aflsc.networks.adversarial import SemanticCoder, SemanticConfig

    coder = SemanticCoder(SemanticConfig(16), LabelLayout.of(space().vocabulary))
    coder.load_state_dict(state)
    return coder


def test_the_extractor_of_a_recipe_lacks_what_it_says():
    pytest.importorskip("torch")
    from somacast.systems.aflsc.training.extract import ExtractRecipe, extractor_config

    config = extractor_config(ExtractRecipe(**ablations.EXTRACTOR["no-masks"]), 96)
    assert config.size_px == 96 and config.task_increments and not config.task_masks
    assert not extractor_config(ExtractRecipe(**ablations.EXTRACTOR["no-increments"]), 96).task_increments
    assert extractor_config(ExtractRecipe(), 96).task_masks


# -- command line -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb", [["train", "aflsc", "ablations"], ["bench", "study", "aflsc", "ablations"]], ids=" ".join
)
def test_help(capsys, verb):
    assert cli.main([*verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Example: somacast {' '.join(verb)}" in shown and "--device" in shown


def test_missing_variants_are_told_with_the_command_that_makes_them(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "run").mkdir()
    assert cli.main(["train", "aflsc", "ablations", "--run", str(tmp_path / "run")]) == 2
    assert "expected the folder of a finished training" in capsys.readouterr().err
    arguments = ["bench", "study", "aflsc", "--run", str(tmp_path / "run"), "--json", str(tmp_path / "a.json")]
    assert cli.main(arguments) == 2
    assert "somacast train aflsc ablations --run" in capsys.readouterr().err
    assert cli.main([*arguments, "--people", "0"]) == 2 and "--people" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.json"))


def test_the_study_of_both_sides_says_what_depth_brings(tmp_path):
    from somacast.metrics.perceptual import PACKAGE

    if not installed(PACKAGE):
        pytest.skip("STLPIPS-PYTORCH IS NOT INSTALLED: what both sides bring was not looked at")
    path = tmp_path / "sides.json"
    words = ["bench", "study", "aflsc", "sides", "--people", "1", "--heights-px", "48", "--json", str(path)]
    assert cli.main(words) == 0
    results = json.loads(path.read_text())["results"]
    means = results["variants"]
    assert set(means) == {"front, 48 px", "front, 144 px", "front and back", "front, back and depth"}
    assert means["front, 144 px"]["input_stlpips"] < means["front, 48 px"]["input_stlpips"]
    assert means["front, back and depth"]["centred_chamfer_m"] < means["front and back"]["centred_chamfer_m"]
    assert not results["failures"] and len(results["rows"]["front and back"]) == 1
