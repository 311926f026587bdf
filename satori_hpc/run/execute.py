"""Running stages: lock the run, check the inputs, call the stage, and write the record that makes it complete."""

import contextlib
import datetime
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from satori_hpc import config
from satori_hpc.config import plugins, toml
from satori_hpc.errors import ArtefactError, Preempted, SatoriError
from satori_hpc.log import collected, logger
from satori_hpc.parallel.world import Runtime, World
from satori_hpc.run import files, lock, pipeline, provenance
from satori_hpc.run.layout import Run
from satori_hpc.run.provenance import Record


def open_together(path: Path, world: World) -> Run:
    """Open the run at `path`, which must be writable; every process gets it as read by the root rank.

    A node may see files of another one as they were a while ago, so the others do not read run.toml.

    Raises:
        ConfigError: run.toml is missing or not usable.
        SatoriError: it was made by another version, or cannot be written to.
    """

    def read() -> str:
        run = Run.open(path)
        pipeline.writable(run)
        return run.config_file.read_text(encoding="utf-8")

    return Run.open(path, world.run_on_root(read))


def execute(
    run: Run,
    name: str,
    runtime: Runtime,
    *,
    force: bool = False,
    function: pipeline.StageFunction | None = None,
    held: bool = False,
) -> dict[str, Any] | None:
    """Run one stage and record it; a complete and fresh one is left alone unless `force`.

    Every process of the runtime's world calls this; only the root checks, removes and records. An error of
    the check leaves everything that was made as it was.

    Args:
        run: the run.
        name: of the stage.
        runtime: devices, threads, memory.
        force: rerun it from scratch.
        function: to call instead of the stage's own, for a stage that was processed in parts.
        held: the caller already holds the lock, for longer than this stage.

    Returns:
        the stage's summary, or None when there was nothing to do.

    Raises:
        ArtefactError: its inputs cannot be used, or the run has no such step.
        SatoriError: another job works on this run.
    """
    stage, world = pipeline.BY_NAME[name], runtime.world
    devices = world.all_gather(runtime.device_name())  # before anything is removed, for it may not be there
    with contextlib.ExitStack() as entered:
        if not held:
            world.run_on_root(lambda: entered.enter_context(lock.hold(run.path, what=stage.command(run.path))))
        begun = world.run_on_root(lambda: _begin(run, stage, runtime, entered, force=force))
        if begun is None:
            return None
        inputs, checked = begun
        work = function or functools.partial(stage.function(), **checked)
        runtime.apply()  # now that the stage's libraries are loaded
        began_ns = time.time_ns()
        with provenance.Measure() as measure, collected() as warnings:
            summary = work(run, runtime)
        summary["warnings"] = [*summary.get("warnings", []), *warnings]
        peak = max(world.all_gather(measure.peak_rss_bytes))
        sources, known = summary.pop("sources", {}), summary.pop("files", {})
        world.run_on_root(
            lambda: _record(
                run,
                stage,
                inputs=inputs,
                sources=provenance.source_entries(sources, since_ns=began_ns),
                known=known,
                summary=summary,
                world_size=world.size,
                device=", ".join(sorted(set(devices))),
                elapsed_s=round(measure.elapsed_s, 3),
                peak_rss_bytes=peak,
            )
        )
    return {**summary, "seconds": round(measure.elapsed_s, 1), "peak_gib": round(peak / 2**30, 2)}


def _begin(
    run: Run, stage: pipeline.Stage, runtime: Runtime, entered: contextlib.ExitStack, *, force: bool
) -> tuple[dict[str, str], dict[str, Any]] | None:
    """Return digests of the inputs, once the stage is ready to run, and the result of its check.

    None when it need not run. The context of `entered` lasts as long as the stage runs.
    """
    if stage.applies(run) is False:
        raise ArtefactError(f"{run.path}: nothing to do: this run has no {stage.name} ({stage.what})")
    inputs = pipeline.require(run, stage)
    state = pipeline.states(run).get(stage.name, pipeline.State("missing"))
    if state.usable and not force:
        return None
    if state.reason:
        logger.info("%s: %s (%s); rerunning it", stage.name, state.state, state.reason)
    checked = stage.check(run, runtime)
    record = run.record(stage.name)
    if not force and record.exists():
        entered.push(_put_back(record))
    record.unlink(missing_ok=True)
    if force:
        for path in [*stage.outputs(run), *stage.scratch(run)]:
            files.remove(path)
    return inputs, checked


def _put_back(record: Path) -> Callable[..., None]:
    """Restore a record if the stage refuses; its files show whether it is still valid."""
    text = record.read_text()

    def exit(kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SatoriError) and not isinstance(error, Preempted):
            files.write_text(record, text)

    return exit


def _record(
    run: Run,
    stage: pipeline.Stage,
    *,
    inputs: dict[str, str],
    sources: dict[str, Any],
    known: dict[str, dict[str, Any]],
    summary: dict[str, Any],
    **measured: Any,
) -> None:
    """Write the record that makes a stage complete."""
    files = provenance.listing(run.path, stage.outputs(run), known=known)
    sections = config.sections(run.config, stage.sections)
    provenance.write(
        run.record(stage.name),
        Record(
            stage=stage.name,
            digest=provenance.digest_of(files),
            config_digest=toml.digest(sections),
            config=sections,
            inputs=inputs,
            sources=sources,
            files=files,
            summary=summary,
            versions=provenance.versions() | plugins.digests(run.config.plugins),
            slurm=provenance.slurm(),
            seed=run.config.seed,
            finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            **measured,
        ),
    )


def note(run: Run, name: str, *, inputs: dict[str, str], summary: dict[str, Any], began: float) -> None:
    """Write the record of a command on request.

    Args:
        run: the run.
        name: of the command.
        inputs: from `pipeline.require`.
        summary: its results; "arguments": the options to reproduce it.
        began: time.monotonic() then.
    """
    _record(
        run,
        pipeline.BY_NAME[name],
        inputs=inputs,
        sources={},
        known={},
        summary=summary,
        world_size=1,
        device="cpu",
        elapsed_s=round(time.monotonic() - began, 3),
        peak_rss_bytes=provenance.process_peak_rss_bytes(),
    )


def assist(
    run: Run,
    name: str,
    runtime: Runtime,
    *,
    work: pipeline.StageFunction,
    shared: bool,
) -> dict[str, Any]:
    """Run a part of a stage, for job arrays: its inputs must be up to date; nothing is removed or recorded.

    Args:
        run: the run.
        name: of the stage.
        runtime: devices, threads, memory.
        work: the part.
        shared: other parts may be worked on at the same time.

    Raises:
        ArtefactError: the inputs cannot be used.
        SatoriError: another job works on this run.
    """
    stage = pipeline.BY_NAME[name]
    runtime.device_name()
    with lock.hold(run.path, what=stage.command(run.path), shared=shared):
        pipeline.require(run, stage)
        runtime.apply()
        return work(run, runtime)


def score_part(run: Run, runtime: Runtime, *, mode: str, numbers: list[int], force: bool) -> dict[str, Any] | None:
    """Return the steps of a job array: "plan", "partition" (these `numbers`) or "finalise".

    Returns, Raises: as `assist`, or `execute` for "finalise".
    """
    from satori_hpc.scoring import stage as scoring_stage  # here: torch is slow to load, and --help does without

    if mode == "finalise":
        return execute(run, "score", runtime, function=scoring_stage.finalise)
    if mode == "partition":
        return assist(
            run,
            "score",
            runtime,
            work=lambda run, runtime: scoring_stage.partitions(run, runtime, numbers),
            shared=True,
        )
    return assist(
        run,
        "score",
        runtime,
        work=lambda run, runtime: scoring_stage.plan(run, runtime, replace=force),
        shared=False,
    )
