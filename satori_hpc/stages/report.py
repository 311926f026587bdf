"""report: everything a run found, on one self-contained HTML page."""

from typing import Any

from satori_hpc.run import Run
from satori_hpc.stages import report_data
from satori_hpc.stores import atomic
from satori_hpc.world import Runtime


def report(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Write report.html."""
    from satori_hpc.report import render  # here: matplotlib is slow to load

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
