"""The rooms of the house: imports go one way, and heavy libraries stay in the rooms that own them."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "satori_hpc"
LEAVES = {
    "",
    "errors",
    "config",
    "config_change",
    "config_genome",
    "config_evaluate",
    "config_prepare",
    "config_score",
    "config_search",
    "options",
    "log",
    "memory",
    "provenance",
    "world",
    "run",
}

# Room -> rooms it may import besides itself and the leaves.
MAY_IMPORT = {
    "leaf": set(),
    "core": set(),
    "models": {"core"},
    "scoring": {"core", "models"},
    "stores": {"core", "models"},
    "report": {"core"},
    "stages": {"core", "models", "scoring", "stores", "report"},
    "cli": {"stages"},
    "__main__": {"cli"},
}
# Library -> places that may import it, at module level or inside functions.
OWNERS = {
    "zarr": {"stores"},
    "h5py": {"stores"},
    "pyarrow": {"stores"},
    "Bio": {"stores"},
    "pyfaidx": {"stores"},
    "pyjaspar": {"stores"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "click": {"cli"},
    "numcodecs": {"stores"},
    "networkx": {"stores"},
    "optuna": {"stores"},
    "pybigtools": {"stores"},
    "tomlkit": {"config_change.py"},
    "dask": {"stages/cluster.py"},
    "distributed": {"stages/cluster.py"},
    "mpi4py": {"stages/doctor.py", "stages/mpi.py"},
    **dict.fromkeys(("pickle", "marshal", "shelve", "cloudpickle", "joblib"), set()),  # nothing received is executed
}


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if len(parts) > 1:
        return parts[0]
    if parts[0].startswith("cli"):
        return "cli"
    return parts[0] if parts[0] == "__main__" else "leaf"


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """(module, whether at module level) of every import of a file."""
    tree = ast.parse(path.read_text())
    inside = {id(node) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for node in ast.walk(f)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) not in inside) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found.append((node.module, id(node) not in inside))
            if node.module in ("satori_hpc", *(f"satori_hpc.{room}" for room in MAY_IMPORT)):
                found += [(f"{node.module}.{alias.name}", id(node) not in inside) for alias in node.names]
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_rooms_import_one_way(path: Path) -> None:
    room = room_of(path)
    for module, _ in imports_of(path):
        if not module.startswith("satori_hpc."):
            continue
        target = module.split(".")[1]
        target_room = "leaf" if target in LEAVES or target == "__version__" else target
        target_room = "cli" if target_room.startswith("cli_") else target_room
        allowed = MAY_IMPORT[room] | {room, "leaf"}
        assert target_room in allowed, f"{room} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_libraries_stay_with_their_owners(path: Path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    for module, top_level in imports_of(path):
        library = module.split(".")[0]
        if library in OWNERS:
            assert {room_of(path), name} & OWNERS[library], f"{name} imports {library}"
        if library in ("dask", "distributed", "mpi4py"):
            assert not top_level, f"{name} imports {library} at module level"


def test_core_and_models_load_without_the_libraries_of_other_rooms() -> None:
    code = """
import sys, importlib, pkgutil
for name in ("zarr", "dask", "mpi4py", "click", "pyarrow", "matplotlib"):
    sys.modules[name] = None
import satori_hpc.core, satori_hpc.models, satori_hpc.scoring
for room in (satori_hpc.core, satori_hpc.models, satori_hpc.scoring):
    for module in pkgutil.iter_modules(room.__path__, room.__name__ + "."):
        importlib.import_module(module.name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_does_not_load_torch() -> None:
    code = "import sys, satori_hpc.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
