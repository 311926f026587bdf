"""The command line: argv to stage calls, nothing else.

Science stands in RUN/run.toml; the options here say only how and where a command runs.
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
from satori_hpc.run import execute, pipeline
from satori_hpc.run import new as new_stage
from satori_hpc.run.layout import Run

BACKGROUND = (
    "Make background.zarr instead, after motifs: shuffled twins of the examples to score, with the filters' motifs "
    "implanted; for sets with several labels."
)
FORCE = click.option("--force", is_flag=True, help="Make it anew although it is complete; nothing is resumed.")


class _Told(click.ClickException):
    """An error to be printed, and the exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.exit_code = status  # type: ignore[misc]


class Commands(click.Group):
    """Commands in the order of a run, and our errors without a traceback."""

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

    A run is a directory. Its run.toml holds the science, one section per stage; every command works on a run:

    \b
      satori-hpc demo demo-run                 a small simulated run, start to report
      satori-hpc new RUN --template fasta ...  a new run from your sequences
      satori-hpc all RUN                       make all that is missing or stale
      satori-hpc status RUN                    what is there, and the next command
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
@click.option("--expect-ranks", type=click.IntRange(min=1), help="Refuse to work with another number of MPI ranks.")
@FORCE
def prepare(run: Path, part: str, expect_ranks: int | None, force: bool, **options: Any) -> None:
    """Make dataset.zarr: simulate sequences, read files of them, or take windows of a genome; split them.

    Of a genome, several processes under mpiexec or srun read the sequences together, with the same bytes from any
    number; a killed one goes on. left_out.tsv.gz lists the rows of files that were dropped or changed, and why.
    """
    with mpi.session(expect_ranks=expect_ranks) as world:
        runtime = cli_options.runtime(world=world, **options)
        opened = execute.open_together(run, world)
        if part == "background" or not SOURCES[opened.config.prepare.source].together:
            world.lead(lambda: _one_process(world, "prepare of anything but a genome"))
        summary = execute.execute(opened, part, runtime, force=force)
        if world.rank == 0:
            show(part, summary)


def _add_stage_command(stage: pipeline.Stage, help_text: str) -> None:
    @cli.command(name=stage.name, help=help_text)
    @RUN
    @cli_options.runtime_options(stage.name)
    @FORCE
    def command(run: Path, force: bool, **options: Any) -> None:
        changes = {name: options.pop(name) for name in cli_options.NAMES & options.keys()}
        runtime = cli_options.runtime(**options)
        opened = Run.open(run)
        pipeline.writable(opened)
        _execute(opened, stage.name, runtime, force=force, changes=cli_options.wanted(opened, **changes))


@cli.command()
@RUN
@cli_options.runtime_options("train")
@click.option("--rendezvous", metavar="file|tcp://HOST:PORT", help=cli_options.RENDEZVOUS_HELP)
@click.option(
    "--join-timeout",
    type=click.FloatRange(min=1),
    default=600,
    show_default=True,
    help="Seconds that the first processes wait for the last one to come.",
)
@FORCE
def train(run: Path, rendezvous: str | None, join_timeout: float, force: bool, **options: Any) -> None:
    """Train the network; choose it by the validation metric; predict every example. Resumes when killed.

    Several processes share every batch; their number changes the result by rounding only:

    \b
      satori-hpc train RUN                                       one process
      torchrun --standalone --nproc-per-node 2 -m satori_hpc train RUN     two of this node
      srun satori-hpc train RUN                                  the tasks of a Slurm job, one per GPU

    Stopped by SIGTERM, SIGUSR2 or a file RUN/STOP, it saves its state and exits with status 75: run it again.
    """
    with torch_group.session(run, meeting=rendezvous, join_timeout=join_timeout) as world:
        runtime = cli_options.runtime(world=world, **options)
        opened = execute.open_together(run, world)
        summary = execute.execute(opened, "train", runtime, force=force)
        if world.rank == 0:
            show("train", summary)


@cli.command()
@RUN
@cli_options.runtime_options("score")
@click.option("--expect-ranks", type=click.IntRange(min=1), help="Refuse to work with another number of MPI ranks.")
@click.option("--plan", "mode", flag_value="plan", help="Make the empty store and print partitions, bytes and memory.")
@click.option("--partition", "numbers", type=cli_options.Numbers(), help="Score these only, such as 7 or 0-9,12.")
@click.option("--finalise", "mode", flag_value="finalise", help="Close a store whose partitions are all done.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan or the summary for programs.")
@FORCE
def score(
    run: Path,
    methods: tuple[str, ...],
    mode: str | None,
    numbers: list[int] | None,
    expect_ranks: int | None,
    as_json: bool,
    force: bool,
    **options: Any,
) -> None:
    """Score every pair of filters in every selected example. Resumes when killed.

    Under MPI the ranks share the partitions of the store, whose bytes do not depend on their number:

    \b
      satori-hpc score RUN                       one process
      mpiexec -n 8 satori-hpc score RUN          eight ranks of one node
      srun satori-hpc score RUN                  the ranks of a Slurm job

    In a job array, without MPI:

    \b
      satori-hpc score RUN --plan                once: prints how many partitions there are, and what each needs
      satori-hpc score RUN --partition K         in task K of the array, from 0
      satori-hpc score RUN --finalise            once, after all of them

    Partitions are numbered over all methods of run.toml.
    """
    if mode and numbers is not None:
        raise click.UsageError(f"--{mode} and --partition exclude each other")
    if as_json and numbers is None and mode is None:
        raise click.UsageError("--json goes with --plan, --partition or --finalise")
    if methods and (numbers is not None or mode == "finalise"):
        raise click.UsageError("--method changes run.toml, so it goes with --plan, before the tasks of a job array")
    with mpi.session(expect_ranks=expect_ranks) as world:
        runtime = cli_options.runtime(world=world, **options)
        opened = execute.open_together(run, world)
        changes = cli_options.with_methods(opened, methods)
        if mode or numbers is not None:
            world.lead(lambda: _one_process(world, "--partition" if mode is None else f"--{mode}"))
            summary = execute.score_part(
                opened, runtime, mode=mode or "partition", numbers=numbers or [], force=force, changes=changes
            )
        else:
            summary = execute.execute(opened, "score", runtime, force=force, changes=changes)
        if world.rank == 0:
            show("score", summary, as_json=as_json)


def _one_process(world: World, option: str) -> None:
    if world.size > 1:
        raise SatoriError(f"{option} works in one process, {world.size} were started; leave it out, or start one")


HELP = {
    "motifs": "Turn first-layer filters into motifs and name them after known ones.",
    "reduce": "Test foreground against background for every pair; write the interaction tables.",
    "evaluate": "Compare called interactions with the implanted pairs, beside baselines that need no network, and with "
    "tables of known interactions.",
    "report": "Write report.html, one self-contained page.",
}
for _stage in pipeline.STAGES:
    if not _stage.flag_of and _stage.name not in ("prepare", "train", "score"):
        _add_stage_command(_stage, HELP[_stage.name])


def _execute(
    run: Run, name: str, runtime: Runtime, *, force: bool = False, changes: execute.Changes | None = None
) -> None:
    show(name, execute.execute(run, name, runtime, force=force, changes=changes))


@cli.command(name="all")
@RUN
@cli_options.runtime_options("all")
def all_stages(run: Path, **options: Any) -> None:
    """Run every stage that is missing or stale; what is complete and fresh stays."""
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
    """Print what each method called, and what the stages of the run warned of."""
    for line in pipeline.calls(run, found):
        say(line)
    for stage, sentence in pipeline.warnings(found):
        say(f"warning ({stage}): {sentence}")


cli.add_command(many.search)
cli.add_command(many.ensemble)
cli.add_command(extras.tracks)
cli.add_command(extras.differential)


@cli.command()
@RUN
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True)
@click.option("--open/--no-open", "show", default=None, help="Open the report in a browser; default: on a terminal.")
@cli_options.runtime_options("demo")
def demo(run: Path, seed: int, show: bool | None, **options: Any) -> None:
    """Make and run a small simulated run at RUN, and show its report; a minute or two on two cores.

    Every sequence holds two of twelve true pairs and a decoy; how close true pairs stand tells positives. The network
    starts from known motifs; counting which motifs occur together finds decoys, too. Run again, it goes on where it
    stopped.
    """
    made = Run(path=run, config=new_stage.simulated("demo", seed=seed))
    opened = Run.open(run) if made.config_file.exists() else new_stage.new(run, config=made.config)
    pipeline.writable(opened)
    _run_all(opened, cli_options.runtime(**options))
    if sys.stdout.isatty() if show is None else show:
        webbrowser.open(opened.report.resolve().as_uri())


@cli.command("set")
@RUN
@click.argument("assignments", nargs=-1, required=True, metavar="SECTION.KEY=VALUE...")
def set_keys(run: Path, assignments: tuple[str, ...]) -> None:
    """Change keys of RUN/run.toml; comments and all other values stay as they are.

    \b
      satori-hpc set RUN reduce.min_examples=5 score.split=all
      satori-hpc set RUN 'score.methods=["attention", "epistasis"]'

    Values are as in TOML, a bare word is a string; docs/options.md lists the keys. All of them are set, or none.
    """
    opened = Run.open(run)
    text, _ = edit.edited(opened.config_file, toml.assigned(opened.config, assignments))
    before = pipeline.states(opened)
    edit.write(opened.config_file, text)
    after = pipeline.states(Run.open(run))
    stale = [name for name, state in after.items() if before[name].usable and not state.usable]
    say(f"to be made again: {', '.join(stale)}" if stale else "nothing that is made becomes stale")


@cli.command()
@RUN
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(run: Path, as_json: bool) -> None:
    """Print each artefact, its state, what was called, what stages warned of, and the next command."""
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
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def verify(run: Path, as_json: bool, **options: Any) -> None:
    """Read everything again and compare it with what was written; say which command repairs what is damaged.

    `status` trusts files whose size and time are as recorded; this reads every byte. Exit status 1 when anything is
    damaged.
    """
    from satori_hpc.tools import verify as verify_stage  # here: zarr is slow to load

    found = verify_stage.verify(Run.open(run), cli_options.runtime(**options))
    click.echo(json.dumps(found.as_dict(), indent=1)) if as_json else say("\n".join(found.lines()))
    if found.findings:
        sys.exit(1)


@cli.command()
@RUN
@click.argument("example")
@click.option("--out", type=cli_options.FilePath(file_okay=False), help="Folder to write to; default: RUN/inspect.")
@cli_options.runtime_options("inspect")
def inspect(run: Path, example: str, out: Path | None, **options: Any) -> None:
    """Show what the network makes of one sequence: a page of pictures, and its arrays.

    EXAMPLE is the name of a sequence or its row in the data set, scored or not. The page shows the attention, the
    attribution of every letter, and which motif sites act together.
    """
    from satori_hpc.report import inspect as inspect_stage  # here: torch and zarr are slow to load

    runtime = cli_options.runtime(**options)
    runtime.apply()
    show("inspect", inspect_stage.inspect(Run.open(run), runtime, example, out=out))


cli.add_command(extras.doctor)


def main() -> None:
    """Entry of the console script."""
    try:
        cli()
    except SystemExit as error:
        if error.code in signals.STOPPED:
            signals.exit_at_once(error.code)
        raise
