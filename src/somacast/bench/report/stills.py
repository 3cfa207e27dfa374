"""`somacast bench report`: the README's figures, drawn from committed results and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from somacast.bench.report.live import live_lines
from somacast.errors import SomacastError
from somacast.files import write_atomically
from somacast.weights.manifest import origins

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
FULL, SMALL, SPEED, PEOPLE = "aflsc.json", "aflsc_small.json", "speed.json", "people.json"
ABLATIONS, OTHERS, HEIGHT = "ablations.json", "others.json", "aflsc_height.json"
RD, RD_IMAGE, RD_SHEET = "rd.json", "results/rd.png", "results/rd_pictures.png"
CURVES_IMAGE = Path("docs/images/curves.png")
_COMMANDS = {  # for rows whose file is not there yet
    FULL: "somacast evaluate --system aflsc --data synthetic-test --json results/aflsc.json",
    SMALL: "somacast evaluate --system aflsc --data synthetic-test --budget-bytes N --json results/aflsc_small.json",
    SPEED: "somacast bench speed --json results/speed.json",
    PEOPLE: "somacast bench people --json results/people.json",
    ABLATIONS: "somacast bench ablations --run RUN --json results/ablations.json",
    OTHERS: "somacast evaluate --system aflsc --data FOLDER --format meshes --json results/others.json",
    HEIGHT: "somacast evaluate --system aflsc --data synthetic-test --tell-height --json results/aflsc_height.json",
    RD: "somacast bench rd",
}


@dataclass(frozen=True)
class Figure:
    """One row: name, file it comes from, how to read the value, the floor and which side of it is good; factor and
    format for showing, unit; remark: more from the same file."""

    name: str
    source: str
    value: Callable[[dict], float]
    floor: float
    at_least: bool = False
    factor: float = 1.0
    digits: int = 0
    unit: str = ""
    remark: Callable[[dict], str] | None = None

    def shown(self, number: float) -> str:
        """A number of this figure with its unit."""
        return f"{number * self.factor:,.{self.digits}f}" + (f" {self.unit}" if self.unit else "")

    def reached(self, number: float) -> bool:
        """Whether the floor is kept by the value itself, not by what rounding makes of it."""
        return number >= self.floor if self.at_least else number <= self.floor


def _total(name: str) -> Callable[[dict], float]:
    return lambda result: result["results"]["total"][name]


def _bytes_remark(result: dict) -> str:
    distribution = result["results"]["spread"]["bytes"]
    return f"largest of {result['results']['people']}; mean {distribution['mean']:.0f} B"


def _small_remark(result: dict) -> str:
    total = result["results"]["total"]
    return f"{_bytes_remark(result)}; SSIM box {total['ssim_box']:.3f}, MPJPE {1000 * total['mpjpe_m']:.0f} mm"


def _worst(name: str) -> Callable[[dict], str]:
    return lambda result: f"median; worst {result['results'][name]['max']:.2f} s"


def _rate(result: dict) -> float:
    return max(row["samples_per_s"] for row in result["results"] if row["processes"] == 2)


def _package(result: dict) -> str:
    wheel = result["results"]["package"]["wheel_bytes"]
    return "installed" if wheel is None else f"installed; wheel {wheel / 1e6:.1f} MB"


def _worst_action(result: dict) -> str:
    name, row = max(result["results"]["actions"].items(), key=lambda item: item[1]["centred_chamfer_m"])
    return f"worst action: {name}, {100 * row['centred_chamfer_m']:.2f} cm (floor 4.50)"


FIGURES = (
    Figure("`.soma` file at full quality", FULL, lambda r: r["results"]["spread"]["bytes"]["max"], 500, unit="B",
           remark=_bytes_remark),
    Figure("`.soma` files on a budget", SMALL, lambda r: r["results"]["spread"]["bytes"]["max"], 60, unit="B",
           remark=_small_remark),
    Figure("smallest stream within 10 mm of the full one's MPJPE", ABLATIONS,
           lambda r: r["results"]["smallest_within_10mm_bytes"], 60, unit="B"),
    Figure("SSIM, whole picture", FULL, _total("ssim_whole"), 0.91, at_least=True, digits=3),
    Figure("SSIM, box around the person", FULL, _total("ssim_box"), 0.66, at_least=True, digits=3),
    Figure("MSE over the silhouettes", FULL, _total("mse"), 0.03, digits=4),
    Figure("Chamfer after centring", FULL, _total("centred_chamfer_m"), 0.032, factor=100, digits=2, unit="cm",
           remark=_worst_action),
    Figure("normal consistency", FULL, _total("centred_normal_consistency"), 0.80, at_least=True, digits=3),
    Figure("MPJPE", FULL, _total("mpjpe_m"), 0.080, factor=1000, unit="mm"),
    Figure("PA-MPJPE", FULL, _total("pa_mpjpe_m"), 0.075, factor=1000, unit="mm"),
    Figure("picture to bytes, models loaded", SPEED, lambda r: r["results"]["encode_s"]["median"], 0.1, factor=1000,
           unit="ms", remark=_worst("encode_s")),
    Figure("bytes to mesh, models loaded", SPEED, lambda r: r["results"]["decode_s"]["median"], 0.3, factor=1000,
           unit="ms", remark=_worst("decode_s")),
    Figure("peak memory, picture to mesh", SPEED, lambda r: r["results"]["peak_memory_bytes"]["chain"], 2.5e9,
           factor=1e-9, digits=2, unit="GB",
           remark=lambda r: f"{r['results']['peak_memory_bytes']['chain_photograph'] / 1e9:.2f} GB for a photograph "
           f"of {r['config']['photograph_px']} x {r['config']['photograph_px']}"),
    Figure("`somacast encode`, second run", SPEED, lambda r: r["results"]["commands"]["encode"]["second_s"], 5.0,
           digits=2, unit="s"),
    Figure("`somacast decode`, second run", SPEED, lambda r: r["results"]["commands"]["decode"]["second_s"], 4.0,
           digits=2, unit="s"),
    Figure("package with weights", SPEED, lambda r: r["results"]["package"]["installed_bytes"], 60e6, factor=1e-6,
           digits=1, unit="MB", remark=_package),
    Figure("synthetic people at 256 px, two processes", PEOPLE, _rate, 60, at_least=True, unit="samples/s"),
)  # fmt: skip


# -- reading ----------------------------------------------------------------------------------------------------------


def read_results(root: Path) -> dict[str, dict]:
    """The result files behind the figures, by name, as far as they are there. SomacastError for a broken one."""
    out = {}
    for name in (FULL, SMALL, SPEED, PEOPLE, ABLATIONS, OTHERS, HEIGHT, RD):
        path = root / "results" / name
        if not path.is_file():
            continue
        try:
            out[name] = json.loads(path.read_text())
            for figure in FIGURES:
                if figure.source == name:
                    figure.value(out[name])
                    _ = figure.remark and figure.remark(out[name])
            if name == RD:
                _ = rd_lines(out[name], root)
        except (ValueError, KeyError, TypeError, IndexError) as fault:
            raise SomacastError(
                f"results/{name}: cannot be read ({fault}); expected the output of: {_COMMANDS[name]}"
            ) from fault
    return out


def command_of(name: str, result: dict) -> str:
    """The command that made a result file, from the settings it holds; an asset folder appears by its name alone."""
    config = result.get("config", {})
    given: dict[str, tuple[Any, Any]]
    if name == RD:
        return _rd_command(config)
    if name == ABLATIONS:
        words = [f"somacast bench ablations --run RUN --budgets {' '.join(map(str, config.get('budgets', ())))}"]
        given = {"--people": (config.get("people"), None)}
    elif name == PEOPLE:
        words = ["somacast bench people"]
        given = {"--size-px": (config.get("size_px"), 256), "--seconds": (config.get("seconds"), 20.0)}
    elif name == SPEED:
        words = ["somacast bench speed"]
        given = {f"--{k.replace('_', '-')}": (config.get(k), d) for k, d in
                 (("system", "aflsc"), ("people", 5), ("repeats", 3), ("command_runs", 4), ("cores", 2))}  # fmt: skip
    else:
        words = [f"somacast evaluate --system {config.get('system')} --data {config.get('data')}"]
        given = {"--format": (config.get("format"), "synthetic"), "--people": (config.get("people"), None),
                 "--budget-bytes": (config.get("budget_bytes"), None)}  # fmt: skip
        words += ["--tell-height"] * bool(config.get("tell_height"))
    given |= {"--assets": (config.get("assets"), None), "--seed": (config.get("seed"), 0)}
    given["--device"] = (config.get("device"), "cpu")
    words += [f"{option} {value}" for option, (value, default) in given.items() if value not in (None, default)]
    return " ".join([*words, f"--json results/{name}"])


def _rd_command(config: dict) -> str:
    from somacast.bench.rate_distortion.config import RdConfig
    from somacast.bench.rate_distortion.systems import default_systems

    standard = RdConfig(Path("results") / RD)
    words = [_COMMANDS[RD]]
    for name in ("budgets_bytes", "systems", "people", "data", "format", "seed", "device"):
        if name == "systems" and set(config[name]) == set(default_systems()):
            continue
        value, default = config.get(name), getattr(standard, name)
        if isinstance(default, tuple):
            default = list(default)
        if value is None or value == default:
            continue
        option = f"--{name.replace('_', '-')}"
        words.append(f"{option} {' '.join(map(str, value)) if isinstance(value, list) else value}")
    if config.get("assets"):
        words.append(f"--assets {config['assets']}")
    if config.get("known"):
        words.append(f"--known results/{config['known']}")
    samples = config.get("protocol", {}).get("samples")
    if samples not in (None, standard.protocol.samples):
        words.append(f"--samples {samples}")
    return " ".join(words)


def rd_lines(result: dict, root: Path) -> list[str]:
    """Lines about quality against bytes."""
    from somacast.bench.rate_distortion.figures import readme_lines

    return readme_lines(result, RD_IMAGE, RD_SHEET if (root / RD_SHEET).is_file() else None)


# -- README -----------------------------------------------------------------------------------------------------------


def table(results: dict[str, dict]) -> list[str]:
    """Lines of the table of figures."""
    lines = ["| figure | floor | measured | reached |  | command |", "| --- | --- | --- | --- | --- | --- |"]
    letters = {name: "ABCDE"[i] for i, name in enumerate((FULL, SMALL, SPEED, PEOPLE, ABLATIONS))}
    for figure in FIGURES:
        floor = f"{'>=' if figure.at_least else '<='} {figure.shown(figure.floor)}"
        result = results.get(figure.source)
        if result is None:
            cells = [figure.name, floor, "not measured", "-", ""]
        else:
            number = figure.value(result)
            kept = "yes" if figure.reached(number) else "**no**"
            remark = figure.remark(result) if figure.remark else ""
            cells = [figure.name, floor, f"**{figure.shown(number)}**", kept, remark]
        lines.append(f"| {' | '.join([*cells, letters[figure.source]])} |")
    lines += ["", "Commands:", ""]
    for name, letter in letters.items():
        command = command_of(name, results[name]) if name in results else _COMMANDS[name]
        lines.append(f"* {letter}: `{command}`" + ("" if name in results else " (to be run)"))
    return lines


def actions_table(result: dict) -> list[str]:
    """Lines of the table by action and by turn, at full quality."""
    columns = (("SSIM whole", "ssim_whole", 1, 3), ("SSIM box", "ssim_box", 1, 3), ("MSE", "mse", 1, 4),
               ("Chamfer cm", "centred_chamfer_m", 100, 2), ("MPJPE mm", "mpjpe_m", 1000, 0),
               ("PA mm", "pa_mpjpe_m", 1000, 0), ("bytes", "bytes", 1, 0))  # fmt: skip
    measured = result["results"]
    rows = [(name, measured["counts"].get(name), row) for name, row in measured["actions"].items()]
    rows += [(f"seen from: {name}", row.get("people"), row) for name, row in measured.get("by_yaw", {}).items()]
    heads = ["people", "count", *(c[0] for c in columns)]
    lines = ["", f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    for name, count, row in rows:
        cells = ["-" if row.get(k) is None else f"{row[k] * f:.{d}f}" for _, k, f, d in columns]
        lines.append(f"| {' | '.join([name, str(count), *cells])} |")
    return lines


def stages_line(result: dict) -> str:
    """Where the time goes, in one sentence."""
    rows = [row for row in result["results"]["stages"] if row["part_of"] is None and row["share"] >= 0.01]
    parts = [f"{row['stage']} {row['ms']:.0f} ms" for row in rows]
    return f"Where the time goes, medians of the stages above 1 %: {', '.join(parts)}."


def others_line(others: dict, full: dict) -> str:
    """People of other makers beside the made ones, in one paragraph."""
    there, here = others["results"]["total"], full["results"]["total"]
    count, failed = others["results"]["people"], others["results"]["failed"]
    ratio = there["centred_chamfer_m"] / here["centred_chamfer_m"]
    return (
        f"**People of other makers** ({count} pictures, {failed} refused): SSIM {there['ssim_whole']:.3f} whole, "
        f"{there['ssim_box']:.3f} box ({there['ssim_box'] - here['ssim_box']:+.3f} against synthetic, floor -0.05), "
        f"Chamfer {100 * there['centred_chamfer_m']:.2f} cm (times {ratio:.2f}, floor 1.60). "
        f"Command: `{command_of(OTHERS, others)}`"
    )


def height_line(with_height: dict, full: dict) -> str:
    """The same people when the sender is told how tall they are, in one paragraph."""
    there, here = with_height["results"]["total"], full["results"]["total"]
    shown = (("SSIM whole", "ssim_whole", 1, 3), ("box", "ssim_box", 1, 3), ("MSE", "mse", 1, 4),
             ("Chamfer cm", "centred_chamfer_m", 100, 2), ("MPJPE mm", "mpjpe_m", 1000, 0))  # fmt: skip
    parts = [f"{name} {there[key] * f:.{d}f} (without {here[key] * f:.{d}f})" for name, key, f, d in shown]
    return f"**Height told** (`encode --height-m`): {', '.join(parts)}. Command: `{command_of(HEIGHT, with_height)}`"


def provenance(results: dict[str, dict]) -> str:
    """Commit, machine and weights of the results, in one paragraph."""
    out = []
    for name, result in results.items():
        about = [
            f"commit {str(result.get('commit'))[:10]}",
            f"{result['machine']['cpu']}, {result['machine']['cores']} cores",
        ]
        if "weights_sha256" in result:
            about.append(f"weights {_digest(result)[:8]}")
        out.append(f"`results/{name}`: {', '.join(about)}")
    return "; ".join(out) + "."


def block(results: dict[str, dict], root: Path) -> str:
    """All that stands between the two marks of the README; `root` is asked which pictures are there."""
    lines = table(results)
    full = results.get(FULL)
    if full is not None:
        failed, people = full["results"]["failed"], full["results"]["people"]
        lines += actions_table(full)
        lines += [
            "",
            f"{failed} of {people} people failed; no mean contains a failure. Totals are means over the actions.",
        ]
    if SPEED in results:
        lines += ["", stages_line(results[SPEED])]
    if HEIGHT in results and full is not None:
        lines += ["", height_line(results[HEIGHT], full)]
    if OTHERS in results and full is not None:
        lines += ["", others_line(results[OTHERS], full)]
    if RD in results:
        lines += [*rd_lines(results[RD], root), "", f"Command: `{command_of(RD, results[RD])}`"]
    if results:
        lines += ["", f"Made by: {provenance(results)}"]
    lines += live_lines(root)
    return "\n".join(["", *lines, ""])


def _split_readme(root: Path) -> tuple[str, str, str]:
    path = root / "README.md"
    if not path.is_file():
        raise SomacastError(f"{path}: not found; expected a working copy of Somacast")
    text = path.read_text(encoding="utf-8")
    before, mark, rest = text.partition(BEGIN)
    inside, end, after = rest.partition(END)
    if not mark or not end:
        raise SomacastError(f"{path}: expected the lines {BEGIN} and {END}")
    return before + BEGIN + "\n", inside.removeprefix("\n"), END + after


def write(root: Path) -> list[Path]:
    """Renew the README's block and the picture of the learning curves; returns the files that were written."""
    results = read_results(root)
    if not results:
        raise SomacastError(f"{root / 'results'}: no results there; make them with: {_COMMANDS[FULL]}")
    before, _, after = _split_readme(root)
    written = [root / "README.md"]
    write_atomically(written[0], (before + block(results, root) + after).encode())
    if RD in results:
        from somacast.bench.rate_distortion.figures import draw_rd

        written.append(root / RD_IMAGE)
        write_atomically(written[-1], draw_rd(results[RD]))
    curves = sorted((root / "results" / "curves").glob("*.jsonl"))
    if curves:
        from somacast.bench.report.curves import draw_curves

        written.append(root / CURVES_IMAGE)
        write_atomically(written[-1], draw_curves(curves))
    return written


def check(root: Path) -> list[str]:
    """Faults, one line each: a README that says something else than the results, results of other weights."""
    results = read_results(root)
    if not results:
        return [f"{root / 'results'}: no results to compare with"]
    faults = []
    if _split_readme(root)[1] != block(results, root):
        faults.append("README.md does not say what the results say: run somacast bench report")
    for name, result in results.items():
        file = f"{result.get('system')}.safetensors"
        if "weights_sha256" in result and _digest(result) not in origins(file):
            remedy = command_of(name, result)
            faults.append(f"results/{name} was made with other weights than {file} in the package: run {remedy}")
    return faults


def _digest(result: dict[str, Any]) -> str:
    """Of the system's own weights; ablations hold them as the variant with nothing taken away."""
    digests = result["weights_sha256"]
    return digests.get(f"{result.get('system')}.safetensors", digests.get("full.safetensors", "none"))
