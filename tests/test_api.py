"""The Python API: examples of docs/api.md run as they stand, on a finished run."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

import satori_hpc
from satori_hpc.config import Dfim
from satori_hpc.errors import InputError
from satori_hpc.interactions import block
from satori_hpc.interactions.site_pairs import Units
from satori_hpc.models.base import one_hot
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import execute
from satori_hpc.run.layout import Run
from satori_hpc.scoring import generic, store
from satori_hpc.scoring.base import Batch
from tests.fixtures import tiny
from tests.fixtures.runs import TinyRun

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def run(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = tiny.change(tiny_run("motifs", tmp_path_factory.mktemp("api") / "run"), score={"methods": ("attention",)})
    for stage in ("score", "reduce"):
        execute.execute(made, stage, Runtime(device="cpu", threads=1))
    return made


def test_the_examples_of_the_page_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.path.parent)
    examples = re.findall(r"```python\n(.*?)```", (DOCS / "api.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        exec(compile(example, "docs/api.md", "exec"), {})


def test_scores_by_example_are_those_that_the_reduction_lays_out(run: Run) -> None:
    scores = satori_hpc.read_scores(run, "attention")
    opened = store.open_complete(run.scores("attention"))
    units = Units.motifs(opened.motifs)
    expected, distance = block.read_scores(opened, units, "foreground", 0, units.pairs)
    assert len(scores) == len(expected) == len(scores.examples)
    for row, found in enumerate(scores):
        assert found.example == scores.examples[row]
        largest = np.full(units.pairs, np.nan, np.float32)
        table = found.sites.to_numpy(dtype=object)
        for a, _, _, _, _, i in table:
            for b, _, _, _, _, u in table:
                if a < b and i != u:
                    pair = int(a * (2 * opened.motifs - a - 1) // 2 + b - a - 1)
                    if not found.value[i, u] <= largest[pair]:
                        largest[pair] = found.value[i, u]
        np.testing.assert_array_equal(largest, expected[row])
    assert (scores[3].value == scores[3].value.T)[~np.isnan(scores[3].value)].all()
    assert scores[-1].example == scores.examples[-1]
    with pytest.raises(IndexError):
        scores[len(scores)]
    assert distance.shape == expected.shape


def test_pairs_are_tested_as_scipy_does() -> None:
    rng = np.random.default_rng(2)
    foreground, background = rng.normal(size=(40, 3)).astype(np.float32), rng.normal(size=(30, 3)).astype(np.float32)
    foreground[5, 0] = np.nan
    against = satori_hpc.test_pairs(foreground, background)
    above = satori_hpc.test_pairs(foreground, margin=0.1)
    for pair in range(3):
        x = foreground[~np.isnan(foreground[:, pair]), pair].astype(np.float64)
        expected = stats.mannwhitneyu(x, background[:, pair].astype(float), alternative="greater", method="asymptotic")
        assert against["p"][pair] == pytest.approx(expected.pvalue, rel=1e-10)
        less = (foreground[:, pair] - np.float32(0.1))[~np.isnan(foreground[:, pair])].astype(np.float64)
        expected = stats.wilcoxon(less, alternative="greater", correction=False, method="asymptotic")
        assert above["p"][pair] == pytest.approx(expected.pvalue, rel=1e-10)
    np.testing.assert_allclose(above["q"], stats.false_discovery_control(above["p"]))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda run: satori_hpc.read_interactions(run, "attention", level="cell"), "expected 'tf' or 'filter'"),
        (lambda run: satori_hpc.read_scores(run, "attention", group="middle"), "expected 'foreground' or 'background'"),
        (lambda run: satori_hpc.test_pairs(np.zeros((3, 2)), np.zeros((3, 4))), "of as many pairs"),
        (
            lambda run: satori_hpc.score_pairs(None, torch.zeros(1, 4, 9), [], method="attention"),
            "method = 'attention': expected one that scores given sites: dfim, epistasis",
        ),
    ],
)
def test_what_cannot_be_is_one_clear_error(run: Run, call, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=says):
        call(run)


@pytest.mark.parametrize("method", ["dfim", "epistasis"])
def test_every_method_of_given_sites_scores_them_by_its_name(run: Run, method: str) -> None:
    model = satori_hpc.load_model(run.path)
    tokens = torch.randint(0, 4, (2, model.length), generator=torch.Generator().manual_seed(3)).to(torch.uint8)
    keys = torch.tensor([[0, 0], [0, 1]])
    sites = [np.array([[10, 20], [40, 52], [70, 80]]), np.array([[3, 9], [30, 45]])]
    found = satori_hpc.score_pairs(model, one_hot(tokens, torch.float32), sites, method=method, mutations=2)
    if method == "epistasis":
        expected = [each.value for each in generic.epistasis(model, Batch(tokens, keys), sites, seed=1, mutations=2)]
    else:
        letters = np.bincount(tokens.ravel(), minlength=4) / tokens.numel()
        settings = Dfim(rule="midpoint", mutations=2)
        maps = generic.dfim(model, Batch(tokens, keys), sites, settings=settings, seed=1, composition=letters)
        expected = [each.value for each in maps]
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6)
        assert np.isfinite(left).sum() == len(left) * (len(left) - 1)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import satori_hpc, sys; print({'torch', 'zarr', 'pandas', 'dask', 'numba'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
