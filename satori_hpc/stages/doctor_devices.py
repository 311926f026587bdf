"""The part of the doctor that looks for GPUs, and for why torch does not see one that was asked for."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from satori_hpc.stages.doctor import Report

NODES = Path("/dev")
DRIVER = Path("/proc/driver/nvidia/version")
INJECTED = Path("/.singularity.d/libs")  # where apptainer --nv puts the driver's libraries
ASKED = (
    *("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS", "SLURM_GPUS_PER_NODE", "SLURM_GPUS_PER_TASK"),
    *("SLURM_GPUS_ON_NODE", "CUDA_VISIBLE_DEVICES"),
)
NONE = ("", "0:0", "-1", "NoDevFiles")


def devices(report: "Report") -> None:
    """GPUs and their free memory; a warning where one was asked for, or is there, and torch sees none."""
    import torch  # here: every command imports this module, few need torch

    report.fact("torch threads", torch.get_num_threads())
    if torch.cuda.is_available():
        report.fact("devices", f"cpu, {torch.cuda.device_count()} CUDA")
        report.fact("CUDA", torch.version.cuda)
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            name = torch.cuda.get_device_name(number)
            report.fact(f"cuda:{number}", f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
        return
    report.fact("devices", "cpu (torch sees no CUDA device)")
    why = asked_for()
    if why:
        report.warn(f"{why}, yet torch sees none and would compute on the CPU: {_cause()}")


def asked_for() -> str:
    """Why a GPU is to be expected here; "" if it is not."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in NONE:  # hidden on purpose
        return ""
    for name in ASKED:
        value = os.environ.get(name, "")
        if value not in NONE and not (name.startswith("SLURM_GPUS") and value.rpartition(":")[2] == "0"):
            return f"a GPU was asked for ({name}={value})"
    found = sorted(path.name for path in NODES.glob("nvidia[0-9]*"))
    return f"this machine has GPUs ({', '.join(found)})" if found else ""


def _cause() -> str:
    import torch

    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA; use the CUDA image, or install torch's CUDA wheel"
    if INJECTED.parent.is_dir() and not list(INJECTED.glob("libcuda.so*")):
        return "the container has no driver library; start it with apptainer exec --nv"
    try:
        torch.cuda.init()
        said = "no device"
    except Exception as error:  # whatever it is, its words are the answer
        said = str(error).splitlines()[0]
    driver = DRIVER.read_text().splitlines()[0] if DRIVER.exists() else "no NVIDIA driver is loaded"
    return f"{said} (torch for CUDA {torch.version.cuda}; {driver}); the driver may be too old, or this no GPU node"
