"""What attributions promise, on networks that have learned something."""

import numpy as np
import pytest
import torch

from satori_hpc.config import Attribution, Dfim, Score, Sites
from satori_hpc.data import dataset
from satori_hpc.models.satori import Satori
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import new
from satori_hpc.run.layout import Run
from satori_hpc.scoring.attribution import AttributionScorer
from satori_hpc.scoring.base import Batch
from satori_hpc.scoring.dfim import DfimScorer
from satori_hpc.training import checkpoint, predictions
from satori_hpc.training import stage as training_stage
from tests.fixtures.learnable import learnable, small_config

MODELS = {
    "basic": {},
    "deep": {"architecture": "deep", "block_widths": (12, 12), "block_kernel": 5, "dilations": (2,), "hidden": 12},
}
COMPOSITION = np.full(4, 0.25)
Trained = tuple[Satori, Batch, torch.Tensor]


@pytest.fixture(scope="module", params=MODELS)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A trained network, positives that it gets right, thresholds of its filters."""
    config = small_config(model=MODELS[request.param], epochs=8)
    run: Run = new.new(tmp_path_factory.mktemp("learned") / "run", config=config)
    data = learnable(train=1200)
    dataset.write(run.dataset, data)
    training_stage.train(run, Runtime(device="cpu", threads=1))
    _, probability = predictions.read(run.predictions)
    rows = data.rows("test")
    rows = rows[(data.labels[rows, 0] == 1) & (probability[rows, 0] > 0.8)][:12]
    assert len(rows) == 12
    model, _ = checkpoint.load(run.best, "cpu")
    tokens = torch.from_numpy(data.tokens[rows])
    with torch.inference_mode():
        threshold = 0.5 * model.stem.activations(tokens).amax(dim=(0, 2))
    return model, Batch(tokens, torch.tensor([[0, row] for row in rows])), threshold


def test_attention_attribution_is_nearly_complete_at_20_steps(network):
    model, batch, threshold = network

    def gap(**settings: object) -> float:
        score = Score(attribution=Attribution(**settings))
        scorer = AttributionScorer(model, threshold, settings=score, seed=1, composition=COMPOSITION)
        return scorer.estimate(batch)["completeness"]

    found = {steps: gap(steps=steps) for steps in (20, 40, 160)}
    # A right sum is off by half a step of how much the derivative changes on the way: more with layers behind.
    assert found[20] < (0.05 if model.config.architecture == "basic" else 0.15)
    assert found[40] < 0.6 * found[20]  # as 1 / steps
    assert found[160] < 0.16 * found[20]
    assert gap(rule="secant", steps=2) < 1e-4


def test_secants_beat_published_quadrature_at_a_fifth_of_its_steps(network):
    model, batch, threshold = network
    few = Batch(batch.tokens[:3], batch.keys[:3])

    def maps(dtype: torch.dtype = torch.float32, **settings: object) -> torch.Tensor:
        score = Score(dfim=Dfim(baselines=1, mutations=1, **settings), sites=Sites(max_sites=4, max_distance=0))
        scorer = DfimScorer(model, threshold, settings=score, seed=1, composition=COMPOSITION, dtype=dtype)
        return scorer.maps(few)[1].double()

    truth = maps(torch.float64, steps=512)
    there = ~truth.isnan()
    assert int(there.sum()) > 10

    def error(**settings: object) -> float:
        return float((maps(**settings)[there] - truth[there]).norm() / truth[there].norm())

    secants = {steps: error(steps=steps) for steps in (5, 10, 20, 40)}
    assert secants[10] < error(rule="gauss-legendre", steps=50)
    assert secants[40] < secants[10] / 4  # steeper than the first order
    assert secants[40] < 0.02
    assert error(rule="midpoint", steps=1024) < 0.02  # another road to the same truth
