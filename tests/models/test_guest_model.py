"""A model family of a plug-in, one file, goes from `new` to the report; what it lacks is said."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from satori_hpc.config import toml
from tests.fixtures import tiny

ROOT = Path(__file__).parents[2]
GUEST = ROOT / "tests" / "fixtures" / "guest_model.py"  # not imported here, so that nobody else finds it registered
SETTINGS = (
    'score.methods=["attention", "epistasis", "dfim"]',
    "score.dfim.rule=gauss-legendre",
    "score.dfim.steps=2",
    "score.sites.max_sites=4",
    "score.max_examples=30",
    "score.shard_examples=20",
    "model.small.channels=10",
)


def python(*arguments: object, path: Path, code: int = 0) -> str:
    """What Python says, with the folder `path` for modules of the user's own."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{path}"}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, env=environment, cwd=path, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def new(path: Path, *settings: str) -> None:
    """A run with a plug-in my_model beside it."""
    small = toml.replace(tiny.tiny_config(), "prepare.simulated.examples", 200)
    (path / "tiny.toml").write_text(toml.render(small))
    plain = ["-m", "satori_hpc", "new", "run", "--like", "tiny.toml", "--plugin", "my_model"]
    python(*plain, *(part for each in settings for part in ("--set", each)), path=path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of my_model.py and of a run that was made with it."""
    folder = tmp_path_factory.mktemp("guest")
    shutil.copy(GUEST, folder / "my_model.py")
    new(folder, "model.architecture=small", *SETTINGS)
    python("-m", "satori_hpc", "all", "run", "--threads", 1, path=folder)
    return folder


def test_a_model_family_of_a_plug_in_goes_from_new_to_the_report(finished: Path) -> None:
    run = finished / "run"
    text = (run / "run.toml").read_text()
    assert 'architecture = "small"' in text
    assert "# a convolution with one head of attention\n[model.small]\n" in text
    assert "channels = 10\n" in text
    report = (run / "report.html").read_text()
    assert "The network is a convolution with one head of attention: 10 filters of 9 bp" in report
    record = json.loads((run / "provenance" / "train.json").read_text())
    assert record["config"]["model"]["small"] == {"channels": 10, "dropout": 0.1}
    assert len(record["config"]["plugins"]["my_model"]) == 64
    for method in ("attention", "epistasis", "dfim"):
        assert f"Interactions: {method}" in report
    scores = "from satori_hpc.scoring.store import ScoreStore; import numpy as np, sys; "
    scores += "s = ScoreStore(sys.argv[1]); print(np.isfinite(s.read_scores('foreground', 0, s.pairs)).sum())"
    for method in ("attention", "epistasis", "dfim"):
        assert int(python("-c", scores, run / "scores" / f"{method}.zarr", path=finished)) > 10


def test_the_trained_network_is_a_plain_module_for_others(finished: Path) -> None:
    program = """
import torch
from satori_hpc.training.scorable import load_model
model = load_model("run")
print(type(model.network.module).__name__, tuple(model(torch.zeros(3, 4, 120)).shape), model.fast_paths)
print(tuple(model.attention(torch.zeros(3, 4, 120)).shape), tuple(model.site_activations(torch.zeros(3, 4, 120)).shape))
"""
    found = python("-c", program, path=finished).splitlines()
    assert found == ["Small (3, 1) None", "(3, 1, 24, 24) (3, 10, 120)"]


def test_a_checkpoint_whose_family_is_not_known_is_refused(finished: Path) -> None:
    program = "from satori_hpc.training.scorable import load_model; load_model('run/checkpoints/best.pt')"
    said = python("-c", program, path=finished, code=1)
    assert "its network is of the family 'small', known here: basic, deep; import the module" in said


def test_training_that_is_killed_goes_on_to_the_same_weights(finished: Path, tmp_path: Path) -> None:
    """Layers of a guest draw from torch's own generator; what they draw follows from the step all the same."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    program = """
import numpy as np, sys
from satori_hpc.training import predictions
from satori_hpc.run.layout import Run
np.save(sys.argv[1], predictions.read(Run.open("run").predictions)[0])
"""
    python("-c", program, "whole.npy", path=finished)
    run = tmp_path / "run"
    (run / "provenance" / "train.json").unlink()
    for path in (run / "checkpoints").glob("*.pt"):
        if path.name != "step_00000006.pt":
            path.unlink()
    assert [path.name for path in (run / "checkpoints").glob("*.pt")] == ["step_00000006.pt"]
    said = python("-m", "satori_hpc", "train", "run", "--threads", 1, path=tmp_path)
    assert "training goes on after 1 epochs" in said
    python("-c", program, "resumed.npy", path=tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "resumed.npy"), np.load(finished / "whole.npy"))


@pytest.mark.parametrize(
    ("settings", "stage", "expected"),
    [
        (("train.entropy=0.1",), "train", "networks of the family 'plain' give back no entropy of attention"),
        ((), "motifs", "gives back no first-layer activations, so it has no motifs and no sites"),
    ],
    ids=["entropy", "sites"],
)
def test_what_a_family_does_not_offer_is_said(
    settings: tuple[str, ...], stage: str, expected: str, tmp_path: Path
) -> None:
    (tmp_path / "my_model.py").write_text(
        "from torch import nn\nfrom satori_hpc import models\n\n\n"
        "@models.register('plain', sentence='one layer')\n"
        "def plain(settings, *, length, targets, **unused):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(4 * length, targets))\n"
    )
    new(tmp_path, "model.architecture=plain", "train.epochs=1", *settings)
    said = ""
    for name in ("prepare", "train", "motifs"):
        said = python("-m", "satori_hpc", name, "run", path=tmp_path, code=int(name == stage))
        if name == stage:
            break
    assert expected in said
    assert "Traceback" not in said
