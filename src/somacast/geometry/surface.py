"""From points to a surface (eq. 28): an oriented, coloured cloud becomes a watertight coloured mesh.

Marching cubes needs a field, which points are not. "Shape as Points" (Peng et al. 2021) gives one: the normals, each
times the area its point stands for, are a density n on a grid; the indicator chi (1 inside, 0 outside) has the
gradient -n, so that laplace(chi) = -div(n), which the Fourier transform solves in one step:

    chi(k) = i k.n(k) / |k|^2 * exp(-sigma^2 |k|^2 / 2)

The Gaussian that tames the noise also pulls chi at thin parts (fingers) below 1/2. So the level is not one number for
all: what chi misses at the points is spread around them and taken off ("local level"), which puts the surface back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.errors import SomacastError
from somacast.geometry.gaussian import gaussian_filter
from somacast.geometry.marching_cubes import marching_cubes
from somacast.geometry.nearest import PointTree
from somacast.kernels import compiled
from somacast.timing import stage
from somacast.types import Mesh, PointCloud

MINIMUM_POINTS = 16
LEVEL_FLOOR = 0.1  # a sheet of points weighs 0.3 here after the blur; a stray point less, so it moves little


@dataclass(frozen=True)
class SurfaceConfig:
    """How to rebuild a surface. Lengths in grid cells unless the name says otherwise.

    resolution: cells along the longest axis of the padded box; smoothing_sigma: of the Gaussian on the indicator;
    density_sigma: of the window that tells how much area a point stands for (0: all the same); level_sigma and
    level_steps: width and rounds of the local level (0 rounds: one level for all); smallest_part: share of all faces
    below which an island is dropped; neighbours: points that give a vertex its colour, at least 2.
    """

    resolution: int = 128
    padding: int = 5
    smoothing_sigma: float = 0.7
    density_sigma: float = 2.0
    level_sigma: float = 1.0
    level_steps: int = 2
    smallest_part: float = 0.01
    neighbours: int = 3


@dataclass(frozen=True)
class Grid:
    """Cubic cells of `cell_m`; node (i, j, k) stands at origin + cell_m (i, j, k)."""

    origin: np.ndarray
    cell_m: float
    shape: tuple[int, int, int]

    def locate(self, points: np.ndarray) -> np.ndarray:
        """Metres [N, 3] to grid coordinates [N, 3] float32."""
        return np.ascontiguousarray((points - self.origin) / self.cell_m, np.float32)


def _fast_length(least: int) -> int:
    """The smallest length from `least` on that has no prime factor above 5: the FFT is fast there."""
    length = max(least, 1)
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1


def fit_grid(points: np.ndarray, resolution: int, padding: int) -> Grid:
    """A grid around the points, `resolution` cells along the longest side, sides of lengths the FFT likes."""
    low, high = points.min(0).astype(np.float64), points.max(0).astype(np.float64)
    inner = max(resolution - 2 * padding, 4)
    cell = float((high - low).max()) / inner
    if not np.isfinite(cell) or cell <= 0:
        raise SomacastError("expected points that span a body, got points that are all the same or not finite")
    wanted = np.ceil((high - low) / cell).astype(int) + 2 * padding
    sides = [_fast_length(int(n)) for n in wanted]
    shape = (sides[0], sides[1], sides[2])
    origin = (low + high) / 2 - (np.array(shape) - 1) / 2 * cell
    return Grid(origin, cell, shape)


@compiled(fastmath=True, nogil=True)
def splat(places, values, grid):
    """Add values [N, C] at grid coordinates [N, 3] to grid [C, X, Y, Z] with trilinear weights."""
    for n in range(places.shape[0]):
        i, j, k = int(places[n, 0]), int(places[n, 1]), int(places[n, 2])
        fx, fy, fz = places[n, 0] - i, places[n, 1] - j, places[n, 2] - k
        for a in range(2):
            wx = fx if a else 1 - fx
            for b in range(2):
                wxy = wx * (fy if b else 1 - fy)
                for c in range(2):
                    w = wxy * (fz if c else 1 - fz)
                    for m in range(values.shape[1]):
                        grid[m, i + a, j + b, k + c] += w * values[n, m]


@compiled(fastmath=True, nogil=True)
def gather(places, grid, out):
    """Trilinear values out [N, C] of grid [C, X, Y, Z] at grid coordinates [N, 3]; transpose of `splat`."""
    for n in range(places.shape[0]):
        i, j, k = int(places[n, 0]), int(places[n, 1]), int(places[n, 2])
        fx, fy, fz = places[n, 0] - i, places[n, 1] - j, places[n, 2] - k
        for m in range(out.shape[1]):
            out[n, m] = 0
        for a in range(2):
            wx = fx if a else 1 - fx
            for b in range(2):
                wxy = wx * (fy if b else 1 - fy)
                for c in range(2):
                    w = wxy * (fz if c else 1 - fz)
                    for m in range(out.shape[1]):
                        out[n, m] += w * grid[m, i + a, j + b, k + c]


def trilinear_reference(places, shape):
    """Readable twin of `splat` and `gather`: their common matrix [X Y Z, N] as (node numbers, weights) [N, 8]."""
    base = np.floor(places).astype(np.int64)
    fraction = places - base
    nodes, weights = [], []
    for corner in np.ndindex(2, 2, 2):
        at = base + corner
        nodes.append((at[:, 0] * shape[1] + at[:, 1]) * shape[2] + at[:, 2])
        weights.append(np.prod(np.where(corner, fraction, 1 - fraction), axis=1))
    return np.stack(nodes, 1), np.stack(weights, 1)


def _blurred(field: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian of field [X, Y, Z] float32, zero outside, cut at 2.5 sigma."""
    return gaussian_filter(field, sigma, max(int(2.5 * sigma + 0.5), 1), (0, 1, 2))


def point_areas(places: np.ndarray, normals: np.ndarray, shape: tuple[int, int, int], sigma: float) -> np.ndarray:
    """Area [N] in square cells that each point stands for, from how crowded its surroundings are.

    Only neighbours that face the same way count (six fields, one per direction, weighted by squared normals), or the
    two sides of a hand would halve each other. For a flat sheet of rho points per square cell the window of total
    variance s^2 sees rho / (sqrt(2 pi) s) points per cubic cell. Runs on cells twice as large.
    """
    coarse = np.ascontiguousarray(places / 2)
    field = np.zeros((6, *(n // 2 + 2 for n in shape)), np.float32)
    sides = np.concatenate([np.maximum(normals, 0), np.maximum(-normals, 0)], 1) ** 2
    splat(coarse, sides.astype(np.float32), field)
    for m in range(6):
        field[m] = _blurred(field[m], sigma / 2)
    seen = np.empty((len(places), 6), np.float32)
    gather(coarse, field, seen)
    crowd = (seen * sides).sum(1) / np.maximum((sides**2).sum(1), 1e-6)
    width = np.sqrt(2 * np.pi * (sigma**2 / 4 + 1 / 3))  # splat and gather each add a variance of 1/6
    areas = 4 / (width * np.maximum(crowd, 1e-6))
    # A point alone in its window says little about its area: it gets no more than four times the common one.
    return np.minimum(areas, 4 * np.median(areas)).astype(np.float32)


def solve_poisson(density: np.ndarray, sigma: float) -> np.ndarray:
    """Normal density [3, X, Y, Z] float32 (cells as unit) to the indicator [X, Y, Z], up to a constant."""
    shape = density.shape[1:]
    axes = [2 * np.pi * np.fft.fftfreq(n).astype(np.float32) for n in shape[:2]]
    axes.append(2 * np.pi * np.fft.rfftfreq(shape[2]).astype(np.float32))
    total = np.zeros((shape[0], shape[1], shape[2] // 2 + 1), np.complex64)
    squared = np.zeros(total.shape, np.float32)
    for m, frequency in enumerate(axes):
        k = frequency.reshape([-1 if a == m else 1 for a in range(3)])
        squared += k * k
        # The highest frequency of an even side has no sign, so its derivative is zero.
        odd = np.where(np.abs(k) >= np.float32(np.pi - 1e-4), np.float32(0), k)
        total += odd * np.fft.rfftn(density[m])
    squared[0, 0, 0] = 1
    smooth = [np.exp(-(sigma**2) / 2 * f * f).astype(np.float32) for f in axes]
    total *= 1j / squared
    total *= smooth[0][:, None, None] * smooth[1][:, None] * smooth[2]
    return np.fft.irfftn(total, shape, axes=(0, 1, 2))


def indicator_field(cloud: PointCloud, grid: Grid, config: SurfaceConfig) -> np.ndarray:
    """Field [X, Y, Z] float32: positive inside, negative outside, zero on the surface through the points."""
    places = grid.locate(cloud.points)
    normals = np.ascontiguousarray(cloud.normals, np.float32)
    if config.density_sigma > 0:
        areas = point_areas(places, normals, grid.shape, config.density_sigma)
    else:
        areas = np.ones(len(places), np.float32)
    density = np.zeros((3, *grid.shape), np.float32)
    splat(places, normals * areas[:, None], density)
    field = solve_poisson(density, config.smoothing_sigma)
    seen = np.empty((len(places), 1), np.float32)
    gather(places, field[None], seen)
    field -= np.average(seen[:, 0], weights=areas)
    ground = float(field[0, 0, 0])  # a corner of the padding: the value outside
    field *= np.float32(0.5 / max(-ground, 1e-6)) if ground < 0 else np.float32(1)
    if config.level_steps:
        weight = np.zeros((1, *grid.shape), np.float32)
        splat(places, areas[:, None], weight)
        mass = _blurred(weight[0], config.level_sigma) + np.float32(LEVEL_FLOOR)
    for _ in range(config.level_steps):
        gather(places, field[None], seen)
        missing = np.zeros((1, *grid.shape), np.float32)
        splat(places, seen * areas[:, None], missing)
        field -= _blurred(missing[0], config.level_sigma) / mass
    return field


def march(field: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Zero surface of the field: vertices [V, 3] float32 metres, faces [F, 3] int32 with the outside in front.

    The border is set to outside, so that the surface always closes.
    """
    field = field.copy()
    field[np.abs(field) < 1e-6] = 1e-6  # a node on the surface itself would make triangles without area
    for axis in range(3):
        for side in (0, -1):
            edge = np.moveaxis(field, axis, 0)[side]
            np.minimum(edge, -1e-3, out=edge)
    if field.max() <= 0:
        raise SomacastError("expected points with outward normals that close around a body, got no inside at all")
    vertices, faces = marching_cubes(field)
    placed = grid.origin + grid.cell_m * vertices.astype(np.float64)
    return placed.astype(np.float32), faces


@compiled(nogil=True)
def connected_parts(faces, part):
    """Fill part [V], which holds 0..V-1, with the lowest vertex number of each vertex's connected part (union-find)."""
    for f in range(faces.shape[0]):
        for m in range(2):
            a, b = faces[f, m], faces[f, m + 1]
            while part[a] != a:
                part[a] = part[part[a]]
                a = part[a]
            while part[b] != b:
                part[b] = part[part[b]]
                b = part[b]
            part[max(a, b)] = min(a, b)
    for v in range(len(part)):  # roots are lower than what hangs on them, so they are final before they are asked
        part[v] = part[part[v]]


def drop_islands(vertices: np.ndarray, faces: np.ndarray, smallest_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Keep the connected parts with at least that share of all faces; vertices that no face uses go too."""
    part = np.arange(len(vertices))
    connected_parts(faces, part)
    sizes = np.bincount(part[faces[:, 0]], minlength=len(vertices))
    kept = sizes >= min(smallest_share * len(faces), sizes.max())
    faces = faces[kept[part[faces[:, 0]]]]
    used = np.zeros(len(vertices), bool)
    used[faces] = True
    number = np.cumsum(used, dtype=np.int32) - 1
    return vertices[used], np.ascontiguousarray(number[faces], np.int32)


def vertex_colors(vertices: np.ndarray, cloud: PointCloud, neighbours: int) -> np.ndarray:
    """Colours [V, 3] float32 of the nearest points, weighted by inverse distance."""
    count = max(min(neighbours, len(cloud.points)), 2)  # 2: always [V, k]
    distance, index = PointTree(cloud.points).query(vertices, count)
    weight = 1 / (distance + 1e-4)
    weight /= weight.sum(1, keepdims=True)
    return np.clip((weight[..., None] * cloud.colors[index]).sum(1), 0, 1).astype(np.float32)


def reconstruct_surface(cloud: PointCloud, config: SurfaceConfig | None = None) -> Mesh:
    """Oriented, coloured points (>= 16, outward normals) to a closed mesh with colours; normals outwards.

    Raises SomacastError for too few points, numbers that are not finite, or points that close around nothing.
    """
    config = config or SurfaceConfig()
    mesh = closed_surface(cloud, config)
    with stage("colours"):
        mesh.colors = vertex_colors(mesh.vertices, cloud, config.neighbours)
    return mesh


def closed_surface(cloud: PointCloud, config: SurfaceConfig) -> Mesh:
    """The mesh of `reconstruct_surface` without colours."""
    if len(cloud.points) < MINIMUM_POINTS:
        raise SomacastError(f"expected at least {MINIMUM_POINTS} points for a surface, got {len(cloud.points)}")
    if not (np.isfinite(cloud.points).all() and np.isfinite(cloud.normals).all()):
        raise SomacastError("expected finite points and normals, got NaN or infinity")
    grid = fit_grid(cloud.points, config.resolution, config.padding)
    with stage("field"):
        field = indicator_field(cloud, grid, config)
    with stage("marching cubes"):
        vertices, faces = march(field, grid)
    return Mesh(*drop_islands(vertices, faces, config.smallest_part))
