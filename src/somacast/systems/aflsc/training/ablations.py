"""Variants of a finished AFLSC run with one idea taken away from each: `somacast train aflsc ablations`.

    coding tables without conditions, without importance ----> RUN/ablations/NAME.safetensors
    semantic coder with and without its discriminator -------> RUN/ablations/NAME.safetensors, semantic.json
    extractor without increments, without masks, with both --> RUN/ablations/extract.json

Variants that are trained stand beside a control: the same start, seed, batches, schedule and number of steps. All that
is there already is left as it is, so that the command can be given again after an interruption.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from somacast.errors import SomacastError
from somacast.extras import require
from somacast.files import write_atomically
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.training.config import AblationConfig, TrainConfig
from somacast.training.pools import Pool, read_shard

RUN_FILES = ("extract.pt", "semantic.pt", "space.npz", "poses.npy")
CODING: dict[str, dict[str, bool]] = {  # name -> which idea is off
    "full": {},
    "no-conditional": {"conditional": False},
    "no-importance": {"alike": True},
}
DISCRIMINATOR = {"with-discriminator": True, "no-discriminator": False}
EXTRACTOR: dict[str, dict[str, bool]] = {
    "fine-tuned": {},
    "no-increments": {"increments": False},
    "no-masks": {"masks": False},
}
FINE_TUNE = 0.2  # of the recipe's rates: the network has been trained
_PROBE_MINUTES = 0.25  # of training by the clock, to learn how many steps the minutes hold
_WATCHED = 400  # held-out samples on the learning curve, as in the recipe


class FixedPool(Pool):
    """Shards of a folder by name and never others, so that every variant learns from the same pictures."""

    def __init__(self, folder: Path, names: list[str], focus: float = 1.0):
        super().__init__(folder, 10**9, focus)
        for name in names:
            self.shards[name] = read_shard(folder / name)

    def refresh(self, limit: int = 2) -> int:
        """Nothing is taken in; returns how many samples there are."""
        return len(self)


def main(config: AblationConfig) -> Path:
    """Make all variants that are not there; returns their folder. SomacastError if the run is not whole."""
    check_run(config)
    require("torch", "training")
    if config.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the trainings take a GPU where they see one
    config.out.mkdir(exist_ok=True)
    plan = make_plan(config)
    with np.load(config.run / "space.npz") as saved:
        space = LabelSpace.from_arrays(dict(saved))
    coding_stage(config, space)
    discriminator_stage(config, space, plan)
    extractor_stage(config, plan)
    return config.out


def check_run(config: AblationConfig) -> None:
    """SomacastError naming what a finished run has and this one has not."""
    missing = [name for name in RUN_FILES if not (config.run / name).is_file()]
    if missing:
        raise SomacastError(f"{config.run}: no {', '.join(missing)} there; expected the folder of a finished training")
    for name in ("charts", "pool", "held_out"):
        if not any(config.folder(name).glob("*.npz")):
            raise SomacastError(f"{config.folder(name)}: no shards (.npz) there; expected those of the training")


# -- what all trainings share -----------------------------------------------------------------------------------------


def make_plan(config: AblationConfig) -> dict[str, Any]:
    """Settings that all variants must share, from RUN/ablations/plan.json or new; SomacastError if they differ now."""
    path = config.out / "plan.json"
    given: dict[str, Any] = {"minutes": config.minutes, "seed": config.seed}
    if path.exists():
        plan = json.loads(path.read_text())
        if any(plan[k] != v for k, v in given.items()):
            raise SomacastError(
                f"{path}: variants of this run were begun with minutes {plan['minutes']:g} and seed {plan['seed']}; "
                "expected the same, or an empty folder"
            )
        return plan
    names = sorted(p.name for p in config.folder("pool").glob("*.npz"))[-config.shards :]
    plan = given | {"shards": names}
    write_json(path, plan)
    return plan


def write_json(path: Path, value: Any) -> None:
    """JSON for people to read, wholly or not at all."""
    write_atomically(path, (json.dumps(value, indent=1) + "\n").encode())


def _planned_steps(config: AblationConfig, plan: dict[str, Any], kind: str, probe: Any) -> int:
    """Steps that the minutes hold, measured once by `probe(folder, minutes)` -> steps, and kept in the plan.

    Steps instead of the clock: variants stay comparable on a machine that has other work to do.
    """
    name = f"{kind}_steps"
    if name not in plan:
        minutes = min(_PROBE_MINUTES, config.minutes)
        with tempfile.TemporaryDirectory() as folder:
            steps = probe(Path(folder), minutes)
        plan[name] = max(1, round(steps * config.minutes / minutes))
        write_json(config.out / "plan.json", plan)
    return plan[name]


def save_variant(path: Path, space: LabelSpace, tables: Any, states: dict[str, dict]) -> None:
    """`save_checkpoint` by way of a temporary file, as a whole file means a finished stage."""
    from somacast.systems.aflsc.networks.loading import save_checkpoint

    temporary = path.with_suffix(".tmp")
    save_checkpoint(temporary, space, tables, states)
    temporary.replace(path)


def _weights(config: AblationConfig, name: str) -> Path:
    return config.out / f"{name}.safetensors"


# -- stages -----------------------------------------------------------------------------------------------------------


def coding_stage(config: AblationConfig, space: LabelSpace) -> None:
    """Weights with other coding tables and the same networks."""
    from somacast.systems.aflsc.training.charts import load_charts
    from somacast.systems.aflsc.training.labels import build_tables, fit_importance
    from somacast.systems.aflsc.training.recipe import coding_values, network_states

    wanted = [name for name in CODING if not _weights(config, name).exists()]
    if not wanted:
        return
    values = coding_values(space, np.load(config.run / "poses.npy"), load_charts(config.folder("charts")))
    states = network_states(config.run)
    built = {}  # counting takes minutes, and the importance changes nothing about it
    for name in wanted:
        conditional, alike = CODING[name].get("conditional", True), CODING[name].get("alike", False)
        model = fit_importance(space.vocabulary, alike=alike)
        if conditional not in built:
            built[conditional] = build_tables(space, values, model, conditional)
        save_variant(_weights(config, name), space, replace(built[conditional], importance=model), states)


def discriminator_stage(config: AblationConfig, space: LabelSpace, plan: dict[str, Any]) -> None:
    """Semantic coders trained alike but for gamma of eq. 11, each in weights with the tables of `full`."""
    from somacast.systems.aflsc.networks.loading import load_tables
    from somacast.systems.aflsc.training.recipe import network_states
    from somacast.systems.aflsc.training.semantic import SemanticRecipe, train

    wanted = [name for name in DISCRIMINATOR if not _weights(config, name).exists()]
    if not wanted:
        return
    sets = _features(config, plan["shards"])
    recipe = SemanticRecipe(minutes=config.minutes, threads=config.threads, seed=config.seed)

    def probe(folder: Path, minutes: float) -> int:
        train(replace(recipe, minutes=minutes), space, sets, folder)
        return json.loads((folder / "semantic.jsonl").read_text().splitlines()[-1])["step"]

    steps = _planned_steps(config, plan, "semantic", probe)
    tables, states = load_tables(_weights(config, "full")).codec.tables, network_states(config.run)
    path = config.out / "semantic.json"
    figures = json.loads(path.read_text()) if path.exists() else {}
    for name in wanted:
        folder = config.out / name
        folder.mkdir(exist_ok=True)
        (folder / "semantic.jsonl").unlink(missing_ok=True)  # of an attempt that was interrupted
        gamma = recipe.gamma if DISCRIMINATOR[name] else 0.0
        coder = train(replace(recipe, gamma=gamma, steps=steps), space, sets, folder)
        figures[name] = {"gamma": gamma, "steps": steps, "minutes": config.minutes, "samples": len(sets["train"][0])}
        figures[name] |= held_out_figures(coder, space, *sets["held_out"])
        write_json(path, figures)
        save_variant(_weights(config, name), space, tables, states | {"semantic": coder.state_dict()})


def _features(config: AblationConfig, names: list[str]) -> dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Features of the shards by the run's extractor, mirrored in turn; kept in a file, as they take minutes."""
    from somacast.systems.aflsc.training.recipe import semantic_sets

    path = config.out / "features.npz"
    if not path.exists():
        shards = [(config.folder("pool") / name, k % 2 == 1) for k, name in enumerate(names)]
        held_out = sorted(config.folder("held_out").glob("*.npz"))
        sets = semantic_sets(config.run / "extract.pt", shards, held_out)
        flat = {f"{kind}.{k}": v for kind, (x, truths) in sets.items() for k, v in {"x": x, **truths}.items()}
        with path.with_suffix(".tmp").open("wb") as file:
            np.savez(file, **flat)  # pyright: ignore[reportArgumentType]
        path.with_suffix(".tmp").replace(path)
    found: dict[str, dict[str, np.ndarray]] = {"train": {}, "held_out": {}}
    with np.load(path, allow_pickle=False) as saved:
        for key in saved.files:
            kind, _, name = key.partition(".")
            found[kind][name] = saved[key]
    return {kind: (truths.pop("x"), truths) for kind, truths in found.items()}


def held_out_figures(coder: Any, space: LabelSpace, features: np.ndarray, truth: dict) -> dict[str, float]:
    """Of a semantic coder on features [N, X] and truths it has not seen: mpjpe_mm, pa_mm, and label_loss_nats, the
    negative log-likelihood of the true labels (eq. 9), mean over samples and labels."""
    import torch

    from somacast.systems.aflsc.labels.layout import LabelLayout
    from somacast.systems.aflsc.networks.adversarial import label_loss
    from somacast.systems.aflsc.training.semantic import Kinematics, evaluate, label_truth

    layout = LabelLayout.of(space.vocabulary)
    chain, s = Kinematics(space, layout), len(layout.scalars)
    x = torch.from_numpy(features).float()
    y = torch.from_numpy(layout.vector(space.vocabulary, label_truth(space, truth)))
    out = evaluate(coder, chain, x, chain(y[:, :s], y[:, s : s + 2]))
    coder.eval()
    with torch.inference_mode():
        out["label_loss_nats"] = round(float(label_loss(coder, coder.infer(x), y)), 4)
    return out


def extractor_stage(config: AblationConfig, plan: dict[str, Any]) -> None:
    """The run's extractor trained on without one idea each, and with all, compared on held-out pictures.

    Their coders would have to be trained again too, so that they are not compared beyond the extractor.
    """
    from somacast.systems.aflsc.training.extract import ExtractRecipe, read_checkpoint, train

    path = config.out / "extract.json"
    figures = json.loads(path.read_text()) if path.exists() else {}
    if all(name in figures for name in ("before", *EXTRACTOR)):
        return
    start = config.run / "extract.pt"
    plain = ExtractRecipe()
    recipe = replace(
        plain, minutes=config.minutes, sizes=((0.0, read_checkpoint(start)["size_px"]),), rate=FINE_TUNE * plain.rate,
        matrix_rate=FINE_TUNE * plain.matrix_rate, warm_start=str(start), threads=config.threads, seed=config.seed,
    )  # fmt: skip
    pool = FixedPool(config.folder("pool"), plan["shards"], TrainConfig().focus)
    held = Pool(config.folder("held_out"), 10**6)
    held.refresh(10)
    held_out = held.all()
    watched = {k: v[:_WATCHED] for k, v in held_out.items()}

    def probe(folder: Path, minutes: float) -> int:
        return read_checkpoint(train(replace(recipe, minutes=minutes), pool, watched, folder))["step"]

    if "before" not in figures:
        figures["before"] = {"minutes": 0, "samples": 0} | _score(start, recipe, held_out)
        write_json(path, figures)
    steps = _planned_steps(config, plan, "extract", probe)
    for name, off in EXTRACTOR.items():
        if name not in figures:
            used = replace(recipe, steps=steps, **off)
            checkpoint = train(used, pool, watched, config.out / name, resume=True)
            figures[name] = {"minutes": config.minutes, "samples": steps * used.batch, "seed": config.seed}
            figures[name] |= _score(checkpoint, used, held_out)
            write_json(path, figures)


def _score(checkpoint: Path, recipe: Any, held_out: dict[str, np.ndarray]) -> dict[str, float]:
    """Held-out figures of the averaged network of a checkpoint."""
    import torch

    from somacast.systems.aflsc.networks.extract import MultiTaskViT
    from somacast.systems.aflsc.training.extract import extractor_config, read_checkpoint
    from somacast.systems.aflsc.training.extract_losses import evaluate

    saved = read_checkpoint(checkpoint)
    net = MultiTaskViT(extractor_config(recipe, saved["size_px"]))
    net.load_state_dict(saved["average"])
    net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return evaluate(net, held_out)
