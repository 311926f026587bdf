"""Who is let in where processes meet: no stranger, and no socket is open to more networks than it must be."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from satori_hpc.errors import SatoriError
from satori_hpc.parallel import torch_group
from tests.fixtures.tiny import make_run
from tests.parallel.ranks import Ranks

STRANGER = Path(__file__).with_name("stranger.py")
SOON = 60
SRUN = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"}
MEET = """
import sys, psutil, torch
from pathlib import Path
from satori_hpc.parallel import torch_group
with torch_group.session(Path(sys.argv[1]), join_timeout=60) as world:
    total = torch.ones(3)
    world.all_reduce_sum(total)
    mine = [f"{each.laddr.ip}" for each in psutil.Process().net_connections() if each.status == "LISTEN"]
    files = [[str(path), oct(path.stat().st_mode & 0o777)] for path in Path(sys.argv[1]).glob(".rendezvous-*")]
    import json; print(json.dumps([total.tolist(), world.local_rank, world.all_gather(mine), files]))
"""


DIE = """
import os, signal, sys
from pathlib import Path
from satori_hpc.parallel import torch_group
with torch_group.session(Path(sys.argv[1]), join_timeout=60) as world:
    world.barrier()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def at_port(host: str) -> dict[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return {"MASTER_ADDR": host, "MASTER_PORT": str(free.getsockname()[1])}


def listening(pid: int) -> list[tuple[str, int]]:
    return [tuple(each.laddr) for each in psutil.Process(pid).net_connections() if each.status == "LISTEN"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "wait_s", "said"), [("guess", 8, "1 of 2 processes have not arrived"), ("list", 20, "was not sent by a")]
)
def test_a_stranger_at_the_port_is_not_let_in(tmp_path, how, wait_s, said):
    run, marker = make_run(tmp_path / "run"), tmp_path / "marker"
    argv = [sys.executable, str(STRANGER), str(marker), how]  # first: loading torch takes seconds
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    stranger = subprocess.Popen(argv, text=True, **pipes)
    argv = ["train", run.path, "--join-timeout", wait_s, "--device", "cpu"]
    ranks = Ranks(1, argv, env={**SRUN, "SLURM_PROCID": "0", **at_port("127.0.0.1")})
    leader = ranks.processes[0]
    until = time.monotonic() + SOON
    while not (found := listening(leader.pid)):
        assert leader.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    assert [ip for ip, _ in found] == ["127.0.0.1"]
    out, told = stranger.communicate(f"{found[0][1]}\n", timeout=SOON)
    assert ("joined" in out) == (how == "list"), told
    codes, _, errors = ranks.finish(SOON)
    assert codes == [1]
    assert said in errors[0]
    assert len(errors[0].splitlines()) == 1
    assert not marker.exists()
    assert not list(run.path.glob(".rendezvous-*"))


@pytest.mark.parametrize("host", [None, "127.0.0.1", "localhost", socket.gethostname()])
def test_processes_of_one_node_listen_at_the_named_address_and_the_loopback_alone(tmp_path, host):
    program = tmp_path / "meet.py"
    program.write_text(MEET)
    codes, out, errors = Ranks(2, [program, tmp_path], env=at_port(host) if host else {}).finish(SOON)
    assert codes == [0, 0], errors
    for rank in range(2):
        total, local_rank, sockets, files = json.loads(out[rank])
        assert (total, local_rank) == ([2.0, 2.0, 2.0], rank)
        assert [mode for _, mode in files] == ["0o600"]
        assert all(sockets)
        for ip in {ip for theirs in sockets for ip in theirs}:
            assert ip not in ("0.0.0.0", "::")
            if host in (None, "127.0.0.1"):
                assert ip == "127.0.0.1"
    assert not list(tmp_path.glob(".rendezvous-*"))


@pytest.mark.parametrize("by", ["file", "port"])
def test_what_a_killed_job_has_left_does_not_count(tmp_path, by):
    for name, text in (("die.py", DIE), ("meet.py", MEET)):
        (tmp_path / name).write_text(text)
    env = {**SRUN, **(at_port("127.0.0.1") if by == "port" else {})}
    codes, _, errors = Ranks(2, [tmp_path / "die.py", tmp_path], env=env).finish(SOON)
    assert -9 in codes, errors
    (left,) = tmp_path.glob(".rendezvous-*")
    for old in (False, True):
        os.utime(left, (time.time() - torch_group.FORGOTTEN_S - 1,) * 2 if old else None)
        again = Ranks(2, [tmp_path / "meet.py", tmp_path], env={**env, "SLURM_RESTART_COUNT": str(1 + old)})
        codes, _, errors = again.finish(SOON)
        assert codes == [0, 0], errors
        assert list(tmp_path.glob(".rendezvous-*")) == ([] if old else [left]), "what is a day old is removed"


def test_a_file_with_a_secret_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / ".rendezvous-7"
    os.close(torch_group.open_private(path, os.O_RDWR | os.O_CREAT))
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    refused = r"-7 keeps the secret of a job, .* mode 640, expected owner \d+ and no rights for others"
    for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
        with pytest.raises(SatoriError, match=refused):
            torch_group.open_private(path, flags)
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(SatoriError, match=r"-7 is not there, .* must see the same run directory"):
        torch_group.open_private(path, os.O_RDONLY)
    (tmp_path / "elsewhere").chmod(0o600)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        torch_group.open_private(path, os.O_RDWR | os.O_CREAT)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_of_all_networks_is_refused(tmp_path, host):
    env = {**SRUN, "SLURM_PROCID": "0", **at_port(host)}
    ranks = Ranks(1, ["train", make_run(tmp_path / "run").path], env=env)
    codes, _, errors = ranks.finish(SOON)
    assert codes == [1]
    assert "means all networks" in errors[0]
