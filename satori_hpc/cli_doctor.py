"""The command `doctor`."""

import json
import sys
from pathlib import Path

import click

from satori_hpc.cli_options import FilePath, say
from satori_hpc.stages import doctor as doctor_stage


@click.command()
@click.argument("run", required=False, type=FilePath())
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--strict", is_flag=True, help="Exit status 1 when there is any warning.")
def doctor(run: Path | None, as_json: bool, strict: bool) -> None:
    """Print versions, devices, the MPI library, memory and folders; warn of known traps, with their cures.

    With RUN, a run directory or the folder that is to hold one, see that it can be worked on from here. Start it as
    the work itself will be started, for what it says is true of that only:

    \b
      srun --mpi=pmi2 satori-hpc doctor RUN
      srun --mpi=pmi2 apptainer run IMAGE.sif doctor RUN
    """
    told = (lambda name, value: None) if as_json else (lambda name, value: say(f"{name:<23}  {value}"))
    report = doctor_stage.doctor(doctor_stage.Report(told), run)
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=1))
    else:
        for warning in report.warnings:
            say(f"warning: {warning}")
        told("verdict", report.verdict())
    if strict and report.warnings:
        sys.exit(1)
