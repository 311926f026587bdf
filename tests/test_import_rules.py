"""The rooms of the house: imports go one way, without circles, and heavy libraries stay in the files that own them."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "satori_hpc"

# In the order of a run: a room imports itself and those before it, at the top of a file and inside functions.
ROOMS = (
    *("errors", "log", "pairs", "jit", "registry", "config", "parallel", "run", "motifs", "data", "models", "training"),
    *(
        "sites",
        "scoring",
        "interactions",
        "evaluation",
        "tuning",
        "report",
        "tools",
        "api",
        "__init__",
        "cli",
        "__main__",
    ),
)
UPWARDS = {  # module, what it imports from a later room: why
    ("run.pipeline", "data.dataset"): "whether a run has the stage `background` is told by the task of its data set",
    ("run.execute", "scoring.stage"): "the parts of a job array of `score`",
}
# Library -> files or folders that may import it.
OWNERS = {
    "zarr": (
        "data/dataset.py",
        "data/zarr_arrays.py",
        "training/predictions.py",
        "scoring/layout.py",
    ),
    "pyarrow": (
        "run/parquet.py",
        "data/sources/genome/window_store.py",
        "sites/store.py",
        "interactions/parts.py",
        "interactions/instances.py",
        "interactions/tables.py",
        "interactions/spacing.py",
        "interactions/differential.py",
    ),
    "h5py": ("data/sources/arrays.py",),
    "numcodecs": ("data/dataset.py", "scoring/shard.py"),
    "Bio": ("data/sources/genome/",),
    "pyfaidx": ("data/sources/genome/",),
    "pyjaspar": ("motifs/readers.py",),
    "networkx": ("interactions/network.py",),
    "pybigtools": ("interactions/tracks/files.py",),
    "matplotlib": ("report/",),
    "jinja2": ("report/",),
    "tomlkit": ("config/edit.py",),
    "click": ("cli/",),
    "dask": ("parallel/dask_pool.py",),
    "distributed": ("parallel/dask_pool.py",),
    "mpi4py": ("parallel/mpi.py", "tools/doctor.py"),
    "numba": ("jit.py", "motifs/tomtom.py"),
}
LATE = ("dask", "distributed", "mpi4py")  # only inside functions
# Arrays in, arrays out: these load without the libraries of disks, clusters and command lines.
MATHEMATICS = (
    "pairs",
    "motifs.cluster",
    "motifs.motif",
    "motifs.names",
    "motifs.scan",
    "motifs.tomtom",
    "data.sequence",
    "data.splits",
    "data.sources.genome.windows",
    "data.sources.simulate.implant",
    "data.sources.simulate.instances",
    "data.sources.simulate.pool",
    "models",
    "training.step",
    "training.metrics",
    "sites.activations",
    "scoring.registry",
    "scoring.select",
    "scoring.fast",
    "interactions.columns",
    "interactions.statistics.mann_whitney",
    "interactions.statistics.signed_rank",
    "interactions.statistics.permuted",
    "interactions.statistics.spacing",
    "interactions.statistics.differential",
    "evaluation.calls",
    "evaluation.cooccurrence",
)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """(module, whether inside a function) of every import of a file; those of this package without its name."""
    tree = ast.parse(path.read_text())
    inside = {id(node) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for node in ast.walk(f)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in inside) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}".removeprefix("satori_hpc.")
                found.append(
                    (whole if whole in MODULES else node.module.removeprefix("satori_hpc."), id(node) in inside)
                )
    return [(module, late) for module, late in found if module != "satori_hpc"]  # __version__


def circle(uses: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, if there are any."""
    left = dict(uses)
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    return sorted(left)


def test_imports_go_one_way_without_circles_and_libraries_stay_with_their_owners() -> None:
    wrong, used, uses = [], set(), {}
    for name, path in MODULES.items():
        room, file = name.split(".")[0], path.relative_to(PACKAGE).as_posix()
        found = imports_of(path)
        for module, late in found:
            library = module.split(".")[0]
            if module in MODULES:
                if ROOMS.index(library) > ROOMS.index(room):
                    used.add((name, module))
                    if (name, module) not in UPWARDS:
                        wrong.append(f"{name} imports {module} of a later room")
            elif library in OWNERS and not file.startswith(OWNERS[library]):
                wrong.append(f"{name} imports {library}, which is for {', '.join(OWNERS[library])}")
            elif library in LATE and not late:
                wrong.append(f"{name} imports {library} at its top")
        uses[name] = {module for module, _ in found if module in MODULES and (name, module) not in UPWARDS}
    wrong += [f"{', '.join(circle(uses))} import each other"] * bool(circle(uses))
    wrong += [f"UPWARDS: {name} no longer imports {module}" for name, module in UPWARDS.keys() - used]
    assert not wrong, "\n".join(wrong)


def test_mathematics_loads_without_the_libraries_of_disks_and_clusters() -> None:
    code = """
import sys, importlib, pkgutil
for name in ("zarr", "dask", "mpi4py", "click", "pyarrow", "matplotlib"):
    sys.modules[name] = None
for name in sys.argv[1:]:
    module = importlib.import_module(f"satori_hpc.{name}")
    for inner in pkgutil.iter_modules(getattr(module, "__path__", []), f"{module.__name__}."):
        importlib.import_module(inner.name)
"""
    done = subprocess.run([sys.executable, "-c", code, *MATHEMATICS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "not_loaded"),
    [
        ("cli", {"torch", "zarr", "numba", "pandas", "scipy"}),
        ("data.prepare", {"torch", "numba", "sklearn"}),
        ("interactions.stage", {"torch", "numba", "sklearn", "scipy.stats"}),
        ("interactions.block", {"torch", "numba", "sklearn", "scipy.stats"}),  # what Dask's workers load
        ("sites.stage", {"numba", "sklearn", "scipy.stats"}),
        ("scoring.stage", {"numba", "sklearn", "scipy.stats"}),
    ],
)
def test_commands_start_without_libraries_that_they_do_not_need(module: str, not_loaded: set[str]) -> None:
    code = f"import json, sys, satori_hpc.{module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not not_loaded & set(json.loads(done.stdout))
