"""Imports go one way: the import graph is read from the sources, function-level imports included."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import somacast

PACKAGE = Path(somacast.__file__).parent
# A room may import rooms of a lower rank, and itself.
RANK = {
    "errors": 0,
    "types": 1, "checks": 1, "timing": 1, "threads": 1, "cache": 1,
    "files": 2, "extras": 2, "kernels": 2,
    "options": 3,  # of which configurations of any room are made
    "weights": 3,  # low: who uses weights verifies them at load
    "body": 4, "entropy": 4, "capture": 4,
    "geometry": 5, "bitstream": 5,
    "formats": 6, "metrics": 6,
    "coding": 7, "nn": 7, "network": 7, "synthetic": 7,
    "training": 8,
    "systems": 9,
    "pipeline": 10,
    "bench": 11, "viewer": 11,
    "cli": 12,
    "__main__": 13,
}  # fmt: skip
# What only extras bring: the files that may import it, wherever in the file. All else runs from a plain install.
USERS_OF_EXTRAS = {
    "anny": ("synthetic/body_export.py",),
    "aiortc": ("network/transport/webrtc/", "viewer/"),
    "av": ("capture/",),
    "cryptography": ("network/keys.py", "network/transport/udp/"),
    "dlib": ("metrics/identity.py",),
    "matplotlib": ("bench/", "systems/aflsc/ablation/show.py"),
    "onnx": ("training/", "weights/arrays.py", "metrics/perceptual.py"),
    "starlette": ("viewer/",),
    "uvicorn": ("viewer/",),
    "zenoh": ("network/transport/zenoh/",),
    "scipy": ("systems/aflsc/training/",),
    "skimage": (),
    "sionna": ("network/channels/symbol/coding.py",),
    "torch": (
        "network/channels/symbol/coding.py", "training/", "nn/", "systems/", "synthetic/body_export.py",
        "cli/common.py",
    ),
    "warp": (),
}  # fmt: skip
# Of the product, who offers a synthetic person, and asks for one only when it is wanted.
MAKERS_OF_PEOPLE = ("pipeline/sources.py", "pipeline/still/demo.py")
WITHOUT_TORCH = ("bitstream", "entropy", "capture", "body", "geometry", "formats", "coding", "metrics")


def imports_of(path: Path) -> set[str]:
    """Full names of all modules that a source file imports, wherever in the file; annotations-only ones too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def graph() -> dict[Path, set[str]]:
    return {path: imports_of(path) for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def faults(imports: dict[Path, set[str]]) -> list[str]:
    found = []
    for path, names in imports.items():
        room = room_of(path)
        if room == "__init__":  # the package's front door calls the pipeline, lazily
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] != "somacast" or len(parts) < 2 or parts[1] == "__version__":
                continue
            other = parts[1]
            if other == room or RANK[other] < RANK[room]:
                continue
            found.append(f"{path.relative_to(PACKAGE)} imports {name}")
    return found


def test_every_room_has_a_rank():
    rooms = {room_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__"}
    assert rooms <= set(RANK), f"rooms without a place in the order: {rooms - set(RANK)}"


def test_imports_go_one_way():
    assert faults(graph()) == []


def is_product(path: Path) -> bool:
    """Is the file in a room that runs at users', where nobody is made and nothing is trained?"""
    name = str(path.relative_to(PACKAGE))
    in_product = name.startswith(("systems/", "pipeline/", "formats/", "geometry/", "viewer/", "body/", "coding/"))
    return in_product and "/training/" not in name and "/ablation/" not in name


def names_at_load(tree: ast.AST) -> set[str]:
    """Names of the modules that a source imports when it is itself imported: not in functions, not for types alone."""
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
        elif not for_types and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names |= names_at_load(node)
    return names


def of_training(names: set[str]) -> list[str]:
    """Those of the names that belong to what makes people or trains networks."""
    return sorted(
        name for name in names
        if name.startswith(("somacast.synthetic", "somacast.training"))
        or (name.startswith("somacast.systems.") and ".training" in name)
    )  # fmt: skip


def test_the_product_neither_makes_people_nor_trains():
    found = {}
    for path, names in graph().items():
        if not is_product(path):
            continue
        if str(path.relative_to(PACKAGE)) in MAKERS_OF_PEOPLE:
            names = names_at_load(ast.parse(path.read_text()))
        if of_training(names):
            found[str(path.relative_to(PACKAGE))] = of_training(names)
    assert found == {}


def test_the_check_sees_people_made_at_load():
    lazy = "if TYPE_CHECKING:\n    import somacast.synthetic.a\ndef f():\n    import somacast.synthetic.b\n"
    early = "class C:\n    from somacast.synthetic.c import D\ntry:\n    import somacast.training.e\nfinally: pass\n"
    assert of_training(names_at_load(ast.parse(lazy + early))) == ["somacast.synthetic.c", "somacast.training.e"]
    assert of_training({"somacast.systems.aflsc.training.charts", "somacast.systems.aflsc.labels.chart"}) == [
        "somacast.systems.aflsc.training.charts"
    ]
    for name in MAKERS_OF_PEOPLE:
        assert of_training(imports_of(PACKAGE / name)), f"{name} makes nobody: it needs no exception"


def test_the_check_sees_a_wrong_import(tmp_path):
    wrong = PACKAGE / "entropy" / "range_coder.py"
    assert faults({wrong: {"somacast.pipeline.still.sender"}}) == [
        "entropy/range_coder.py imports somacast.pipeline.still.sender"
    ]
    source = tmp_path / "late.py"
    source.write_text("def f():\n    from somacast.cli import main\n    import torch.nn\n")
    assert imports_of(source) >= {"somacast.cli.main", "torch.nn"}


def test_everything_around_the_networks_is_free_of_torch():
    found = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path, names in graph().items()
        for name in names
        if room_of(path) in WITHOUT_TORCH and name.split(".")[0] in ("torch", "anny", "warp")
    ]
    assert found == []


def test_extras_are_imported_where_they_may_be():
    found = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path, names in graph().items()
        for name in sorted({n.split(".")[0] for n in names} & set(USERS_OF_EXTRAS))
        if not str(path.relative_to(PACKAGE)).startswith(USERS_OF_EXTRAS[name])
    ]
    assert found == []


def idle_permissions(imports: dict[Path, set[str]]) -> list[str]:
    """Rooms without a file, and permissions of USERS_OF_EXTRAS without an import that needs them."""
    idle = sorted(f"RANK: {room}" for room in set(RANK) - {room_of(path) for path in imports})
    for package, places in USERS_OF_EXTRAS.items():
        users = [
            str(p.relative_to(PACKAGE)) for p, names in imports.items() if package in {n.split(".")[0] for n in names}
        ]
        idle += [f"{package}: {place}" for place in places if not any(user.startswith(place) for user in users)]
    return idle


def test_every_permission_is_used():
    imports = graph()
    assert idle_permissions(imports) == []
    fewer = {path: names for path, names in imports.items() if room_of(path) not in ("viewer", "nn")}
    assert {"RANK: nn", "RANK: viewer", "aiortc: viewer/", "torch: nn/"} <= set(idle_permissions(fewer))


def matrix_products(source: str) -> list[int]:
    """Lines inside functions compiled by numba with @ or a call of np.dot or np.linalg."""
    lines = []
    for function in ast.walk(ast.parse(source)):
        decorators = "".join(map(ast.dump, getattr(function, "decorator_list", [])))
        if not isinstance(function, ast.FunctionDef) or "id='compiled'" not in decorators:
            continue
        for node in ast.walk(function):
            product = isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)
            if product or (isinstance(node, ast.Attribute) and node.attr in ("dot", "linalg")):
                lines.append(node.lineno)
    return lines


def test_kernels_make_no_matrix_products():
    """Numba hands them to scipy, which a plain install does not have; nothing else would tell here, where it is."""
    assert {str(p): lines for p in PACKAGE.rglob("*.py") if (lines := matrix_products(p.read_text()))} == {}
    assert matrix_products("@compiled(nogil=True)\ndef f(a, b):\n    return a @ b + np.linalg.norm(a)\n") == [3, 3]
    assert matrix_products("def f(a, b):\n    return a @ b\n") == []


def loaded_by(statement: str) -> set[str]:
    """Top-level packages in a fresh interpreter after a statement."""
    code = f"import sys, json\n{statement}\nprint(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "statement",
    [
        "import somacast",
        "import somacast.cli.main as m; m.main(['--help'])",
        "import somacast.cli.main as m; assert m.main(['encode', '--nonsense']) == 2",
        "import somacast.cli.main as m; assert m.main(['info', '--help']) == 0",
        "import somacast.cli.main as m; assert m.main(['evaluate', '--nonsense']) == 2",
        "import somacast.cli.main as m; assert m.main(['train', 'aflsc', '--help']) == 0",
        "import somacast.cli.main as m; assert m.main(['bench', 'speed', '--people', '0']) == 2",
        "import somacast.cli.commands as c; assert c.page()",
        "import somacast.cli.main as m; assert m.main(['weights', '--json']) == 0",
    ],
)
def test_light_uses_load_nothing_heavy(statement):
    heavy = {"torch", "numba", "scipy", "PIL", "trimesh", "skimage", "av", "matplotlib"}
    assert loaded_by(statement) & heavy == set()


def test_importing_the_package_loads_nothing_but_itself():
    added = loaded_by("import somacast") - loaded_by("pass")
    assert added - sys.stdlib_module_names <= {"somacast"}
