"""Define the command line: it parses options and calls stages, nothing else.

Scientific settings are in RUN/run.toml; the options here only say how and where a command runs.
"""

import json
import sys
import webbrowser
from pathlib import Path
from typing import Any

import click

from satori_hpc import __version__, log
from satori_hpc.cli import extras, many, new
from satori_hpc.cli import options as cli_options
from satori_hpc.cli.options import RUN, say, show
from satori_hpc.config import edit, toml
from satori_hpc.config.prepare import SOURCES
from satori_hpc.errors import SatoriError, quoted
from satori_hpc.parallel import mpi, signals, torch_group
from satori_hpc.parallel.world import Runtime, World
from satori_hpc.run import execute, lock, pipeline
from satori_hpc.run import new as new_stage
from satori_hpc.run.layout import Run

BACKGROUND = (
    "Make background.zarr instead, after motifs: dinucleotide-shuffled controls of the examples to score, with "
    "the filters' motifs implanted; for multi-label sets."
)
FORCE = click.option("--force", is_flag=True, help="Rerun a complete stage from scratch, without resuming.")


class _Told(click.ClickException):
    """Carry an error message and the exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.exit_code = status  # type: ignore[misc]


class Commands(click.Group):
    """List commands in the order of a run, and print our errors without a traceback."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, context: click.Context) -> Any:
        try:
            with signals.serial():
                return super().invoke(context)
        except SatoriError as error:
            raise _Told(log.printable(str(error)), error.status) from error
        except OSError as error:
            if error.filename is None:
                raise
            raise click.ClickException(log.printable(f"{error.filename}: {error.strerror}")) from error
        except click.ClickException as error:
            object.__setattr__(error, "message", log.printable(error.message))  # final by its type only
            raise


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="satori-hpc")
@click.pass_context
def cli(context: click.Context) -> None:
    """Find cooperating transcription factors with attention networks.

    A run is a directory. Its run.toml holds the scientific settings, one section per stage. Commands work on a run:

    \b
      satori-hpc demo demo-run                 a small simulated run, from start to report
      satori-hpc new RUN --template fasta ...  a new run with your sequences
      satori-hpc all RUN                       run every stage that is missing or stale
      satori-hpc status RUN                    state of every artefact, and the next command
    """
    if context.invoked_subcommand in ("prepare", "score", "search", "ensemble"):
        mpi.refuse_torchrun(str(context.invoked_subcommand))
    elif context.invoked_subcommand not in ("train", "doctor"):
        mpi.refuse_many(str(context.invoked_subcommand))


cli.add_command(new.new)


@cli.command()
@RUN
@cli_options.runtime_options("prepare")
@click.option("--background", "part", flag_value="background", default="prepare", help=BACKGROUND)
@click.option("--expect-ranks", type=click.IntRange(min=1), help="Fail unless MPI has this many ranks.")
@FORCE
def prepare(run: Path, part: str, expect_ranks: int | None, force: bool, **options: Any) -> None:
    """Make dataset.zarr from a simulation, files or a genome. Splits the examples.

    For a genome, several processes under mpiexec or srun read the sequences together; the output is byte-identical for
    any number of them, and a killed command resumes. excluded_records.tsv.gz lists excluded and
    changed records, with the reason.
    """
    with mpi.session(expect_ranks=expect_ranks) as world:
        runtime = cli_options.runtime(world=world, **options)
        opened = execute.open_together(run, world)
        if part == "background" or not SOURCES[opened.config.prepare.source].together:
            world.run_on_root(lambda: _one_process(world, "prepare of anything but a genome"))
        summary = execute.execute(opened, part, runtime, force=force)
        if world.rank == 0:
            show(part, summary)


def _add_stage_command(stage: pipeline.Stage, help_text: str) -> None:
    @cli.command(name=stage.name, help=help_text)
    @RUN
    @cli_options.runtime_options(stage.name)
    @FORCE
    def command(run: Path, force: bool, **options: Any) -> None:
        runtime = cli_options.runtime(**options)
        opened = Run.open(run)
        pipeline.writable(opened)
        _execute(opened, stage.name, runtime, force=force)


@cli.command()
@RUN
@cli_options.runtime_options("train")
@click.option(
    "--join-timeout",
    type=click.FloatRange(min=1),
    default=600,
    show_default=True,
    help="Seconds to wait for all processes to join.",
)
@FORCE
def train(run: Path, join_timeout: float, force: bool, **options: Any) -> None:
    """Train the network and predict every example. Keeps the best epoch by the validation metric; resumes when killed.

    Several processes share every batch; their number changes the result only by rounding:

    \b
      satori-hpc train RUN                                       one process
      torchrun --standalone --nproc-per-node 2 -m satori_hpc train RUN     two on this node
      srun satori-hpc train RUN                                  the tasks of a Slurm job, one per GPU

    On SIGTERM, SIGUSR2 or a file RUN/STOP it saves its state and exits with status 75: run it again.
    """
    with torch_group.session(run, join_timeout=join_timeout) as world:
        runtime = cli_options.runtime(world=world, **options)
        opened = execute.open_together(run, world)
        summary = execute.execute(opened, "train", runtime, force=force)
        if world.rank == 0:
            show("train", summary)


@cli.command()
@RUN
@cli_options.runtime_options("score")
@click.option("--expect-ranks", type=click.IntRange(min=1), help="Fail unless MPI has this many ranks.")
@click.option(
    "--plan", "mode", flag_value="plan", help="Create the empty store and print partitions, bytes and memory."
)
@click.option(
    "--partition", "numbers", type=cli_options.Numbers(), help="Score only these partitions, such as 7 or 0-9,12."
)
@click.option("--finalise", "mode", flag_value="finalise", help="Close a store when all partitions are complete.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan or the summary as JSON.")
@FORCE
def score(
    run: Path,
    mode: str | None,
    numbers: list[int] | None,
    expect_ranks: int | None,
    as_json: bool,
    force: bool,
    **options: Any,
) -> None:
    """Score pairs of motif sites in selected examples. Resumes when killed.

    Under MPI the ranks share the partitions of the store, which is byte-identical for any number of ranks:

    \b
      satori-hpc score RUN                       one process
      mpiexec -n 8 satori-hpc score RUN          eight ranks on one node
      srun satori-hpc score RUN                  the ranks of a Slurm job

    In a job array, without MPI:

    \b
      satori-hpc score RUN --plan                once: prints the number of partitions, and the memory of a task
      satori-hpc score RUN --partition K         in task K of the array, from 0
      satori-hpc score RUN --finalise            once, after all tasks

    Partitions are numbered over all methods of run.toml.
    """
    if mode and numbers is not None:
        raise click.UsageError(f"--{mode} and --partition exclude each other")
    if as_json and numbers is None and mode is None:
        raise click.UsageError("--json goes with --plan, --partition or --finalise")
    with mpi.session(expect_ranks=expect_ranks) as world:
        runtime = cli_options.runtime(world=world, **options)
        opened = execute.open_together(run, world)
        if mode or numbers is not None:
            world.run_on_root(lambda: _one_process(world, "--partition" if mode is None else f"--{mode}"))
            summary = execute.score_part(opened, runtime, mode=mode or "partition", numbers=numbers or [], force=force)
        else:
            summary = execute.execute(opened, "score", runtime, force=force)
        if world.rank == 0:
            show("score", summary, as_json=as_json)


def _one_process(world: World, option: str) -> None:
    if world.size > 1:
        raise SatoriError(f"{option} works in one process, {world.size} were started; leave it out, or start one")


HELP = {
    "motifs": "Find the motifs of the filters, and name them.",
    "reduce": "Test every pair; write the interaction tables.",
    "evaluate": "Compare calls with known pairs and baselines. Known pairs are implanted ones or tables of "
    "known interactions; baselines need no network.",
    "report": "Write report.html, a self-contained page.",
}
for _stage in pipeline.STAGES:
    if not _stage.flag_of and _stage.name not in ("prepare", "train", "score"):
        _add_stage_command(_stage, HELP[_stage.name])


def _execute(run: Run, name: str, runtime: Runtime, *, force: bool = False) -> None:
    show(name, execute.execute(run, name, runtime, force=force))


@cli.command(name="all")
@RUN
@cli_options.runtime_options("all")
def all_stages(run: Path, **options: Any) -> None:
    """Run every stage that is missing or stale."""
    opened = Run.open(run)
    pipeline.writable(opened)
    _run_all(opened, cli_options.runtime(**options))


def _run_all(run: Run, runtime: Runtime) -> None:
    if not pipeline.remaining(run):
        say(f"nothing to do: every artefact of {run.path} is complete and up to date")
    for name in pipeline.pending(run):
        _execute(run, name, runtime)
    found = pipeline.states(run)
    _show_results(run, found)
    say(f"report: {run.report.resolve()}")


def _show_results(run: Run, found: dict[str, pipeline.State]) -> None:
    """Print the calls of each method, and the warnings of the stages."""
    for line in pipeline.calls(run, found):
        say(line)
    for stage, sentence in pipeline.warnings(found):
        say(f"warning ({stage}): {sentence}")


cli.add_command(many.search)
cli.add_command(many.ensemble)
cli.add_command(extras.tracks)
cli.add_command(extras.differential)
cli.add_command(extras.cluster_motifs)


@cli.command()
@RUN
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True)
@click.option(
    "--open/--no-open", "show", default=None, help="Open the report in a browser; default: if run in a terminal."
)
@cli_options.runtime_options("demo")
def demo(run: Path, seed: int, show: bool | None, **options: Any) -> None:
    """Run a small simulated example; show its report. Takes a minute or two on two cores.

    Every sequence holds two of twelve true pairs and a decoy; positives differ in the distance within true pairs. The
    network starts from known motifs; counting co-occurring motifs also finds the decoys. Run again after a kill, it
    resumes.
    """
    made = Run(path=run, config=new_stage.simulated("demo", seed=seed))
    opened = Run.open(run) if made.config_file.exists() else new_stage.new(run, config=made.config)
    pipeline.writable(opened)
    _run_all(opened, cli_options.runtime(**options))
    if sys.stdout.isatty() if show is None else show:
        webbrowser.open(opened.report.resolve().as_uri())


@cli.command("set")
@RUN
@click.argument("assignments", nargs=-1, metavar="[SECTION.KEY=VALUE]...")
def set_keys(run: Path, assignments: tuple[str, ...]) -> None:
    """Set keys of RUN/run.toml and list the stages that become stale; comments and all other values are kept.

    \b
      satori-hpc set RUN                                        print all keys, those left out of run.toml, too
      satori-hpc set RUN reduce.min_examples=5 score.split=all
      satori-hpc set RUN score.methods=attention,epistasis

    Values are TOML; text needs no quotes and a list no brackets. Relative file names start at RUN. docs/options.md
    lists the keys. Either all keys are set, or none. The run must not be locked by another process.
    """
    opened = Run.open(run)
    if not assignments:
        click.echo(toml.render(opened.config), nl=False)
        return
    pipeline.writable(opened)
    with lock.hold(opened.path, what=f"satori-hpc set {quoted(opened.path)}"):
        text, _ = edit.edited(opened.config_file, toml.assigned(opened.config, assignments))
        before = pipeline.states(opened)
        edit.write(opened.config_file, text)
    after = pipeline.states(Run.open(run))
    stale = [name for name, state in after.items() if before[name].usable and not state.usable]
    say(f"now stale: {', '.join(stale)}" if stale else "no complete stage becomes stale")


@cli.command()
@RUN
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(run: Path, as_json: bool) -> None:
    """Print all states, and the next command. Also the calls and the warnings of the stages."""
    opened = Run.open(run)
    found = pipeline.states(opened)
    todo = [name for name, state in found.items() if not state.usable]
    following = pipeline.BY_NAME[todo[0]].command(run) if todo else None
    if as_json:
        stages = {name: {"state": state.state, "reason": state.reason} for name, state in found.items()}
        warnings = [{"stage": stage, "warning": sentence} for stage, sentence in pipeline.warnings(found)]
        results = pipeline.calls(opened, found)
        told = {"stages": stages, "results": results, "warnings": warnings, "next": following}
        click.echo(json.dumps(told, indent=1))
        return
    for name, state in found.items():
        names = ", ".join(path.relative_to(opened.path).as_posix() for path in pipeline.BY_NAME[name].outputs(opened))
        say(f"{name:<10} {state.state:<11} {names}" + (f"\n           {state.reason}" if state.reason else ""))
    _show_results(opened, found)
    say(f"next: {following}   (or all that is left: satori-hpc all {quoted(run)})" if todo else "nothing to do")


@cli.command()
@RUN
@cli_options.runtime_options("verify")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(run: Path, as_json: bool, **options: Any) -> None:
    """Check every byte of a run; print repair commands.

    `status` trusts files whose size and modification time match the record; this command reads every byte. Exits with
    status 1 if anything is damaged.
    """
    from satori_hpc.tools import verify as verify_stage  # here: zarr is slow to load

    found = verify_stage.verify(Run.open(run), cli_options.runtime(**options))
    click.echo(json.dumps(found.as_dict(), indent=1)) if as_json else say("\n".join(found.lines()))
    if found.findings:
        sys.exit(1)


@cli.command()
@RUN
@click.argument("example")
@click.option("--out", type=cli_options.FilePath(file_okay=False), help="Output folder; default: RUN/inspect.")
@cli_options.runtime_options("inspect")
def inspect(run: Path, example: str, out: Path | None, **options: Any) -> None:
    """Explain the prediction for one sequence. Writes a page of figures, and their arrays.

    EXAMPLE is the name of a sequence or its row in the data set, scored or not. The page shows attention, the
    attribution of every base, and the interactions between motif sites.
    """
    from satori_hpc.report import inspect as inspect_stage  # here: torch and zarr are slow to load

    runtime = cli_options.runtime(**options)
    runtime.apply()
    show("inspect", inspect_stage.inspect(Run.open(run), runtime, example, out=out))


cli.add_command(extras.doctor)


def main() -> None:
    """Run the console script."""
    try:
        cli()
    except SystemExit as error:
        if error.code in signals.STOPPED:
            signals.exit_at_once(error.code)
        raise
