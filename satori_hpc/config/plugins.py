"""Plug-ins: modules of the user's own that add methods, sources, ... by name. run.toml names them in `plugins`."""

import functools
import hashlib
import importlib
import sys
from pathlib import Path
from typing import Any

from satori_hpc import registry
from satori_hpc.errors import ConfigError, Problems


def load(names: Any, *, where: str) -> None:
    """Import plug-ins, once per process; roll back the registrations of one that fails.

    Args:
        names: of modules, in the order of run.toml; anything but a list of text is left to the check of the key.
        where: name of the file for messages.

    Raises:
        ConfigError: naming all that are missing or fail.
    """
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return
    problems = Problems(f"{where}: plug-ins that cannot be imported:", ConfigError)
    for name in names:
        try:
            with registry.all_or_nothing():
                importlib.import_module(name)
            digest(name)  # of the imported file, for the lifetime of this process
        except (Exception, SystemExit) as error:
            problems.add(f"plugins: {name!r}: {_complaint(name, error)}")
    problems.raise_any()


def _complaint(name: str, error: BaseException) -> str:
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    if missing and (missing == name or name.startswith(f"{missing}.")):
        return (
            "no such module; expected package.module, as Python imports it: put the folder that it is in into "
            "PYTHONPATH, or install its package"
        )
    told = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
    return f"importing it fails{_place(name, error)}: {told}; mend it, or remove it from plugins"


def _place(name: str, error: BaseException) -> str:
    """Return the line at which the plug-in, or a module of its package, failed."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").split(".")[0] == name.split(".")[0]:
            place = f" at {trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return place


@functools.cache
def digest(module: str) -> str:
    """Return the SHA-256 of the file of an imported module (of a package, of all its .py files) as first seen."""
    file = getattr(sys.modules[module], "__file__", None)
    if file is None or not Path(file).is_file():
        return "no file"
    path, total = Path(file), hashlib.sha256()
    for each in sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]:
        total.update(each.read_bytes())
    return total.hexdigest()


def digests(modules: tuple[str, ...]) -> dict[str, str]:
    """Return {module: its digest} of imported modules outside this package."""
    return {name: digest(name) for name in dict.fromkeys(modules) if not name.startswith("satori_hpc.")}
