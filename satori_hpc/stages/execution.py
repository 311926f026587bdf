"""Running stages: lock the run, check the inputs, call the stage, and write the record that makes it complete."""

import contextlib
import datetime
import time
from typing import Any

from satori_hpc import config as config_module
from satori_hpc import config_change, options, provenance
from satori_hpc.errors import ArtefactError
from satori_hpc.log import logger
from satori_hpc.run import Run
from satori_hpc.stages import pipeline
from satori_hpc.stores import atomic, lock, records
from satori_hpc.stores.records import Record
from satori_hpc.world import Runtime


def change(run: Run, key: str, value: str | int | tuple[str, ...]) -> Run:
    """The run with a key of its run.toml changed, there too; nobody may be at work on it meanwhile.

    Args:
        run: the run.
        key: such as "reduce.statistic".
        value: what it shall be.

    Raises:
        ConfigError: run.toml could not be used with this value; it is as it was.
        SatoriError: another job works on this run.
    """
    with lock.hold(run.path, what=f"a change of {key} in {run.config_file}"):
        if config_change.change(run.config_file, key, value):
            logger.info("%s: %s = %s", run.config_file, key, options.to_toml(value))
    return Run.open(run.path)


def add_methods(run: Run, methods: tuple[str, ...]) -> Run:
    """The run with these methods among score.methods of its run.toml, behind those that are there.

    Raises: as `change`.
    """
    asked = tuple(dict.fromkeys((*run.config.score.methods, *methods)))
    return run if asked == run.config.score.methods else change(run, "score.methods", asked)


def add_known(run: Run, new: tuple[str, ...], columns: tuple[str, ...], names: str | None) -> Run:
    """The run with these tables among evaluate.known of its run.toml, behind those that are there.

    Args:
        run: the run.
        new: files.
        columns: of all of them, or of each; empty = as run.toml has it.
        names: evaluate.known_names; None = as run.toml has it.

    Raises: as `change`.
    """
    settings = run.config.evaluate
    known = tuple(dict.fromkeys((*settings.known, *new)))
    asked = dict(zip(known, settings.columns + ("",) * len(new), strict=False))
    if columns:
        asked |= dict(zip(new, columns * len(new) if len(columns) == 1 else columns, strict=True))
    wanted: dict[str, Any] = {"known": known}
    if columns:
        wanted["known_columns"] = tuple(asked[table] for table in known)
    if names is not None:
        wanted["known_names"] = names
    for key, value in wanted.items():
        if value != getattr(settings, key):
            run = change(run, f"evaluate.{key}", value)
    return run


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

    Every process of the runtime's world calls this; the leader alone checks, removes and records.

    Args:
        run: the run.
        name: of the stage.
        runtime: what it may use.
        force: make it anew, resuming nothing.
        function: what to call instead of the stage's own function, for a stage that was worked off in parts.
        held: the caller holds the run already, for longer than this stage.

    Returns:
        the stage's summary, or None when there was nothing to do.

    Raises:
        ArtefactError: its inputs cannot be used, or the run has no such step.
        SatoriError: another job works on this run.
    """
    stage, world = pipeline.BY_NAME[name], runtime.world
    devices = world.gather(str(runtime.torch_device()))  # before anything is removed, for it may not be there
    with contextlib.ExitStack() as entered:
        if not held:
            world.lead(lambda: entered.enter_context(lock.hold(run.path, what=stage.command(run.path))))
        inputs = world.lead(lambda: _begin(run, stage, force=force))
        if inputs is None:
            return None
        runtime.apply()
        began_ns = time.time_ns()
        with provenance.Measure() as measure:
            summary = (function or stage.function())(run, runtime)
        peak = max(world.gather(measure.peak_rss_bytes))
        sources, known = summary.pop("sources", {}), summary.pop("files", {})
        world.lead(
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


def _begin(run: Run, stage: pipeline.Stage, *, force: bool) -> dict[str, str] | None:
    """Digests of the inputs, once all is ready for the stage to run; None when it need not."""
    if stage.applies(run) is False:
        raise ArtefactError(f"{run.path}: nothing to do: this run has no {stage.name} ({stage.what})")
    inputs = pipeline.require(run, stage)
    state = pipeline.states(run).get(stage.name, pipeline.State("missing"))
    if state.usable and not force:
        return None
    if state.reason:
        logger.info("%s: %s (%s); making it anew", stage.name, state.state, state.reason)
    run.record(stage.name).unlink(missing_ok=True)
    if force:
        for path in [*stage.outputs(run), *stage.scratch(run)]:
            atomic.remove(path)
    return inputs


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
    sections = config_module.sections(run.config, stage.sections)
    records.write(
        run.record(stage.name),
        Record(
            stage=stage.name,
            digest=provenance.digest_of(files),
            config_digest=options.digest(sections),
            config=sections,
            inputs=inputs,
            sources=sources,
            files=files,
            summary=summary,
            versions=provenance.versions(),
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
        summary: what it found; "arguments": the options that make the same again.
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


def assist(run: Run, name: str, runtime: Runtime, *, work: pipeline.StageFunction, shared: bool) -> dict[str, Any]:
    """Do a part of a stage, for job arrays: its inputs must be fresh; nothing is removed and nothing recorded.

    Args:
        run: the run.
        name: of the stage.
        runtime: what it may use.
        work: the part.
        shared: other parts may be worked on at the same time.

    Raises:
        ArtefactError: the inputs cannot be used.
        SatoriError: another job works on this run.
    """
    stage = pipeline.BY_NAME[name]
    runtime.torch_device()
    with lock.hold(run.path, what=stage.command(run.path), shared=shared):
        pipeline.require(run, stage)
        runtime.apply()
        return work(run, runtime)


def score_part(run: Run, runtime: Runtime, *, mode: str, numbers: list[int], force: bool) -> dict[str, Any] | None:
    """The steps of a job array: "plan", "partition" (these `numbers`) or "finalise".

    Returns, Raises: as `assist`, or `execute` for "finalise".
    """
    from satori_hpc.stages import score  # here: torch is slow to load, and --help does without

    if mode == "finalise":
        return execute(run, "score", runtime, function=score.finalise)
    if mode == "partition":
        return assist(
            run, "score", runtime, work=lambda run, runtime: score.partitions(run, runtime, numbers), shared=True
        )
    return assist(
        run, "score", runtime, work=lambda run, runtime: score.plan(run, runtime, replace=force), shared=False
    )
