"""Define the Click options shared by several commands."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from satori_hpc import log
from satori_hpc.errors import SatoriError
from satori_hpc.parallel import memory
from satori_hpc.parallel.world import Runtime, World


class FilePath(click.Path):
    """Parse a path and make it absolute: libraries and shells misread relative ones such as `s3:run` or `-x`."""

    def __init__(self, **checks: bool) -> None:
        super().__init__(path_type=Path, **checks)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return Path(str(super().convert(value, param, ctx))).absolute()


RUN = click.argument("run", type=FilePath())
Command = Callable[..., None]
Decorator = Callable[[Command], Command]


class Memory(click.ParamType):
    """Parse a memory size into bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else memory.parse(value)
        except SatoriError as error:
            self.fail(str(error), param, ctx)


class Numbers(click.ParamType):
    """Parse numbers such as 7 or 0-9,12 into an ascending list."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        if isinstance(value, list):
            return value
        found: set[int] = set()
        for part in value.split(","):
            ends = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
            first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
            if last < first:
                self.fail(f"{value!r}: expected numbers and ranges such as 7 or 0-9,12", param, ctx)
            found.update(range(first, last + 1))
        return sorted(found)


DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
THREADS = click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    help="CPU threads; 0 = all available cores, at most OMP_NUM_THREADS.",
)
BATCH = click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Sequences per forward pass outside training; does not change results beyond rounding.",
)

MICRO_BATCH = click.option(
    "--micro-batch",
    type=click.IntRange(min=0),
    default=0,
    help="Sequences per forward pass in training, to save GPU memory; does not change results beyond rounding. "
    "Default: on a GPU the process's whole part of a batch, on a CPU chosen for its caches and allocator.",
)


def _memory(text: str) -> Decorator:
    return click.option("--memory", type=Memory(), default=0, metavar="SIZE", help=text)


RANK_MEMORY = _memory("Memory limit of a rank, such as 4G; default: as needed by the buffers (see --plan).")
PREPARE_MEMORY = _memory(
    "Memory limit of a rank, such as 4G (not for simulated sets); default: as needed per sequence, plus up to 2G "
    "for work that can be split. FASTA files and folds are held in memory."
)
WORKER_MEMORY = _memory(
    "Memory limit of all workers together, such as 16G; default: most of the job's memory. With --scheduler-file: "
    "of each worker."
)
SCHEDULE = click.option(
    "--schedule",
    type=click.Choice(["static", "dynamic"]),
    default="static",
    show_default=True,
    help="How partitions are assigned to ranks: static: round-robin; dynamic: each takes the next when it is free "
    "(for uneven cost).",
)
CLUSTER = click.option(
    "--cluster",
    type=click.Choice(["threads", "local"]),
    default="threads",
    show_default=True,
    help="Dask workers: threads of this process, or processes on this node (a LocalCluster).",
)
SCHEDULER_FILE = click.option(
    "--scheduler-file",
    type=FilePath(dir_okay=False),
    help="Scheduler file of a running Dask cluster; used instead of --cluster.",
)
PROGRESS = click.option("--progress/--no-progress", default=None, help="Progress bars; default: if run in a terminal.")
VERBOSE = click.option("-v", "--verbose", count=True, help="More log messages.")

# Options of each stage, besides progress and verbosity.
USES: dict[str, tuple[Decorator, ...]] = {
    "prepare": (PREPARE_MEMORY,),
    "train": (DEVICE, THREADS, BATCH, MICRO_BATCH),
    "motifs": (DEVICE, THREADS, BATCH),
    "score": (DEVICE, THREADS, RANK_MEMORY, SCHEDULE),
    "reduce": (THREADS, WORKER_MEMORY, CLUSTER, SCHEDULER_FILE),
    "evaluate": (),
    "report": (DEVICE, THREADS),
    "verify": (THREADS,),
    "inspect": (DEVICE, THREADS),
    "tracks": (DEVICE, THREADS, BATCH),
    "differential": (),
    "cluster-motifs": (),
    "all": (DEVICE, THREADS, BATCH, MICRO_BATCH, CLUSTER, SCHEDULER_FILE),
    "search": (DEVICE, THREADS, BATCH, MICRO_BATCH),
    "ensemble": (DEVICE, THREADS, BATCH, MICRO_BATCH),
    "demo": (DEVICE, THREADS, BATCH),
}


def runtime_options(name: str) -> Decorator:
    """Add the options of the command `name`."""

    def decorate(command: Command) -> Command:
        adds: tuple[Decorator, ...] = (*USES[name], PROGRESS, VERBOSE)
        for add in reversed(adds):
            command = add(command)
        return command

    return decorate


def runtime(*, progress: bool | None, verbose: int, world: World | None = None, **options: Any) -> Runtime:
    """Build the runtime from the options, on the CPU if they name no device; also set up the log."""
    world = world or World()
    log.setup(verbose=verbose, progress=progress, rank=world.rank, size=world.size)
    return Runtime(world=world, **{"device": "cpu", **options})


def show(name: str, summary: dict[str, Any] | None, *, as_json: bool = False) -> None:
    """Print the summary of a command, as text or as JSON."""
    if as_json:
        click.echo(json.dumps(summary, indent=1))
        return
    if summary is None:
        say(f"{name}: complete and up to date (--force reruns it)")
        return
    say(f"{name}:")
    for line in _lines({key: value for key, value in summary.items() if key != "warnings"}):  # these are logged
        say("  " + line)


def say(text: str) -> None:
    """Print text with control characters escaped, since names in it may come from files."""
    click.echo(log.printable(text))


def _lines(summary: dict[str, Any], indent: str = "", *, sizes: bool = False) -> list[str]:
    """Format a summary as aligned lines; inner dictionaries are indented; `sizes`: all numbers are bytes."""
    width = max((len(key) for key, value in summary.items() if not isinstance(value, dict)), default=0)
    lines = []
    for key, value in summary.items():
        label = key.replace("_", " ")
        if isinstance(value, dict):
            lines += [f"{indent}{label}:", *_lines(value, indent + "  ", sizes=key.startswith("memory"))]
        else:
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            if sizes or key.startswith("bytes"):
                shown = memory.show(value)
            lines.append(f"{indent}{label:<{width}}  {shown}")
    return lines
