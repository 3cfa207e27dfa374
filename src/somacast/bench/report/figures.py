"""The figures of stills, each with the floor that the project set itself, and where in which result it stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from somacast.bench.report.reading import FULL, SMALL
from somacast.bench.results import Result


@dataclass(frozen=True)
class Figure:
    """One row: name, file it comes from, how to read the value (None: an older file has none), the floor and which side
    of it is good; factor, digits and unit for showing; remark: more from the same file."""

    name: str
    source: str
    value: Callable[[Result], float | None]
    floor: float
    at_least: bool = False
    factor: float = 1.0
    digits: int = 0
    unit: str = ""
    remark: Callable[[Result], str] | None = None

    def shown(self, number: float) -> str:
        """A number of this figure with its unit."""
        return f"{number * self.factor:,.{self.digits}f}" + (f" {self.unit}" if self.unit else "")

    def reached(self, number: float) -> bool:
        """Whether the floor is kept by the value itself, not by what rounding makes of it."""
        return number >= self.floor if self.at_least else number <= self.floor


def _total(name: str) -> Callable[[Result], float]:
    return lambda result: result.results["total"][name]


def _bytes_remark(result: Result) -> str:
    distribution = result.results["distribution"]["bytes"]
    return f"largest of {result.results['people']}; mean {distribution['mean']:.0f} B"


def _small_remark(result: Result) -> str:
    total = result.results["total"]
    return f"{_bytes_remark(result)}; SSIM box {total['ssim_box']:.3f}, MPJPE {1000 * total['mpjpe_m']:.0f} mm"


def _worst(name: str) -> Callable[[Result], str]:
    return lambda result: f"median; worst {result.results[name]['max']:.2f} s"


def _on_budget(budget: int, name: str) -> Callable[[Result], float | None]:
    return lambda result: result.results.get("budgets", {}).get(str(budget), {}).get(name, {}).get("median")


def _on_budget_remark(budget: int, name: str, aim_ms: int) -> Callable[[Result], str]:
    return lambda r: f"median; worst {r.results['budgets'][str(budget)][name]['max']:.2f} s; aim {aim_ms} ms"


def _rate(result: Result) -> float:
    return max(row["samples_per_s"] for row in result.rows if row["processes"] == 2)


def _package(result: Result) -> str:
    wheel = result.results["package"]["wheel_bytes"]
    return "installed" if wheel is None else f"installed; wheel {wheel / 1e6:.1f} MB"


def _worst_action(result: Result) -> str:
    name, row = max(result.results["actions"].items(), key=lambda item: item[1]["centred_chamfer_m"])
    return f"worst action: {name}, {100 * row['centred_chamfer_m']:.2f} cm (floor 4.50)"


FIGURES = (
    Figure("`.soma` file at full quality", FULL, lambda r: r.results["distribution"]["bytes"]["max"], 500, unit="B",
           remark=_bytes_remark),
    Figure("`.soma` files on a budget", SMALL, lambda r: r.results["distribution"]["bytes"]["max"], 60, unit="B",
           remark=_small_remark),
    Figure("smallest stream within 10 mm of the full one's MPJPE", "ablations",
           lambda r: r.results["smallest_within_10mm_bytes"], 60, unit="B"),
    Figure("SSIM, whole picture", FULL, _total("ssim_whole"), 0.91, at_least=True, digits=3),
    Figure("SSIM, box around the person", FULL, _total("ssim_box"), 0.66, at_least=True, digits=3),
    Figure("MSE over the silhouettes", FULL, _total("mse"), 0.03, digits=4),
    Figure("Chamfer after centring", FULL, _total("centred_chamfer_m"), 0.032, factor=100, digits=2, unit="cm",
           remark=_worst_action),
    Figure("normal consistency", FULL, _total("centred_normal_consistency"), 0.80, at_least=True, digits=3),
    Figure("MPJPE", FULL, _total("mpjpe_m"), 0.080, factor=1000, unit="mm"),
    Figure("PA-MPJPE", FULL, _total("pa_mpjpe_m"), 0.075, factor=1000, unit="mm"),
    Figure("picture to bytes, models loaded", "speed", lambda r: r.results["encode_s"]["median"], 0.1, factor=1000,
           unit="ms", remark=_worst("encode_s")),
    Figure("bytes to mesh, models loaded", "speed", lambda r: r.results["decode_s"]["median"], 0.3, factor=1000,
           unit="ms", remark=_worst("decode_s")),
    *(
        Figure(f"{what} at {budget:,} B, models loaded", "speed", _on_budget(budget, name), floor, factor=1000,
               unit="ms", remark=_on_budget_remark(budget, name, aim))
        for budget in (600, 1500)
        for what, name, floor, aim in (("picture to bytes", "encode_s", 0.16, 110),
                                       ("bytes to textured mesh", "decode_s", 0.4, 280))
    ),
    Figure("peak memory, picture to mesh", "speed", lambda r: r.results["peak_memory_bytes"]["chain"], 2.5e9,
           factor=1e-9, digits=2, unit="GB",
           remark=lambda r: f"{r.results['peak_memory_bytes']['chain_photograph'] / 1e9:.2f} GB for a photograph "
           f"of {r.provenance.config['photograph_px']} x {r.provenance.config['photograph_px']}"),
    Figure("`somacast encode`, second run", "speed", lambda r: r.results["commands"]["encode"]["second_s"], 5.0,
           digits=2, unit="s"),
    Figure("`somacast decode`, second run", "speed", lambda r: r.results["commands"]["decode"]["second_s"], 4.0,
           digits=2, unit="s"),
    Figure("package with weights", "speed", lambda r: r.results["package"]["installed_bytes"], 60e6, factor=1e-6,
           digits=1, unit="MB", remark=_package),
    Figure("synthetic people at 256 px, two processes", "people", _rate, 60, at_least=True, unit="samples/s"),
)  # fmt: skip
