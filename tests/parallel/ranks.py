"""Ranks without a launcher: processes with the variables that Slurm or torchrun would set."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
LAUNCHERS = (
    "PMI_",
    "PMIX_",
    "OMPI_",
    "SLURM_",
    "MPI_",
    "HYDRA_",
    "HYDI_",
    "TORCHELASTIC_",
    "MASTER_",
    "RANK",
    "WORLD_",
)


class Ranks:
    """The ranks of a job, all on this machine, as srun would start them.

    Args:
        size: their number; 1 = no launcher.
        argv: script or options of python and what follows, or the arguments of satori-hpc.
        env: further variables, such as MASTER_ADDR and MASTER_PORT; without these they meet in a file.
    """

    def __init__(self, size: int, argv: list[object], *, env: dict[str, str] | None = None) -> None:
        outside = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHERS)}
        program = [str(argument) for argument in argv]
        if not program[0].endswith(".py"):
            program = ["-m", "satori_hpc", *program]
        job = {"SLURM_JOB_ID": uuid.uuid4().hex[:8], "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": str(size)}
        self.processes = [
            subprocess.Popen(
                [sys.executable, *program],
                env={
                    **outside,
                    "PYTHONPATH": str(ROOT),
                    "OMP_NUM_THREADS": "1",
                    **({**job, "SLURM_PROCID": str(rank)} if size > 1 else {}),
                    **(env or {}),
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(size)
        ]

    def send(self, number: signal.Signals, *ranks: int) -> None:
        """Signal these ranks; all if none is named."""
        for rank in ranks or range(len(self.processes)):
            self.processes[rank].send_signal(number)

    def finish(self, timeout: float = 300) -> tuple[list[int], list[str], list[str]]:
        """Exit status, stdout and stderr of every rank; none is left running."""
        try:
            said = [process.communicate(timeout=timeout) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
        return [process.returncode for process in self.processes], [out for out, _ in said], [err for _, err in said]
