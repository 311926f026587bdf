"""report: everything a run found, on one self-contained HTML page."""

import importlib
from typing import Any

from satori_hpc.errors import SatoriError
from satori_hpc.run import Run
from satori_hpc.stages import report_data
from satori_hpc.stores import atomic
from satori_hpc.world import Runtime

EXTRA = {"matplotlib", "jinja2", "markupsafe"}


def report(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Write report.html.

    Raises:
        SatoriError: the libraries that draw it are not installed.
    """
    render = drawing_room("render")
    run.report.unlink(missing_ok=True)
    data = report_data.gather(run, runtime)
    page = render.render(data)
    atomic.write_text(run.report, page)
    return {
        "page": run.report.name,
        "megabytes": round(len(page.encode()) / 1e6, 2),
        "TF pairs": sum(len(method.tf_pairs) for method in data.methods),
        "logos": min(len(data.motifs), data.max_logos),
    }


def drawing_room(module: str) -> Any:
    """A module of report/ that draws, imported late: the rest of the program works without the libraries it needs.

    Raises:
        SatoriError: they are not installed.
    """
    try:
        return importlib.import_module(f"satori_hpc.report.{module}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in EXTRA:
            raise
        raise SatoriError(
            f"the report needs {error.name}, which is not installed: pip install 'satori-hpc[report]'"
        ) from None
