"""Independent tasks on Dask: on threads, on processes of this node, or on a cluster that is running already.

A task is a function that workers can import and a few paths and numbers; it writes its result to disk. Dask is
therefore only used to distribute tasks, and to report failed ones.
"""

import contextlib
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from satori_hpc.errors import SatoriError
from satori_hpc.log import logger, progress
from satori_hpc.parallel import memory, signals
from satori_hpc.parallel.world import Runtime

SHARE = 0.8  # of the job's memory, when no bound is given
SLACK_BYTES = 24 * 2**20  # per task: memory kept by the allocator, tables, messages
WORKER_BYTES = 448 * 2**20  # a worker process before it does anything: interpreter, libraries, compiled loops
SECONDS_FOR_WORKERS = 60
HERE = "127.0.0.1"
ROLES = ("scheduler", "worker", "client")
# A key and a certificate that it signs itself, for the processes of one cluster.
CERTIFICATE = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=satori-hpc"
Tasks = dict[str, tuple[Any, ...]]  # name for people -> arguments


@dataclass(frozen=True)
class Pool:
    """Where tasks can run.

    Attributes:
        task_bytes: memory that each task may use.
        keep: whether a worker may keep it until the pool is closed; one that is not ours may not.
        run: (function, tasks, what) -> None; runs all tasks, reporting the progress of `what`.
    """

    task_bytes: int
    keep: bool
    run: Callable[[Callable[..., Any], Tasks, str], None]


@contextlib.contextmanager
def pool(runtime: Runtime, *, tasks: int, least_bytes: int) -> Iterator[Pool]:
    """Open a pool as the runtime requests; all its processes and files are closed when the block ends.

    Args:
        runtime: threads, memory, cluster and scheduler_file count here.
        tasks: how many there will be.
        least_bytes: memory without which a task cannot work.

    Raises:
        SatoriError: there is too little memory for a single task, or the cluster cannot be reached.
    """
    if runtime.scheduler_file is not None:
        opened = _on_scheduler(runtime, runtime.scheduler_file, least_bytes=least_bytes)
    elif runtime.cluster == "local":
        opened = _on_processes(runtime, tasks=tasks, least_bytes=least_bytes)
    else:
        opened = _on_threads(runtime, tasks=tasks, least_bytes=least_bytes)
    with opened as found:
        logger.debug("%s of memory for each task", memory.show(found.task_bytes))
        yield found


def call(name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Run a task; errors name it."""
    try:
        function(*arguments)
    except SatoriError:
        raise
    except MemoryError:
        raise SatoriError(f"{name}: the memory is used up; give more of it, or fewer --threads") from None
    except Exception as error:
        raise SatoriError(f"{name}: {type(error).__name__}: {error}") from error


def shares(runtime: Runtime, *, tasks: int, least_bytes: int, base_bytes: int, worker_bytes: int) -> tuple[int, int]:
    """Return (workers, bytes for the task of each): as many workers as there are threads, tasks, and memory for.

    Args:
        runtime: its threads, and its memory: of all processes together.
        tasks: how many there will be.
        least_bytes: memory without which a task cannot work.
        base_bytes: already used by this process.
        worker_bytes: needed by each worker besides its task.

    Raises:
        SatoriError: too little memory for one worker.
    """
    total = runtime.memory or int(SHARE * memory.limit_bytes())
    workers = max(1, min(runtime.cpu_threads(), tasks))
    while True:
        task_bytes = (total - base_bytes) // workers - worker_bytes - SLACK_BYTES
        if task_bytes >= least_bytes:
            return workers, task_bytes
        if workers == 1:
            needed = base_bytes + worker_bytes + SLACK_BYTES + least_bytes
            raise SatoriError(
                f"reducing needs at least {memory.show(needed)} of memory here; "
                + (f"--memory is {memory.show(total)}" if runtime.memory else f"this job has {memory.show(total)}")
            )
        workers -= 1


@contextlib.contextmanager
def _on_threads(runtime: Runtime, *, tasks: int, least_bytes: int) -> Iterator[Pool]:
    import dask
    from dask.callbacks import Callback

    resident = int(psutil.Process().memory_info().rss)
    workers, task_bytes = shares(runtime, tasks=tasks, least_bytes=least_bytes, base_bytes=resident, worker_bytes=0)

    def run(function: Callable[..., Any], tasks: Tasks, what: str) -> None:
        delayed = dask.delayed(call, pure=False)
        ticks = progress(range(len(tasks)), what=what, unit="block")
        next(ticks, None)
        with Callback(posttask=lambda *_: next(ticks, None)):
            dask.compute(
                *[delayed(name, function, arguments) for name, arguments in tasks.items()],
                scheduler="threads",
                num_workers=workers,
            )

    yield Pool(task_bytes, True, run)


@contextlib.contextmanager
def _on_processes(runtime: Runtime, *, tasks: int, least_bytes: int) -> Iterator[Pool]:
    import dask
    from distributed import Client, LocalCluster

    resident = int(psutil.Process().memory_info().rss)
    workers, task_bytes = shares(
        runtime, tasks=tasks, least_bytes=least_bytes, base_bytes=resident, worker_bytes=WORKER_BYTES
    )
    scratch = os.environ.get("SLURM_TMPDIR") or tempfile.gettempdir()  # which is $TMPDIR where that is set
    settings: dict[str, Any] = {
        # Dask must not spill a worker's memory; at its limit a worker is terminated with a message.
        **{f"distributed.worker.memory.{name}": False for name in ("target", "spill", "pause")},
        "distributed.worker.memory.terminate": 0.98,
        "distributed.admin.tick.limit": "1h",  # compiling blocks the interpreter; no reason to warn
        # Scheduler and workers always open a dashboard port; it serves nothing.
        **{f"distributed.{who}.http.routes": [] for who in ("scheduler", "worker")},
    }
    with (
        tempfile.TemporaryDirectory(prefix="satori-hpc-", dir=scratch, ignore_cleanup_errors=True) as folder,
        dask.config.set({**settings, "temporary-directory": folder}),
        contextlib.ExitStack() as opened,
    ):
        with signals.delayed():  # workers of a cluster that is half open would stay
            local = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=WORKER_BYTES + SLACK_BYTES + task_bytes,
                local_directory=folder,
                host=HERE,
                security=_security(Path(folder)),
                dashboard_address=f"{HERE}:0",
                scheduler_kwargs={"dashboard": False},
                silence_logs="CRITICAL",
            )
            client = Client(opened.enter_context(local), set_as_default=False)
            opened.enter_context(client)
        yield Pool(task_bytes, True, _runner(client))


def must_exist(runtime: Runtime) -> None:
    """Refuse a scheduler file that is not there.

    Raises:
        SatoriError: it is not.
    """
    file = runtime.scheduler_file
    if file is not None and not file.exists():
        raise SatoriError(f"--scheduler-file {file}: no such file; the scheduler writes it when it starts")


def _security(folder: Path) -> Any:
    """Return Dask's `Security` for users who can read `folder` only; None without openssl.

    Anyone who can connect to a scheduler or worker can run code there, and every user of a node reaches its loopback.
    """
    from distributed.security import Security

    key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
    try:
        subprocess.run(
            [*CERTIFICATE.split(), "-keyout", key, "-out", certificate], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        words = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        logger.warning(
            "no certificate for the workers (openssl: %s): other users of this node could have them run code; on a "
            "node that is not yours alone, use --cluster threads, or see docs/security.md",
            words[-1] if words else "",
        )
        return None
    roles = {f"tls_{role}_{what}": file for role in ROLES for what, file in (("key", key), ("cert", certificate))}
    return Security(require_encryption=True, tls_ca_file=certificate, **roles)


@contextlib.contextmanager
def _on_scheduler(runtime: Runtime, file: Path, *, least_bytes: int) -> Iterator[Pool]:
    from distributed import Client

    must_exist(runtime)
    try:
        client = Client(scheduler_file=str(file), set_as_default=False, timeout=SECONDS_FOR_WORKERS)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SatoriError(
            f"--scheduler-file {file}: the scheduler cannot be reached ({error}); one that speaks TLS takes those who "
            "have its certificate, see docs/security.md"
        ) from None
    with client:
        if not client.scheduler.address.startswith("tls://"):
            logger.warning(
                "%s: the scheduler is at %s, without TLS: whoever can connect to it can have its workers run code; see "
                "docs/security.md",
                *(file, client.scheduler.address),
            )
        try:
            client.wait_for_workers(1, timeout=SECONDS_FOR_WORKERS)
        except TimeoutError:
            raise SatoriError(f"--scheduler-file {file}: no worker joined in {SECONDS_FOR_WORKERS} s") from None
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        limit = min(
            (runtime.memory or int(SHARE * (worker["memory_limit"] or memory.limit_bytes()))) // worker["nthreads"]
            for worker in workers
        )
        task_bytes = limit - WORKER_BYTES - SLACK_BYTES
        if task_bytes < least_bytes:
            raise SatoriError(
                f"--scheduler-file {file}: a thread of a worker has {memory.show(limit)} of memory, reducing needs "
                f"{memory.show(least_bytes + WORKER_BYTES + SLACK_BYTES)}; start workers with fewer threads"
            )
        yield Pool(task_bytes, False, _runner(client, tell=True))


def _runner(client: Any, *, tell: bool = False) -> Callable[[Callable[..., Any], Tasks, str], None]:
    """Return a function that runs tasks on the client's cluster; `tell` logs the number per worker."""
    from distributed import KilledWorker, as_completed

    def run(function: Callable[..., Any], tasks: Tasks, what: str) -> None:
        futures = {
            client.submit(call, name, function, arguments, pure=False): name for name, arguments in tasks.items()
        }
        try:
            done = as_completed(futures, loop=client.loop)
            for future in progress(done, what=what, total=len(futures), unit="block"):
                error = future.exception() if future.status != "cancelled" else None
                if isinstance(error, SatoriError):
                    raise error
                if isinstance(error, KilledWorker):
                    raise SatoriError(
                        f"{futures[future]}: its worker died {error.allowed_failures + 1} times, perhaps for using too "
                        "much memory; what is finished is kept: run the same command again with more --memory or fewer "
                        "--threads"
                    )
                if future.status != "finished":
                    raise SatoriError(
                        f"{futures[future]}: {'lost with its scheduler' if error is None else error!r}; what is "
                        "finished is kept: run the same command again"
                    )
            if tell:
                logger.info("%s: %s", what, _shares_done(client, list(futures)))
        finally:
            client.cancel(list(futures))

    return run


def _shares_done(client: Any, futures: list[Any]) -> str:
    """Describe the number of tasks per worker: a worker with zero tasks is probably unreachable."""
    done = Counter(address for holders in client.who_has(futures).values() for address in holders)
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return ", ".join(f"worker {worker['name']} did {done[address]}" for address, worker in workers.items())
