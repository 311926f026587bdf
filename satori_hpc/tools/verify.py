"""Run `verify`: read every artefact again, report damage, and name the commands that repair it.

`status` trusts files whose size and time are as recorded. A disk that fails, a copy that broke off or a program gone
wrong may leave both as they were: here every byte is compared with its SHA-256, of stages, of commands on request, of
files from which a killed command resumes, and of the runs inside the run.
"""

import contextlib
import dataclasses
import shlex
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from satori_hpc.errors import ArtefactError, ConfigError, RunLockedError, quoted
from satori_hpc.interactions.tracks import files as track_files
from satori_hpc.log import progress
from satori_hpc.parallel import memory
from satori_hpc.parallel.world import Runtime
from satori_hpc.report import inspect
from satori_hpc.run import lock, pipeline, provenance, sealed
from satori_hpc.run.layout import Run
from satori_hpc.run.pipeline import Stage
from satori_hpc.run.provenance import Record
from satori_hpc.scoring.store import ScoreStore
from satori_hpc.training import checkpoint

Entry = dict[str, Any]
SHOWN = 100  # findings spelled out for people


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was written.

    Attributes:
        artefact: the file, relative to the run, or the partition of a score store.
        problem: its damage.
        command: repairs it and leaves the rest unchanged.
        partition: the number that `score --partition` takes, if that is all that is needed.
    """

    artefact: str
    problem: str
    command: str
    partition: int | None = None


@dataclass(frozen=True)
class Report:
    """Findings of `verify`.

    Attributes:
        run: the run directory.
        findings: all damage, in the order of the stages; empty = all is as it was written.
        notes: remarks that are no damage, such as partitions that are not scored yet.
        stages: stages whose files were compared with their record.
        files, bytes: number read.
    """

    run: Path
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    stages: tuple[str, ...]
    files: int
    bytes: int

    def commands(self) -> list[str]:
        """Return the repair commands: each once, with partitions combined."""
        numbers: dict[str, set[int]] = {}
        for found in self.findings:
            if found.partition is not None:
                numbers.setdefault(_without_number(found.command), set()).add(found.partition)
        together = {each: f"{each}{','.join(map(str, sorted(those)))}" for each, those in numbers.items()}
        named = (together.get(_without_number(found.command), found.command) for found in self.findings)
        return list(dict.fromkeys(named))

    def lines(self) -> list[str]:
        """Format the findings as text."""
        lines = [f"{found.artefact}: {found.problem}; repair: {found.command}" for found in self.findings[:SHOWN]]
        if len(self.findings) > SHOWN:
            lines.append(f"... and {len(self.findings) - SHOWN} more; --json lists all")
        lines += self.notes
        read = f"{self.files} files, {memory.show(self.bytes)}, of {', '.join(self.stages) or 'no finished stage'}"
        if not self.findings:
            return [*lines, f"all as it was written: {read}"]
        lines.append(f"{len(self.findings)} damaged of {read}; to repair all:")
        return [*lines, *(f"  {command}" for command in self.commands())]

    def as_dict(self) -> dict[str, Any]:
        """Return the findings as plain values for JSON."""
        return {
            "run": str(self.run),
            "findings": [
                {"artefact": found.artefact, "problem": found.problem, "command": found.command}
                for found in self.findings
            ],
            "commands": self.commands(),
            "notes": list(self.notes),
            "stages": list(self.stages),
            "files": self.files,
            "bytes": self.bytes,
        }


def _without_number(command: str) -> str:
    """Return a command up to the numbers of its partitions."""
    head, option, _ = command.rpartition(" --partition ")
    return head + option if option else command


def verify(run: Run, runtime: Runtime) -> Report:
    """Compare every file of every stage that has a record, and every partition that is marked as scored.

    Runs inside the run, of a search or an ensemble, are looked at, too.

    Raises:
        SatoriError: another process holds the lock of the run.
    """
    what = f"satori-hpc verify {quoted(run.path)}"
    with contextlib.ExitStack() as held:
        held.enter_context(lock.hold(run.path, what=what, shared=True))
        checks = _Checks(run)
        checks.collect()
        for path in sorted([*run.ensemble.glob("seed_*/run.toml"), *run.search.glob("trial_*/run.toml")]):
            name = path.parent.relative_to(run.path).as_posix()
            try:
                inner = _Checks(Run.open(path.parent))
                held.enter_context(lock.hold(path.parent, what=what, shared=True, patient=False))
            except (RunLockedError, ConfigError) as error:
                checks.notes.append(f"{name}: not looked at: {error}")
                continue
            inner.collect()
            checks.take(inner, name)
        return checks.work(threads=runtime.cpu_threads())


Job = Callable[[], tuple[int, int, Finding | None]]


@dataclass
class _Checks:
    """Files to be checked, and facts known without reading.

    Attributes:
        run: the run.
        jobs: each reads something and returns its bytes, its files and its damage.
        notes, stages: of the report.
        others: score stores and their markers, relative to the run, that are not those of the record: one finding says
            all of them.
    """

    run: Run
    jobs: list[Job] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def work(self, *, threads: int) -> Report:
        findings, files, total = [], 0, 0
        with ThreadPoolExecutor(threads) as pool:
            done = pool.map(lambda job: job(), self.jobs)
            for read, count, finding in progress(done, what="verify", total=len(self.jobs), unit="file"):
                total, files = total + read, files + count
                if finding is not None:
                    findings.append(finding)
        return Report(self.run.path, tuple(findings), tuple(self.notes), tuple(self.stages), files, total)

    def take(self, inner: "_Checks", name: str) -> None:
        """Add the checks of a run inside this one, named `name`."""

        def renamed(job: Job) -> Job:
            def work() -> tuple[int, int, Finding | None]:
                read, files, found = job()
                return read, files, found and dataclasses.replace(found, artefact=f"{name}/{found.artefact}")

            return work

        self.jobs += [renamed(job) for job in inner.jobs]
        self.notes += [f"{name}: {note}" for note in inner.notes]
        if inner.stages:
            self.stages.append(name)

    def collect(self) -> None:
        self._collect_stages()
        for name in (stage.name for stage in pipeline.ON_REQUEST):
            record = self._record(pipeline.BY_NAME[name])
            if record is not None:
                self.stages.append(name)
                for file, entry in sorted(record.files.items()):
                    command = pipeline.repair(self.run, pipeline.BY_NAME[name], file, record)
                    self.jobs.append(self._file_job(file, entry, command))
        run = quoted(self.run.path)
        if (self.run.tracks / track_files.RECORD).exists():
            self._set(self.run.tracks / track_files.RECORD, track_files.read, lambda told: _tracks_again(run, told))
        for path in sorted(self.run.inspections.glob("*.json")):
            command = f"satori-hpc inspect {run} {path.stem}"
            self._set(path, inspect.read_seal, lambda _, command=command: command)  # type: ignore[misc]
        kept = [self.run.dataset_parts.glob("*.part"), (self.run.path / "interactions").glob("*.parts/**/*.part")]
        for path in [*checkpoint.step_files(self.run.checkpoints), *(path for found in kept for path in sorted(found))]:
            self.jobs.append(self._sealed_job(path))

    def _collect_stages(self) -> None:
        for stage in pipeline.STAGES:
            record = self._record(stage)
            claimed: set[str] = set()
            if stage.name == "score":
                for store, first_number in self._stores(record):
                    claimed |= self._store(store, first_number, record)
            if record is None:
                continue
            self.stages.append(stage.name)
            if stage.name == "prepare" and self.run.dataset.is_symlink():
                continue  # the outer run's
            for name, entry in sorted(record.files.items()):
                if name not in claimed and not self._replaced(name):
                    self.jobs.append(self._file_job(name, entry, pipeline.repair(self.run, stage, name)))
            for name in self._strangers(stage, record):
                if not self._replaced(name):
                    command = f"rm {quoted(self.run.path / name)}"
                    self._add(Finding(name, "was not there when the stage ended", command))

    def _replaced(self, name: str) -> bool:
        """Return whether a file belongs to a store that is another one than the record's."""
        return name.startswith(tuple(self.others))

    def _add(self, finding: Finding) -> None:
        self.jobs.append(lambda: (0, 0, finding))

    def _record(self, stage: Stage) -> Record | None:
        """Return the record of a stage, if there is a sound one."""
        path = self.run.record(stage.name)
        command = f"rm {quoted(path)} && {stage.command(self.run.path)}"
        try:
            return provenance.read(path)
        except ArtefactError as error:
            self._add(Finding(path.relative_to(self.run.path).as_posix(), f"cannot be used ({error})", command))
            return None

    def _set(
        self, file: Path, read: Callable[[Path], dict[str, Any]], command: Callable[[dict[str, Any]], str]
    ) -> None:
        """Add the files listed in a JSON file next to them; `command` rebuilds them, from what that file says."""
        try:
            told = read(file.parent if file.name == track_files.RECORD else file)
        except ArtefactError as error:
            name = file.relative_to(self.run.path).as_posix()
            self._add(Finding(name, f"cannot be used ({error})", command({})))
            return
        for name, entry in sorted(told.get("files", {}).items()):
            path = (file.parent / name).relative_to(self.run.path).as_posix()
            self.jobs.append(self._file_job(path, entry, command(told)))

    def _sealed_job(self, path: Path) -> Job:
        """Return the job of a file that carries its own digest, and that can be done without."""
        command = f"rm {quoted(path)}"

        def job() -> tuple[int, int, Finding | None]:
            try:
                sealed.read_bytes(path, mend=command)
                return path.stat().st_size, 1, None
            except (ArtefactError, FileNotFoundError):
                name = path.relative_to(self.run.path).as_posix()
                return 0, 1, Finding(name, "has other content than was written", command)

        return job

    def _strangers(self, stage: Stage, record: Record) -> list[str]:
        found = provenance.files_of(stage.outputs(self.run))
        return sorted({path.relative_to(self.run.path).as_posix() for path in found} - record.files.keys())

    def _file_job(self, name: str, entry: Entry, command: str) -> Job:
        def job() -> tuple[int, int, Finding | None]:
            read, problem = provenance.compare(self.run.path / name, entry)
            return read, 1, Finding(name, problem, command) if problem else None

        return job

    def _stores(self, record: Record | None) -> list[tuple[ScoreStore, int | None]]:
        """Return the score stores whose plan can be trusted, each with the number of its first partition.

        Partitions are numbered over all methods, and scored by their numbers only when all stores are there: else
        they are unknown. For stores that cannot be trusted all files are compared one by one, if there is a record.
        """
        methods = self.run.config.score.methods
        stores = list(self._trusted(methods, record))
        if len(stores) < len(methods):
            return [(store, None) for store in stores]
        sizes = [len(store.items()) for store in stores]
        return [(store, sum(sizes[:place])) for place, store in enumerate(stores)]

    def _trusted(self, methods: tuple[str, ...], record: Record | None) -> Iterator[ScoreStore]:
        for method in methods:
            path = self.run.scores(method)
            name = path.relative_to(self.run.path).as_posix()
            plan = record.files.get(f"{name}/zarr.json") if record is not None else None
            if not path.exists():
                continue
            try:
                store = ScoreStore(path)
                if store.items() and store.arrays:
                    if plan is not None and provenance.compare(path / "zarr.json", plan)[1]:
                        self._other(store)
                    else:
                        yield store
            except Exception as error:  # a damaged plan may contain anything
                if record is None:
                    problem = f"the plan of this store cannot be read ({error})"
                    self._add(Finding(name, problem, f"satori-hpc score {quoted(self.run.path)} --force"))

    def _other(self, store: ScoreStore) -> None:
        """Report a store with another plan than recorded: planned again since, or its plan is damaged."""
        folders = (store.path, store.marker_folder)
        self.others += [f"{folder.relative_to(self.run.path).as_posix()}/" for folder in folders]
        record = quoted(self.run.record("score"))
        problem = "its plan is not the one that the stage ended with: planned anew since then, or damaged"
        mend = f"rm {record} && satori-hpc score {quoted(self.run.path)}"
        self._add(Finding(f"{self.others[-2]}zarr.json", problem, mend))

    def _store(self, store: ScoreStore, first_number: int | None, record: Record | None) -> set[str]:
        """Add the partitions of a store; the files that they answer for, relative to the run."""
        finished = record is not None or store.complete
        claimed: set[str] = set()
        waiting = 0
        for place, (group, partition) in enumerate(store.items()):
            number = None if first_number is None else first_number + place
            marker = store.marker_folder / f"{group}-{partition}.json"
            if not finished and not marker.exists():
                waiting += 1  # also where a kill came between shard and marker
                continue
            shards = [store.shard_path(group, array, partition) for array in store.arrays]
            names = [path.relative_to(self.run.path).as_posix() for path in (marker, *shards)]
            claimed |= set(names)
            self.jobs.append(self._partition_job(store, group, partition, number, names, record))
        if waiting:
            name, command = (
                store.path.relative_to(self.run.path).as_posix(),
                f"satori-hpc score {quoted(self.run.path)}",
            )
            self.notes.append(f"{name}: {waiting} partitions are not scored yet; go on: {command}")
        return claimed

    def _partition_job(
        self, store: ScoreStore, group: str, partition: int, number: int | None, names: list[str], record: Record | None
    ) -> Job:
        """Return the check of a partition: shards against marker, and the marker against the record."""
        where = f"{store.path.relative_to(self.run.path).as_posix()}, {group} partition {partition}"
        command = f"satori-hpc score {quoted(self.run.path)}"
        if number is not None:
            command += f" --partition {number}"
        elif record is not None:  # complete stages are skipped
            command = f"rm {quoted(self.run.record('score'))} && {command}"
        marker = self.run.path / names[0]

        def job() -> tuple[int, int, Finding | None]:
            try:
                problem = store.complaint(group, partition, verify=True)
            except OSError as error:
                problem = f"cannot be read ({error})"
            read = sum(path.stat().st_size for name in names if (path := self.run.path / name).exists())
            if problem:
                problem = f"{marker.relative_to(store.path.parent)} is missing" if not marker.exists() else problem
                return read, len(names), Finding(where, problem, command, number)
            if record is not None and names[0] in record.files:
                _, problem = provenance.compare(marker, record.files[names[0]])
                if problem:  # shards and marker agree with each other, so that scoring alone would keep them
                    problem = f"{marker.relative_to(store.path.parent)} {problem}"
                    mend = f"rm {quoted(marker)} && {command}"
                    return read, len(names), Finding(where, problem, mend)
            return read, len(names), None

        return job


def _tracks_again(run: str, told: dict[str, Any]) -> str:
    """Return the command that makes a set of tracks again, with the options that it says it was made with."""
    options = [f"--{name}={told[name]}" for name in ("label", "attribute", "genome") if told.get(name) is not None]
    return " ".join(["satori-hpc tracks", run, *map(shlex.quote, options)])
