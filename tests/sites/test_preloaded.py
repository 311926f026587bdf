"""A SATORI network whose filters are known motifs: its layer, its sites and strands, and the whole path of a run."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from satori_hpc.config import Dfim, Epistasis, Model, Score
from satori_hpc.config import Sites as SiteSettings
from satori_hpc.config.motif_tokens import Preloaded
from satori_hpc.interactions import tables
from satori_hpc.models import build
from satori_hpc.models.satori import Satori
from satori_hpc.motifs import readers
from satori_hpc.motifs.motif import UNIFORM, Motif
from satori_hpc.motifs.scan import Gate, MotifBank
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import execute, provenance
from satori_hpc.scoring.base import Batch
from satori_hpc.scoring.epistasis import EpistasisScorer
from satori_hpc.scoring.store import ScoreStore
from satori_hpc.sites import store as motif_store
from satori_hpc.training import checkpoint
from tests.fixtures import tiny
from tests.scoring.test_paths import known_motifs

RUNTIME = Runtime(device="cpu", threads=1)
LENGTH = 50


def network(bank: MotifBank, **preloaded: object) -> Satori:
    torch.manual_seed(1)
    config = Model(
        first_layer="motifs", preloaded=Preloaded(**preloaded), num_heads=2, head_dim=4, mixing_size=8, pool=4
    )
    return build(config, length=LENGTH, targets=1, task="binary", entropy=0, bank=bank).eval()


def sequences(count: int = 40) -> torch.Tensor:
    rng = np.random.default_rng(2)
    tokens = rng.integers(0, 4, (count, LENGTH)).astype(np.uint8)
    tokens[rng.random(tokens.shape) < 0.02] = 4
    return torch.from_numpy(tokens)


@pytest.mark.parametrize("gate", [{}, {"gate_share": 0.2}, {"gate_share": 0, "gate_p": 0.02}])
def test_active_positions_are_the_hits_of_an_exact_scan(gate):
    bank, tokens = known_motifs(), sequences()
    model = network(bank, **gate)
    with torch.no_grad():
        model.stem.log_scale.normal_()
        found = model.site_activations(tokens)
    settings = model.config.preloaded
    hits = bank.scan(tokens.numpy(), Gate(settings.gate_share, settings.gate_p))
    assert len(hits) > 30
    expected = np.zeros(found.shape, dtype=bool)
    expected[hits.example, hits.motif, hits.start] = True
    np.testing.assert_array_equal((found > 0).numpy(), expected)
    scores = model.strength(found, torch.zeros(len(bank)))[hits.example, hits.motif, hits.start].detach().numpy()
    np.testing.assert_allclose(scores, hits.score / 100, rtol=1e-5)
    gates = bank.least(Gate(settings.gate_share, settings.gate_p)) - 0.5
    values = model.stem.log_scale.exp().detach().numpy()[hits.motif] * (hits.score - gates[hits.motif])
    value = found[hits.example, hits.motif, hits.start].numpy()
    np.testing.assert_allclose(value, values / bank.maxima[hits.motif], rtol=1e-5)
    strands = model.strand_at(tokens, hits.example, hits.motif, hits.start)
    np.testing.assert_array_equal(strands, hits.strand)


def words(bank: MotifBank) -> list[np.ndarray]:
    return [table.argmax(axis=1) for table in bank.scores]


def test_sites_of_narrow_and_wide_motifs_have_their_own_intervals_and_strands():
    """Motifs of 7 and 11 bp side by side, nearer to each other than the common width of the filters."""
    bank = known_motifs()
    narrow, wide = words(bank)[5], words(bank)[1]
    tokens = torch.zeros(1, LENGTH, dtype=torch.uint8)
    tokens[0, 10:17] = torch.from_numpy(narrow)
    tokens[0, 18:29] = torch.from_numpy(3 - wide[::-1].copy())
    tokens[0, 43:50] = torch.from_numpy(narrow)  # ends with the sequence
    model = network(bank, gate_share=0.8)
    settings = Score(sites=SiteSettings(max_sites=9), epistasis=Epistasis(mutations=1))
    scorer = EpistasisScorer(model, torch.zeros(len(bank)), settings=settings, seed=1, composition=np.full(4, 0.25))
    found = scorer(Batch(tokens, torch.zeros(1, 2, dtype=torch.int64)))
    sites = {(motif, start, strand) for motif, start, strand, _ in found.site.tolist()}
    assert {(5, 10, 1), (1, 18, -1), (5, 43, 1)} <= sites
    np.testing.assert_array_equal(scorer.widths, bank.widths)
    ends = [start + bank.widths[motif] for motif, start, _, _ in sorted(found.site.tolist(), key=lambda site: site[1])]
    starts = sorted(found.site[:, 1].tolist())
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))


def test_frozen_motifs_stay_and_tuned_ones_are_trained():
    bank, tokens = known_motifs(), sequences()
    for tuned in (False, True):
        model = network(bank, tuned=tuned, gate_share=0.2).train()
        model(tokens).logits.sum().backward()
        assert model.stem.log_scale.grad.abs().max() > 0
        names = {name for name, _ in model.named_parameters()}
        assert ("stem.matrix" in names) == tuned
        if tuned:
            assert model.stem.matrix.grad.abs().max() > 0
            found = model.trained_scores
            assert found is not None
            for one, other in zip(found, bank.scores, strict=True):
                np.testing.assert_allclose(one, other, atol=0.01)
        else:
            assert model.trained_scores is None


def test_from_a_prepared_run_to_its_report(tiny_run, tmp_path: Path, caplog) -> None:
    run = tiny_run("prepare", tmp_path / "run")
    absent = Motif(name="ABSENT", ppm=0.01 + 0.96 * np.eye(4)[np.arange(20) % 4], sites=100)
    motifs = [*readers.read(run.path / "truth" / "motifs.meme"), absent]
    readers.write_meme(tmp_path / "known.meme", motifs, UNIFORM)
    small = {"num_heads": 2, "head_dim": 8, "mixing_size": 16, "block_widths": (8,), "hidden": 8}
    known = Preloaded(motifs="../known.meme", similarity_max=1)
    run = tiny.change(
        run,
        model=dataclasses.asdict(Model(architecture="deep", first_layer="motifs", **small)) | {"preloaded": known},
        score={
            "methods": ("attention", "epistasis", "dfim", "attribution"),
            "sites": SiteSettings(max_sites=6),
            "dfim": Dfim(steps=2, baselines=1, mutations=1),
        },
        reduce={"min_examples": 3, "cutoff": "-1"},
    )
    for stage in ("train", "motifs", "score", "reduce", "evaluate", "report"):
        execute.execute(run, stage, RUNTIME)
    model, _ = checkpoint.load(run.best, "cpu")
    assert isinstance(model, Satori)
    assert model.bank is not None
    filters, tf = motif_store.read_filters(run.motifs), motif_store.read_tf(run.motifs)
    assert tf["motif_id"].tolist() == [item.name for item in motifs]
    assert tf["named"].tolist() == [True] * 6 + [False]
    assert (filters["sequences"] > 10).tolist() == tf["named"].tolist()
    assert "1 of 7 known motifs have sites in 10 sequences or fewer and are not tested: ABSENT" in caplog.text
    assert provenance.read(run.record("motifs")).summary["inactive motifs"] == "ABSENT"
    for method in run.config.score.methods:
        store = ScoreStore(run.scores(method))
        assert store.motifs == len(model.bank)
        assert tables.read(run.interactions(method))["p"].notna().any(), method
    assert json.loads(run.evaluation.read_text())["methods"]["attention"]
    page = run.report.read_text()
    assert "SATORI-deep" in page
    assert page.count('class="logo"') == 7  # none beside itself
