"""reduce on threads, processes and a running cluster: the same tables, in bounded memory, killed or not."""

import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from dask import config as dask_config

from satori_hpc import pairs
from satori_hpc.data import dataset
from satori_hpc.data.dataset import Coded, Coordinates, Examples
from satori_hpc.errors import ArtefactError, SatoriError
from satori_hpc.interactions import block, tables
from satori_hpc.interactions import stage as interactions_stage
from satori_hpc.interactions.site_pairs import Units
from satori_hpc.motifs.motif import Motif
from satori_hpc.parallel import dask_pool
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import parquet
from satori_hpc.run.layout import INTERACTION_ENDINGS, Run
from satori_hpc.scoring import store as score_store
from satori_hpc.sites import store as motif_store
from tests.fixtures import tasks as fixtures_tasks
from tests.fixtures import tiny
from tests.fixtures.scores import make_store, sample

MIB = 2**20
ROOT = Path(__file__).parents[2]


def make_run(path: Path) -> Run:
    """A run whose sequences, scores (300 pairs of filters in 10 blocks, 36 of TFs in 2) and motifs are made up."""
    run = tiny.change(tiny.make_run(path), reduce={"statistic": "published"})
    rng = np.random.default_rng(1)
    data = Examples(
        tokens=rng.integers(0, 4, (150, 700), dtype=np.uint8),
        labels=np.ones((150, 1), np.uint8),
        split=np.zeros(150, np.uint8),
        names=[f"example{number}" for number in range(150)],
        coordinates=Coordinates(
            chrom=Coded.of(np.full(150, "chr1")),
            start=np.arange(150) * 1000,
            end=np.arange(150) * 1000 + 700,
            strand=np.ones(150, np.int8),
        ),
        targets=["label"],
        task="binary",
    )
    dataset.write(run.dataset, data)
    foreground, background = sample(rng, 150, 25), sample(rng, 130, 25)
    foreground[:, ::3] += np.float32(0.4)
    make_store(run.scores("attention"), foreground, background, filters=25)
    tf = {
        "filter": np.arange(25),
        "tf": [f"TF{number % 9}" for number in range(25)],
        "motif_id": [f"M{number % 9}" for number in range(25)],
        "named": np.arange(25) % 4 > 0,
        **{name: np.zeros(25) for name in ("p", "q", "bits", "chance")},
        "strand": ["+"] * 25,
        **{name: np.zeros(25, int) for name in ("offset", "ties")},
    }
    filters = {
        "filter": np.arange(25),
        **{name: np.zeros(25) for name in ("threshold", "maximum", "information")},
        **{name: np.zeros(25, int) for name in ("sites", "sequences")},
        "consensus": [""] * 25,
        "written": np.zeros(25, bool),
    }
    sequences = np.zeros((300, 400), np.uint8)
    places = np.arange(300)
    dataset.write(
        run.dataset,
        Examples(
            tokens=sequences,
            labels=np.zeros((300, 1), np.uint8),
            split=np.full(300, dataset.TEST, np.uint8),
            names=[f"example{place}" for place in places],
            coordinates=Coordinates(
                Coded.of(np.array(["chr1"] * 300)), 400 * places, 400 * (places + 1), np.ones(300, np.int8)
            ),
            targets=["bound"],
            task="binary",
        ),
    )
    known = [Motif(str(name), np.eye(4), 20) for name in tf["motif_id"]]
    motif_store.write(run.motifs, motifs=[], background=np.full(4, 0.25), filters=filters, tf=tf, known=known)
    return run


def written(run: Run) -> dict[str, bytes]:
    path = run.interactions("attention")
    return {ending: path.with_name(path.name + ending).read_bytes() for ending in INTERACTION_ENDINGS}


def parts_of(run: Run) -> Path:
    return run.interactions("attention").with_name("attention.parts")


def parts_there(run: Run, level: str) -> dict[Path, int]:
    """When the finished parts of a level were written."""
    return {file: file.stat().st_mtime_ns for file in (parts_of(run) / level).glob("block-*.part")}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run")


@pytest.fixture
def expected(run: Run) -> dict[str, bytes]:
    summary = interactions_stage.reduce(run, Runtime(threads=1))
    assert summary["attention"]["called_pairs"] > 10
    assert summary["attention"]["called_tf_pairs"] > 3
    assert not parts_of(run).exists()
    return written(run)


def by_tls(folder: Path) -> dict[str, str]:
    """A certificate, and the variables by which Dask takes it, as in docs/security.md."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [*dask_pool.CERTIFICATE.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    found = {"REQUIRE_ENCRYPTION": "True", "TLS__CA_FILE": str(certificate)}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        found |= {f"TLS__{role}__CERT": str(certificate), f"TLS__{role}__KEY": str(key)}
    return {f"DASK_DISTRIBUTED__COMM__{name}": value for name, value in found.items()}


@pytest.fixture(params=["tcp", "tls"])
def scheduler_file(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A scheduler and a worker of two threads that somebody else started; this process has the certificate, if any."""
    file = tmp_path / "scheduler.json"
    dask = [str(Path(sys.executable).with_name("dask"))]
    for name, value in (by_tls(tmp_path) if request.param == "tls" else {}).items():
        monkeypatch.setenv(name, value)
    dask_config.refresh()
    common = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}
    started = [
        subprocess.Popen(
            [*dask, "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)],
            **common,  # type: ignore[call-overload]
        )
    ]
    until = time.monotonic() + 60
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.1)
    worker = ["worker", "--scheduler-file", str(file), "--nthreads", "2", "--memory-limit", "2GiB", "--no-dashboard"]
    started.append(
        subprocess.Popen([*dask, *worker, "--local-directory", str(tmp_path)], **common)  # type: ignore[call-overload]
    )
    yield file
    for process in reversed(started):
        process.terminate()
        process.wait(timeout=30)
    monkeypatch.undo()
    dask_config.refresh()


def test_threads_do_not_change_a_byte(run: Run, expected: dict[str, bytes]) -> None:
    interactions_stage.reduce(run, Runtime(threads=3))
    assert written(run) == expected


def test_processes_give_the_same_bytes_and_leave_nothing(
    run: Run, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("SLURM_TMPDIR", str(scratch))
    interactions_stage.reduce(run, Runtime(threads=2, cluster="local"))
    assert written(run) == expected
    assert list(scratch.iterdir()) == []


def test_a_running_cluster_gives_the_same_bytes(
    run: Run, expected: dict[str, bytes], scheduler_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="satori_hpc"):
        interactions_stage.reduce(run, Runtime(scheduler_file=scheduler_file))
    assert written(run) == expected
    assert re.search(r"testing, attention: worker \S+ did [1-9]", caplog.text)
    by_tls = json.loads(scheduler_file.read_text())["address"].startswith("tls://")
    assert ("without TLS: whoever can connect to it" in caplog.text) == (not by_tls)
    if by_tls:
        with (
            dask_config.set({"distributed.comm.tls.client.cert": None}),
            pytest.raises(SatoriError, match=r"cannot be reached .*have its certificate, see docs/security\.md"),
        ):
            interactions_stage.reduce(run, Runtime(scheduler_file=scheduler_file))
    with pytest.raises(SatoriError, match="fewer threads"):
        interactions_stage.reduce(run, Runtime(scheduler_file=scheduler_file, memory=64 * MIB))


def test_a_scheduler_that_is_not_there_is_told(run: Run, tmp_path: Path) -> None:
    with pytest.raises(SatoriError, match="no such file"):
        interactions_stage.reduce(run, Runtime(scheduler_file=tmp_path / "none.json"))


def listening() -> list[tuple[str, int]]:
    """Where this process and those that it started listen."""
    mine = psutil.Process()
    found = [each for one in (mine, *mine.children(recursive=True)) for each in one.net_connections("tcp")]
    return [tuple(each.laddr) for each in found if each.status == psutil.CONN_LISTEN]


def greets(at: tuple[str, int], *, encrypted: bool) -> bool:
    """Whether a process of Dask speaks to who connects without a certificate; servers of pages wait to be asked."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    try:
        plain = socket.create_connection(at, timeout=2)
        with plain, anybody.wrap_socket(plain) if encrypted else plain as connection:
            return bool(connection.recv(1))
    except OSError:
        return False


def shows_pages(at: tuple[str, int]) -> bool:
    asked = http.client.HTTPConnection(*at, timeout=2)
    try:
        asked.request("GET", "/info/main/workers.html")
        return asked.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asked.close()


@pytest.mark.parametrize("openssl", [True, False])
def test_other_users_cannot_speak_to_the_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, openssl: bool
) -> None:
    """All listen on the loopback, and take nobody without their certificate; who has none to make it by is warned."""
    if not openssl:
        monkeypatch.setenv("PATH", str(tmp_path))
    before = listening()
    runtime = Runtime(threads=1, cluster="local", memory=2 * 2**30)
    with caplog.at_level("WARNING", logger="satori_hpc"), dask_pool.pool(runtime, tasks=1, least_bytes=MIB) as pool:
        pool.run(fixtures_tasks.note_process, {"task": (str(tmp_path), "task")}, "noting")
        found = [each for each in listening() if each not in before]
        assert len(found) >= 3
        assert {ip for ip, _ in found} == {"127.0.0.1"}
        greeted = [encrypted for encrypted in (False, True) for each in found if greets(each, encrypted=encrypted)]
        assert not any(shows_pages(each) for each in found)
    assert greeted == ([] if openssl else [False] * 3)  # scheduler, worker, and the nanny of that
    assert ("other users of this node could have them run code" in caplog.text) == (not openssl)


def test_workers_start_light_and_local(tmp_path: Path) -> None:
    with dask_pool.pool(Runtime(threads=2, cluster="local", memory=3 * 2**30), tasks=4, least_bytes=MIB) as pool:
        tasks = {f"task{number}": (str(tmp_path), f"task{number}") for number in range(4)}
        pool.run(fixtures_tasks.note_process, tasks, "noting")
    notes = [json.loads(file.read_text()) for file in tmp_path.glob("*.json")]
    assert len(notes) == 4
    assert os.getpid() not in {note["pid"] for note in notes}
    for note in notes:
        assert "torch" not in note["modules"]
        assert note["rss"] < dask_pool.WORKER_BYTES


@pytest.mark.parametrize("kind", ["threads", "local"])
def test_an_error_names_the_task(kind: str) -> None:
    with (
        pytest.raises(SatoriError, match=r"pairs 3 to 5: ZeroDivisionError: number 7"),
        dask_pool.pool(Runtime(threads=1, cluster=kind), tasks=1, least_bytes=MIB) as pool,
    ):
        pool.run(fixtures_tasks.fail, {"pairs 3 to 5": (7,)}, "failing")


def test_a_worker_that_dies_again_and_again_ends_the_run_with_words(tmp_path: Path) -> None:
    with (
        pytest.raises(SatoriError, match=r"pairs 0 to 9: its worker died 4 times.*--memory"),
        dask_pool.pool(Runtime(threads=1, cluster="local"), tasks=1, least_bytes=MIB) as pool,
    ):
        pool.run(fixtures_tasks.die, {"pairs 0 to 9": (str(tmp_path),)}, "dying")
    assert len(list(tmp_path.iterdir())) == 4


def test_workers_follow_from_threads_tasks_and_memory() -> None:
    def shares(threads: int, tasks: int, mebibytes: int) -> tuple[int, int]:
        return dask_pool.shares(
            Runtime(threads=threads, memory=mebibytes * MIB),
            tasks=tasks,
            least_bytes=50 * MIB,
            base_bytes=100 * MIB,
            worker_bytes=26 * MIB,
        )

    assert shares(4, 100, 1000) == (4, 175 * MIB)
    assert shares(4, 2, 1000) == (2, 400 * MIB)
    assert shares(4, 100, 350) == (2, 75 * MIB)
    assert shares(4, 100, 200) == (1, 50 * MIB)
    with pytest.raises(SatoriError, match=r"at least 200\.0 MiB of memory here; --memory is 199\.0 MiB"):
        shares(4, 100, 199)


def test_a_reduction_killed_goes_on_with_its_parts(run: Run, expected: dict[str, bytes]) -> None:
    code = f"from tests.fixtures import tasks as helpers_tasks; helpers_tasks.slow_reduction({str(run.path)!r}, 0.3)"
    run.interactions("attention").with_name("attention.parquet").unlink()  # of another reduction, which stays till then
    killed = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    until = time.monotonic() + 240  # the loops are compiled first
    while len(parts_there(run, "filters")) < 4 and time.monotonic() < until:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    before = parts_there(run, "filters/examples") | parts_there(run, "filters")
    assert 3 + 4 <= len(before) < 3 + 10
    assert not run.interactions("attention").with_name("attention.parquet").exists()
    kept: dict[Path, int] = {}

    def look(*_: object) -> None:
        for level in ("filters/examples", "filters", "tfs"):
            kept.update(parts_there(run, level))

    with pytest.MonkeyPatch.context() as patch:
        honest = tables.write
        patch.setattr(interactions_stage.tables, "write", lambda *arguments: (look(), honest(*arguments)))
        interactions_stage.reduce(run, Runtime(threads=2))
    assert len(kept) == 3 + 10 + 2
    assert before.items() <= kept.items()
    assert written(run) == expected
    assert not parts_of(run).exists()


def test_parts_that_are_damaged_or_foreign_are_made_again(run: Run, expected: dict[str, bytes]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interactions_stage.files, "remove_folder", lambda path: None)
        interactions_stage.reduce(run, Runtime(threads=1))
    files = sorted(parts_there(run, "filters"))
    assert len(files) == 10
    files[3].write_bytes(files[3].read_bytes()[:-9])
    foreign = parquet.read_table(files[5]).replace_schema_metadata({"satori_hpc_digest": "other"})
    parquet.write_table(files[5], foreign)
    files[7].unlink()
    parquet.write_table(files[9], parquet.read_table(files[9])[:-1])
    (parts_of(run) / "filters" / ".block-00001.part.12345678.partial").write_text("left by a killed worker")
    tfs = sorted(parts_there(run, "tfs"))
    tfs[1].write_bytes(tfs[0].read_bytes())  # of another block, so of other pairs
    seen: list[tuple[str, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        honest = block.parts.write
        patch.setattr(
            block.parts,
            "write",
            lambda folder, block, columns, **more: (
                seen.append((folder.name, block)),
                honest(folder, block, columns, **more),
            ),
        )
        interactions_stage.reduce(run, Runtime(threads=1))
    assert sorted(seen) == [*(("filters", number) for number in (3, 5, 7, 9)), ("tfs", 1)]
    assert written(run) == expected


def test_other_scores_or_settings_start_the_parts_anew(run: Run, tmp_path: Path) -> None:
    store = score_store.open_complete(run.scores("attention"))
    folder, units = tmp_path / "parts", Units.motifs(25)
    seen: list[int] = []
    honest = block.parts.write

    def count(**change: object) -> int:
        seen.clear()
        settings = interactions_stage.Reduce(**{"cutoff": "0.5", **change})  # type: ignore[arg-type]
        interactions_stage.reduce_store(store, folder, settings=settings, runtime=Runtime(threads=1), units=units)
        return len(seen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            block.parts,
            "write",
            lambda folder, block, columns, **more: (seen.append(block), honest(folder, block, columns, **more)),
        )
        assert count() == 10
        assert count() == count(alpha=0.2) == 0  # which decides on q-values, long after the tests
        assert count(min_examples=11) == 10
        assert count(min_examples=11, cutoff="0.6") == 10
        assert count(min_examples=11, cutoff="mean") == 10 + 3  # after the partitions, whose mean it is
        assert count() == 10
        units = Units(tuple(number % 9 for number in range(25)), 9)
        assert count() == 2
        units = Units(units.of_motif, 9, "sum")
        assert count() == 2
        units = Units.motifs(25)
        assert count() == 10
        rng = np.random.default_rng(9)
        other = make_store(tmp_path / "other.zarr", sample(rng, 150, 25), sample(rng, 130, 25), filters=25)
        store = other
        assert count() == 10


def test_a_damaged_shard_is_named_with_what_mends_it(run: Run) -> None:
    store = score_store.open_complete(run.scores("attention"))
    shard = store.shard_path("background", "value", 1)
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    for kind in ("threads", "local"):
        with pytest.raises(ArtefactError, match=r"background/value/c/1/0: .*damaged.*satori-hpc verify"):
            interactions_stage.reduce(run, Runtime(threads=1, cluster=kind))


def peak(path: Path, memory: int, statistic: str = "published") -> int:
    call = f"peak_of_reduction({str(path)!r}, {memory}, {statistic!r})"
    code = f"from tests.fixtures import tasks as helpers_tasks; helpers_tasks.{call}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.slow
def test_memory_is_bounded_by_the_setting_and_not_by_the_examples(tmp_path: Path) -> None:
    peaks, within = {}, {}
    for rows, bounds in ((30_000, [80 * MIB]), (120_000, [80 * MIB, 0])):
        rng = np.random.default_rng(rows)
        path = tmp_path / f"{rows}.zarr"
        sides = (rng.random((rows, pairs.count(16)), dtype=np.float32) for _ in range(2))
        make_store(path, *sides, filters=16, shard_examples=1024)
        for memory in bounds:
            peaks[rows, memory] = peak(path, memory)
        within[rows] = peak(path, 80 * MIB, "within-sequence")
    assert peaks[120_000, 80 * MIB] < 80 * MIB
    assert peaks[120_000, 80 * MIB] < peaks[30_000, 80 * MIB] + 20 * MIB
    assert peaks[120_000, 0] > 105 * MIB  # all of a block, 4 x 240,000 x 120 bytes, were there no bound
    assert within[120_000] < 80 * MIB
    assert within[120_000] < within[30_000] + 20 * MIB
