"""Sets with several labels: the whole path, whose background is made of shuffled controls."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from scipy import stats

from satori_hpc import config, pairs
from satori_hpc.cli import cli
from satori_hpc.config import Config
from satori_hpc.data import sequence
from satori_hpc.data.dataset import Dataset
from satori_hpc.interactions import differential, tables
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import pipeline, provenance
from satori_hpc.run.layout import Run
from satori_hpc.scoring import plan as score_plan
from satori_hpc.scoring import registry
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.base import Batch
from satori_hpc.sites import shuffled_background
from satori_hpc.sites import store as motif_store
from satori_hpc.tools.verify import verify
from satori_hpc.training import checkpoint
from tests.fixtures.scores import of_pairs
from tests.fixtures.tiny import change, make_run
from tests.fixtures.whole import read as read_whole

MOTIFS = ("TGACTCAGCA", "GGGGCGGGGC", "CACGTGACCT", "AGATAAGGAA")
EXAMPLES, LENGTH = 300, 100


def call(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def write_set(folder: Path) -> None:
    """A motif per label in random sequences; some letters are unknown."""
    rng = np.random.default_rng(3)
    fasta, table = [], []
    for example in range(EXAMPLES):
        tokens = rng.choice(5, LENGTH, p=[0.2475] * 4 + [0.01])
        labels = np.flatnonzero(rng.random(4) < 0.4)
        # A quarter of the sequence for each motif, so that none covers another.
        for label in labels:
            start = 25 * label + rng.integers(15)
            tokens[start : start + 10] = sequence.encode(MOTIFS[label])
        fasta.append(f">chr{example % 5}:{1000 * example}-{1000 * example + LENGTH}(+)\n{sequence.decode(tokens)}\n")
        ids = ",".join(map(str, labels)) or "."
        table.append(f"chr{example % 5}\t{1000 * example}\t{1000 * example + LENGTH}\t{ids}\n")
    (folder / "set.fa").write_text("".join(fasta))
    (folder / "set.txt").write_text("".join(table))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run made by `all`; copy it before changing it."""
    folder = tmp_path_factory.mktemp("multilabel")
    write_set(folder)
    run = make_run(
        folder / "run",
        Config(
            prepare=config.Prepare(
                source="fasta",
                test_fraction=0.3,
                fasta=config.Fasta(fasta=str(folder / "set.fa"), table=str(folder / "set.txt")),
            ),
            model=config.Model(num_filters=12, kernel_size=9, num_heads=2, head_dim=8, mixing_size=16),
            train=config.Train(epochs=12, batch_size=32, learning_rate=5e-3),
            score=config.Score(shard_examples=40),
            reduce=config.Reduce(min_examples=2),
        ),
    )
    assert "background" not in call("status", run.path).output  # not known yet
    assert "background needs prepare" in call("prepare", run.path, "--background", code=1).output
    output = call("all", run.path, "--threads", 1).output
    assert output.index("\nmotifs:") < output.index("\nbackground:") < output.index("\nscore:")
    return run.path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Run:
    shutil.copytree(finished, tmp_path / "run")
    return Run.open(tmp_path / "run")


def test_all_makes_every_artefact(finished: Path) -> None:
    run = Run.open(finished)
    assert list(pipeline.states(run)) == [stage.name for stage in pipeline.STAGES]
    assert pipeline.remaining(run) == []
    record = provenance.read(run.record("score"))
    assert record is not None
    assert set(record.inputs) == {"prepare", "train", "motifs", "background"}
    assert "<html" in run.report.read_text()
    table = tables.read(run.interactions("attention"))
    assert table["tested"].any()
    assert "nothing to do" in call("all", finished).output


def test_controls_are_those_of_the_scored_split_and_scored_beside_their_originals(finished: Path) -> None:
    run = Run.open(finished)
    data, controls = read_whole(run.dataset), read_whole(run.background)
    rows = data.rows("test")
    assert controls.names == [data.names[row] for row in rows]
    np.testing.assert_array_equal(controls.labels, data.labels[rows])
    np.testing.assert_array_equal(controls.coordinates.start, data.coordinates.start[rows])
    assert controls.targets == data.targets
    assert controls.task == "multilabel"
    assert (controls.tokens != data.tokens[rows]).any(axis=1).all()
    found = motif_store.read_motifs(run.motifs)
    expected = shuffled_background.shuffled_controls(
        data.tokens[rows],
        rows,
        ppms=np.array([motif.ppm for motif in found.values()]),
        sites=np.array([motif.sites for motif in found.values()]),
        counted=len(rows),
        seed=1,
    )
    assert expected.implants.any()
    np.testing.assert_array_equal(controls.tokens, expected.tokens)

    store = score_store.open_complete(run.scores("attention"))
    foreground, behind = store.examples("foreground"), store.examples("background")
    assert 0 < len(foreground) <= len(rows)
    assert [controls.names[row] for row in behind] == [data.names[row] for row in foreground]
    record = provenance.read(run.record("background"))
    assert record is not None
    assert record.summary["examples"] == len(rows)
    assert record.summary["implants"] == expected.implants.sum()


def test_status_and_refusals_name_the_flag(run: Run) -> None:
    told = json.loads(call("status", run.path, "--json").output)
    assert told["stages"]["background"]["state"] == "complete"
    assert "up to date" in call("prepare", run.path, "--background").output
    shutil.rmtree(run.background)
    run.record("background").unlink()
    command = f"satori-hpc prepare {run.path} --background"
    assert json.loads(call("status", run.path, "--json").output)["next"] == command
    assert f"run: {command}" in call("score", run.path, code=1).output
    call("prepare", run.path, "--background")
    assert pipeline.remaining(run) == []  # the same controls again: the scores still hold


def test_other_controls_make_the_scores_stale(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = provenance.read(run.record("prepare"))
    monkeypatch.setattr(shuffled_background, "PURPOSE", shuffled_background.PURPOSE + 1)
    call("prepare", run.path, "--background", "--force")
    assert provenance.read(run.record("prepare")) == before
    states = pipeline.states(run)
    assert states["background"].usable
    assert states["score"].reason == "made from another background"
    call("all", run.path)
    assert pipeline.remaining(run) == []


def test_only_the_split_of_the_score_section_matters_to_the_shuffled_controls(run: Run) -> None:
    states = pipeline.states(change(run, score={"max_examples": 20}))
    assert states["background"].usable
    assert states["score"].reason == "run.toml changed: score.max_examples"
    changed = change(run, score={"split": "valid"})
    assert pipeline.states(changed)["background"].reason == "run.toml changed: score.split"
    call("all", run.path)
    assert pipeline.remaining(changed) == []
    assert len(Dataset(run.background)) == len(Dataset(run.dataset).rows("valid"))


def test_a_binary_run_has_no_such_background(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    call("prepare", run.path)
    assert "background" not in call("status", run.path).output
    assert "this run has no background" in call("prepare", run.path, "--background", code=1).output
    assert not run.background.exists()


def test_tracks_of_one_label_show_its_examples_and_what_speaks_for_it(finished: Path, tmp_path: Path) -> None:
    run = Run.open(finished)
    call("tracks", finished, "--attribute", 3, "--out", tmp_path / "all", "--threads", 1)
    call("tracks", finished, "--attribute", 3, "--out", tmp_path / "two", "--label", "2", "--threads", 1)
    assert "there are 0, 1, 2, 3" in call("tracks", finished, "--label", "9", code=1).output
    store = score_store.open_complete(run.scores("attention"))
    every = json.loads((tmp_path / "all" / "tracks.json").read_text())
    of_label = json.loads((tmp_path / "two" / "tracks.json").read_text())
    right = store.true_positive()
    assert right is not None
    assert every["summary"]["examples"] == len(right)
    assert of_label["summary"]["examples"] == right[:, 2].sum()
    assert (every["label"], of_label["label"]) == (None, "2")

    lines = (tmp_path / "two" / "attributed.bed").read_text().splitlines()[2:]
    rows = np.array([int(line.split("\t")[6]) for line in lines])
    model, _ = checkpoint.load(run.best, "cpu")
    scorer = registry.build(
        "dfim",
        model,
        threshold=torch.from_numpy(score_plan.thresholds(run, model)),
        settings=run.config.score,
        seed=run.config.seed,
        composition=score_plan.composition(Dataset(run.dataset)),
    )
    only = torch.tensor([[0, 0, 1, 0]], dtype=torch.uint8).expand(3, -1)
    keys = torch.from_numpy(np.stack([np.zeros(3, np.int64), rows], axis=1))
    batch = Batch(torch.from_numpy(Dataset(run.dataset).tokens[rows]), keys, only)
    with np.load(tmp_path / "two" / "attributions.npz") as file:
        np.testing.assert_allclose(file["arr_0"], scorer.contributions(batch)[1].numpy(), rtol=1e-4, atol=1e-6)


def test_a_flipped_byte_in_the_controls_is_found_where_they_are_read(run: Run) -> None:
    chunk = run.background / "tokens" / "c" / "0" / "0"
    stat, content = chunk.stat(), bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    os.utime(chunk, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert pipeline.remaining(run) == []
    output = call("score", run.path, "--threads", 1, "--force", code=1).output
    mend = f"satori-hpc prepare {run.path} --background --force"
    assert "background.zarr: damaged (tokens: " in output
    assert mend in output
    (found,) = verify(run, Runtime(threads=1)).findings
    assert (found.artefact, found.command) == ("background.zarr/tokens/c/0/0", mend)


def test_labels_that_carry_an_interaction(run: Run) -> None:
    run = change(run, reduce={"alpha": 1.0, "cutoff": "-1.0", "max_distance": 0})
    call("reduce", run.path, "--threads", 1)
    before = run.interactions("attention").with_name("attention.tsv").read_bytes()
    call("evaluate", run.path)
    call("report", run.path, "--threads", 1)
    assert "Interactions by label" not in run.report.read_text()
    assert pipeline.states(run)["report"].usable
    assert f"next, for a report that shows it: satori-hpc report {run.path}\n" in call("differential", run.path).output
    assert pipeline.states(run)["report"].reason == "made without the tables of differential"
    assert "nothing to do" not in call("status", run.path).output
    call("report", run.path, "--threads", 1)
    assert pipeline.remaining(run) == []
    assert "interactions/attention.differential.tsv" in run.report.read_text()
    found = differential.read(run.interactions("attention"))
    table = tables.read(run.interactions("attention")).query("called")
    store = score_store.open_complete(run.scores("attention"))
    data = Dataset(run.dataset)
    held = data.labels[store.examples("foreground")] == 1
    assert len(found) == 4 * len(table) > 40
    assert found["tested"].any()
    values = of_pairs(store).astype(np.float64)

    def check(rows: pd.DataFrame, mine: np.ndarray, other: np.ndarray) -> None:
        for row in rows.itertuples():
            column = values[:, pairs.index(row.filter_a, row.filter_b, filters=store.motifs)]
            first, second = (column[side][~np.isnan(column[side])] for side in (mine, other))
            assert (row.n_with, row.n_without) == (len(first), len(second))
            assert row.tested == (min(len(first), len(second)) >= 2)
            if row.tested:
                told = stats.mannwhitneyu(first, second, alternative="two-sided", method="asymptotic")
                assert row.p == pytest.approx(told.pvalue, rel=1e-9)
                assert row.auc == pytest.approx(told.statistic / len(first) / len(second))
                assert row.median_with == pytest.approx(np.median(first))

    for label in range(4):
        check(found[found["label"] == str(label)], held[:, label], ~held[:, label])
    q = found[found["tested"]]
    np.testing.assert_allclose(q["q"], stats.false_discovery_control(q["p"]))
    assert q["q"].is_monotonic_increasing

    call("differential", run.path, "--labels", "0,1", "--against", "2")
    found = differential.read(run.interactions("attention"))
    assert set(zip(found["label"], found["against"], strict=True)) == {("0,1", "2")}
    mine, other = held[:, :2].any(axis=1), held[:, 2]
    check(found, mine & ~other, other & ~mine)
    call("differential", run.path, "--labels", "0,1")
    check(differential.read(run.interactions("attention")), held[:, :2].any(axis=1), ~held[:, :2].any(axis=1))
    assert run.interactions("attention").with_name("attention.tsv").read_bytes() == before
    assert "there are 0, 1, 2, 3" in call("differential", run.path, "--labels", "x", code=1).output
    assert "needs --labels" in call("differential", run.path, "--against", "2", code=1).output
    assert "both sides" in call("differential", run.path, "--labels", "1", "--against", "1", code=1).output
    assert pipeline.states(run)["reduce"].usable
    table = run.interactions("attention").with_name("attention.differential.parquet")
    found = verify(run, Runtime(threads=1))
    assert found.findings == ()
    assert "differential" in found.stages
    table.write_bytes(table.read_bytes()[:-1] + b"?")
    call("report", run.path, "--threads", 1)
    assert "Interactions by label" not in run.report.read_text(), "what is damaged is left out"
    (found,) = verify(run, Runtime(threads=1)).findings
    assert (found.artefact, found.command) == (
        "interactions/attention.differential.parquet",
        f"satori-hpc differential {run.path} --labels=0,1",
    )
    call("reduce", run.path, "--threads", 1, "--force")  # what was made of another table goes
    assert not run.record("differential").exists()
    assert not run.interactions("attention").with_name("attention.differential.tsv").exists()


def test_differential_says_why_it_tests_nothing(run: Run) -> None:
    run = change(run, reduce={"alpha": 0.0})
    call("reduce", run.path, "--threads", 1)
    output = call("differential", run.path).output
    assert "attention: nothing is tested: reduce called no pair" in output
