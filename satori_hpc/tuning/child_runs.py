"""Run directories inside a run that share its data set: trials of a search, members of an ensemble.

Nobody hands them out: any number of processes take what nobody holds, and stop together when they are asked to.
"""

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from satori_hpc import config
from satori_hpc.config import Config, toml
from satori_hpc.errors import ArtefactError, HeldError, Requeue, quoted
from satori_hpc.parallel import signals
from satori_hpc.parallel.signals import Stopped
from satori_hpc.parallel.world import Runtime, World
from satori_hpc.run import execute, files, lock, pipeline, provenance
from satori_hpc.run.layout import Run


def write(path: Path, text: str) -> Run:
    """The run at `path`, whose run.toml is `text`; a file that says the same is left as it is.

    Raises:
        ConfigError: the text cannot be used.
    """
    path.mkdir(parents=True, exist_ok=True)
    inner = Run(path=path, config=toml.parse(text, Config, name=str(path)))
    if not inner.config_file.exists() or config.load(inner.config_file) != inner.config:
        files.write_text(inner.config_file, text)
    return inner


def work(run: Run, inner: Run, runtime: Runtime, *, last: str) -> None:
    """Run all stages of `inner` that are not done, up to `last`; the caller holds its directory.

    `inner` may be `run` itself, whose prepare is done.

    Raises:
        Requeue: asked to stop; what is done is kept.
    """
    for stage in pipeline.STAGES:
        signals.between_parts()
        if stage.name == "prepare" and inner.path == run.path:
            continue
        if stage.name != "prepare" and stage.applies(inner) is False:
            continue
        function = functools.partial(_share, run) if stage.name == "prepare" else None
        execute.execute(inner, stage.name, runtime, function=function, held=True)
        if stage.name == last:
            return


def take(path: Path, body: Callable[[], bool], *, what: str, part: str, world: World, patient: bool) -> bool:
    """Hold a directory, made when it is not there, while `body` works in it.

    Args:
        path: the directory.
        body: the work; False when there was none left to do.
        what: the command, for those who find it held.
        part: what this process says it is doing.
        world: of this process.
        patient: as `lock.hold`.

    Returns:
        what `body` does, or False when somebody else holds the directory.
    """
    path.mkdir(parents=True, exist_ok=True)
    try:
        with lock.hold(path, what=f"{part} of {what}", patient=patient):
            world.doing(part)
            return body()
    except HeldError:
        return False
    finally:
        world.doing("")


def work_together(run: Run, world: World, body: Callable[[], None]) -> list[str]:
    """Have each process of the world do its share; why processes stopped before that was done.

    A signal or RUN/STOP asks. Between the steps of a training its state is kept first; all else resumes by itself, so
    there a signal ends the work at once.
    """
    stopped = ""
    with signals.work(run.stop) as wish:
        try:
            body()
        except (Requeue, Stopped) as error:
            stopped = str(error)
        # Together: whoever left first would end the others, which may have work of their own to finish or to keep.
        with signals.hearing(wish):
            world.barrier()
            try:
                signals.between_parts()  # it may have been asked while it waited
            except Requeue as error:
                stopped = stopped or str(error)
            return [why for why in world.gather(stopped) if why]


def alone(runtime: Runtime) -> Runtime:
    """The same in a world of one, on the device and the share of processors of this process."""
    world = World()
    world.local_rank, world.sharers = runtime.world.local_rank, runtime.world.sharers
    return dataclasses.replace(runtime, world=world)


def _share(run: Run, inner: Run, runtime: Runtime) -> dict[str, Any]:
    """What takes the place of prepare: links to the data of `run`, and what its record knows of them.

    Links are relative, so a run can be moved with what is in it. The record of `inner` lists the same digests as the
    run's, and size and time are read through the links: data made anew are seen at once, here as there.
    """
    record = provenance.read(run.record("prepare"))
    if record is None:
        raise ArtefactError(f"{run.path}: prepare has no record; run: satori-hpc prepare {quoted(run.path)}")
    for source, link in ((run.dataset, inner.dataset), (run.truth, inner.truth)):
        files.remove(link)
        if source.exists():
            link.symlink_to(os.path.relpath(source.resolve(), link.parent.resolve()), target_is_directory=True)
    sources = {name: entry["sha256"] for name, entry in record.sources.items()}
    return {**record.summary, "shared_with": "../..", "sources": sources, "files": record.files}
