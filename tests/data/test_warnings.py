"""A run that means little says so: where it happens, in the records, at the end of `all`, in `status`, on the page."""

import csv
import dataclasses
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from satori_hpc.cli import cli
from satori_hpc.config import Config
from satori_hpc.data import dataset
from satori_hpc.errors import SatoriError
from satori_hpc.interactions import block, tables
from satori_hpc.interactions.site_pairs import Units
from satori_hpc.interactions.stage import reduce, saturated_shares
from satori_hpc.log import PASSING, collected, logger
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import execute, files, provenance
from satori_hpc.run.layout import Run
from satori_hpc.training.loop import Trainer
from satori_hpc.training.stage import train
from tests.fixtures import tiny
from tests.fixtures.learnable import learnable, small_config
from tests.fixtures.scores import make_store

RUNTIME = Runtime(device="cpu", threads=1)
NAN = np.float32(np.nan)


def told(run: Run, stage: str) -> str:
    """The warnings that the record of a stage keeps, as one text."""
    record = provenance.read(run.record(stage))
    assert record is not None
    return "\n".join(record.summary["warnings"])


def scored(run: Run, foreground: np.ndarray, background: np.ndarray) -> None:
    """Put these scores, of the pairs of 12 filters, in the place of a run's own."""
    files.remove(run.scores("attention"))
    make_store(run.scores("attention"), foreground.astype(np.float32), background.astype(np.float32), filters=12)


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, str]:
    """A finished run in which 5 examples a side are scored, and what `all` printed."""
    config = tiny.tiny_config()
    assert config.prepare.simulated is not None
    simulated = dataclasses.replace(config.prepare.simulated, examples=200)
    made = tiny.make_run(
        tmp_path_factory.mktemp("poor") / "run",
        dataclasses.replace(
            config,
            prepare=dataclasses.replace(config.prepare, simulated=simulated),
            score=dataclasses.replace(config.score, max_examples=5),
        ),
    )
    done = CliRunner().invoke(cli, ["all", str(made.path), "--threads", "1"])
    assert done.exit_code == 0, done.output
    return made, done.stdout


@pytest.fixture
def copied(poor: tuple[Run, str], tmp_path: Path) -> Run:
    """A copy of it, to be changed."""
    shutil.copytree(poor[0].path, tmp_path / "run")
    return Run.open(tmp_path / "run")


def test_each_stage_keeps_what_it_warned_of(poor: tuple[Run, str]) -> None:
    run, _ = poor
    test = provenance.read(run.record("prepare"))
    assert test is not None
    assert "validation AUROC near 0.5: 0." in told(run, "train")
    assert f"motifs are made from {test.summary['test_positives']} sequences, fewer than 50" in told(run, "motifs")
    for group in ("foreground", "background"):
        assert f"only 5 {group} examples are scored; reduce.min_examples asked for 10 on each side" in told(
            run, "score"
        )
    assert "attention: nothing is tested: " in told(run, "reduce")
    assert "0 of them in at least 10 on each side (the most: 5 of the 5 foreground examples and " in told(run, "reduce")
    assert "reduce.min_examples decides" in told(run, "reduce")
    assert told(run, "evaluate").startswith("No filter is named after an implanted TF")


def test_all_and_status_end_with_what_was_called_and_the_warnings(poor: tuple[Run, str]) -> None:
    run, first = poor
    for arguments in (["all", str(run.path)], ["status", str(run.path)]):
        again = CliRunner().invoke(cli, arguments)
        assert again.exit_code == 0, again.output
        for shown in (first, again.stdout) if arguments[0] == "all" else (again.stdout,):
            assert "attention: NOTHING TESTED, so nothing is called\n" in shown
            assert "warning (train): validation AUROC near 0.5" in shown
            assert "warning (reduce): attention: nothing is tested: " in shown
    found = json.loads(CliRunner().invoke(cli, ["status", str(run.path), "--json"]).stdout)
    assert found["results"] == ["attention: NOTHING TESTED, so nothing is called"]
    assert {"train", "motifs", "score", "reduce", "evaluate"} == {each["stage"] for each in found["warnings"]}


def test_the_page_begins_with_them(poor: tuple[Run, str]) -> None:
    page = poor[0].report.read_text()
    block = page[page.index('<div class="warnings"') : page.index('<dl class="tiles">')]
    for stage in ("train", "motifs", "score", "reduce"):
        assert f"<b>{stage}:</b>" in block


def test_warnings_of_a_stage_that_is_made_anew_are_those_of_now(copied: Run) -> None:
    changed = tiny.change(copied, reduce={"min_examples": 1})
    done = CliRunner().invoke(cli, ["status", str(changed.path)])
    assert "NOTHING TESTED" not in done.stdout  # tables that are stale say nothing
    execute.execute(changed, "reduce", RUNTIME)
    assert "nothing is tested" not in told(changed, "reduce")
    shown = CliRunner().invoke(cli, ["status", str(changed.path)]).stdout
    tested = int(tables.read(changed.interactions("attention"))["tested"].sum())
    assert tested > 0
    assert f"attention: 0 TF pairs called, of 0 tested (0 of {tested} filter pairs)" in shown


WAYS: list[tuple[str, dict[str, Any], str]] = [
    ("cut-off", {"min_examples": 2, "cutoff": "9"}, "0 of them reach the cut-off, 9. reduce.cutoff decides"),
    (
        "names",
        {"min_examples": 2},
        "of 12 filters are named after a TF. [motifs] max_match_q, min_match_bits and database decide",
    ),
    (
        "rare",
        {"min_examples": 60, "statistic": "published"},
        "66 of 66 filter pairs are observed in any example, 0 of them in at least 60 on each side (the most: 40 of the "
        "40 foreground examples and 50 of the 50 background examples). reduce.min_examples decides",
    ),
    (
        "near",
        {"statistic": "within-sequence", "max_distance": 4, "min_examples": 60},
        "11 of 66 filter pairs are observed in any example at most 4 bp apart, 0 of them in at least 60 of the "
        "foreground",
    ),
]


@pytest.mark.parametrize(("settings", "expected"), [way[1:] for way in WAYS], ids=[way[0] for way in WAYS])
def test_where_nothing_is_tested_the_deciding_setting_is_named(
    copied: Run, settings: dict[str, Any], expected: str
) -> None:
    rng = np.random.default_rng(1)
    scored(copied, rng.random((40, 66)), rng.random((50, 66)))
    changed = tiny.change(copied, reduce=settings)
    with collected() as warnings:
        reduce(changed, RUNTIME)
    assert expected in " ".join(warnings)


def test_pairs_that_are_never_observed_or_alone_in_their_sequences_cannot_be_tested(copied: Run) -> None:
    nothing = np.full((20, 66), NAN)
    scored(copied, nothing, nothing)
    with collected() as warnings:
        reduce(tiny.change(copied, reduce={"statistic": "published"}), RUNTIME)
    assert "0 of 66 filter pairs are observed in any example. [motifs] threshold decides" in warnings[0]
    alone = nothing.copy()
    alone[:, :2] = 0.3
    scored(copied, alone, alone)
    with collected() as warnings:
        reduce(tiny.change(copied, reduce={"statistic": "within-sequence", "max_distance": 0}), RUNTIME)
    assert "2 of them in at least 10 of the foreground (the most: 20 of the 20 foreground examples)" in warnings[0]
    assert "0 of them in as many sequences with three observed pairs or more" in warnings[0]


@pytest.mark.parametrize(("share", "warns"), [(0.4, False), (0.6, True)])
def test_saturated_scores_are_counted_and_said(tmp_path: Path, share: float, warns: bool) -> None:
    values = np.full(1000, 1, np.float32)
    values[int(1000 * share) :] = np.linspace(0, 0.5, 1000 - int(1000 * share))
    values = np.random.default_rng(1).permutation(values).reshape(100, 10)
    store = make_store(tmp_path / "attention.zarr", values, values / 2 + np.float32(0.1), filters=5)
    with collected() as warnings:
        found = saturated_shares(store, entropy=0.1)
    assert found == {"foreground": share, "background": 0}
    expected = f"attention is saturated: {100 * share:.0f} % of the foreground and 0 % of the background scores"
    assert any(sentence.startswith(expected) for sentence in warnings) == warns
    assert any("a smaller train.entropy or learning_rate" in sentence for sentence in warnings) == warns
    with collected() as warnings:  # nothing is advised that is not there
        saturated_shares(store, entropy=0)
    assert any(sentence.endswith("train with a smaller learning_rate") for sentence in warnings) == warns


def test_saturation_is_that_of_pairs_and_not_of_the_values_between_their_sites(tmp_path: Path) -> None:
    """Of four values between the sites of a pair the largest counts: few are at the maximum, and all pairs."""
    values = np.full((40, 6), 0.2, np.float32)
    values[:, 1] = 1
    store = make_store(tmp_path / "attention.zarr", values, values, filters=4)
    pooled = dataclasses.replace(Units.motifs(2), of_motif=(0, 0, 1, 1))  # filters 0, 1 are one unit, 2, 3 the other
    assert (block.sample(store, pooled, "foreground") == 1).all()
    assert saturated_shares(store, entropy=0)["foreground"] == pytest.approx(1 / 6)


def learned(path: Path, config: Config, **changes: Any) -> Run:
    """A run whose data set is there."""
    run = Run(path=path, config=config)
    run.path.mkdir()
    dataset.write(run.dataset, dataclasses.replace(learnable(), **changes))
    return run


def test_a_network_that_collapses_is_named_in_that_epoch_and_held_in_history_and_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("satori_hpc"), "propagate", True)
    run = learned(tmp_path / "run", small_config(epochs=5))
    original = Trainer._train_epoch

    def dying(self: Trainer, *rest: Any) -> None:
        original(self, *rest)
        if self.progress.epoch == 3:
            self.model.output.weight.data.zero_()

    monkeypatch.setattr(Trainer, "_train_epoch", dying)
    with collected() as warnings:
        summary = train(run, RUNTIME)
    assert {record.getMessage() for record in caplog.records if getattr(record, "passing", False)} == {
        "epoch 4: the network has collapsed: it gives all validation examples the same output"
    }
    with open(run.history, encoding="utf-8") as handle:
        assert [row["constant_outputs"] for row in csv.DictReader(handle, delimiter="\t")] == ["0", "0", "0", "1", "0"]
    assert summary["collapsed_epochs"] == [4]
    assert [sentence for sentence in warnings if "collapsed" in sentence] == [warnings[-1]]
    assert "after 1 of 5 epochs (4) it gave all validation examples the same output" in warnings[-1]
    assert f"the network kept is that of epoch {summary['best_epoch']}, which is not" in warnings[-1]
    # One that never was anything else, in no attempt, is refused.
    monkeypatch.setattr(Trainer, "_train_epoch", lambda self, *rest: self.model.output.weight.data.zero_())
    with pytest.raises(SatoriError, match="in all of 4 attempts, with learning_rate 0.003, 0.0009, 0.00027, 8.1e-05"):
        train(learned(tmp_path / "dead", small_config(epochs=1)), RUNTIME)


def test_of_several_labels_those_near_chance_are_named(tmp_path: Path) -> None:
    data = learnable(targets=3)
    labels = data.labels.copy()
    labels[:, 1] = np.random.default_rng(4).integers(0, 2, len(labels))
    run = learned(tmp_path / "run", small_config(epochs=8), labels=labels, tokens=data.tokens, targets=data.targets,
                  task="multilabel")  # fmt: skip
    with collected() as warnings:
        train(run, RUNTIME)
    assert len(warnings) == 2
    assert "is no better than a logistic regression on counts of 6-mers" in warnings[1]
    assert warnings[0].startswith("validation AUROC near 0.5 for 1 of 3 labels: label1 0.")
    positives = int(labels[600:750, 1].sum())
    assert f"({positives} positives, {150 - positives} negatives; bound 0.6" in warnings[0]


def test_what_is_collected_is_each_sentence_once_as_plain_text() -> None:
    with collected() as found:
        for _ in range(2):
            logger.warning("peaks of %s", "chr\x1b[31m1")
        logger.info("all is well")
        logger.warning("for the moment", extra=PASSING)
    logger.warning("too late")
    assert found == ["peaks of chr\\x1b[31m1"]
