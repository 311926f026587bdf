"""ChIP-seq folds of three real TFs, cut to some rows: the whole path with labels that are not known."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import roc_auc_score

from satori_hpc.cli import cli
from satori_hpc.data.splits import UNKNOWN
from satori_hpc.run import pipeline
from satori_hpc.run.layout import Run
from satori_hpc.scoring import store as score_store
from satori_hpc.training import predictions
from tests.fixtures.whole import read as read_whole

DATA = Path(__file__).parent / "fixtures" / "data" / "chipseq_folds"
TFS = ("ARID3A", "FOXM1", "GATA3")
SMALL = (
    "model.num_filters=12",
    "model.kernel_size=9",
    "model.num_heads=2",
    "model.head_dim=8",
    "model.mixing_size=16",
    "train.epochs=3",
    "train.batch_size=32",
    "motifs.split=test",
    "score.split=test",
    "score.include_mispredicted=true",
    "reduce.min_examples=2",
)


def call(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def fold(tf: str) -> str:
    return f"{tf}={DATA / tf}_AC.seq.gz,{DATA / tf}_B.seq.gz"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("folds") / "run"
    given = [text for tf in TFS for text in ("--fold", fold(tf))]
    call(
        "new",
        path,
        "--template",
        "folds",
        "--preset",
        "small",
        *given,
        *(text for key in SMALL for text in ("--set", key)),
    )
    call("all", path, "--threads", 1)
    return Run.open(path)


def test_every_stage_is_done(run: Run) -> None:
    assert pipeline.remaining(run) == []
    assert "mean test AUROC of 3 labels" in run.report.read_text()


def test_a_tf_is_judged_by_the_rows_of_its_own_test_file(run: Run) -> None:
    data = read_whole(run.dataset)
    logits, _ = predictions.read(run.predictions)
    with run.label_metrics.open(newline="") as file:
        found = {row["label"]: row for row in csv.DictReader(file, delimiter="\t") if row["split"] == "test"}
    for column, tf in enumerate(TFS):
        own = np.array([name.startswith(f"{tf}.test.") for name in data.names])
        assert (found[tf]["examples"], found[tf]["positives"]) == ("60", "30")
        expected = roc_auc_score(data.labels[own, column], logits[own, column])
        assert float(found[tf]["auroc"]) == pytest.approx(expected, abs=1e-6)


def test_scores_know_no_unknown_label_as_true(run: Run) -> None:
    data = read_whole(run.dataset)
    store = score_store.open_complete(run.scores("attention"))
    true = store.true_positive()
    assert true is not None
    assert not true[data.labels[store.examples("foreground")] == UNKNOWN].any()


def test_differential_says_that_labels_are_not_known(run: Run) -> None:
    assert "some labels of this set are not known" in call("differential", run.path, code=1).output
    told = call("differential", run.path, "--labels", "GATA3", "--against", "FOXM1", code=1).output
    count = len(score_store.open_complete(run.scores("attention")).examples("foreground"))
    assert f"of {count} scored examples 0 are on the side of GATA3 and 0 on the other" in told
    assert f"({count} do not count, for these labels are not known of them): nothing to compare" in told


def test_inspect_says_what_is_not_known(run: Run) -> None:
    call("inspect", run.path, "ARID3A.test.seq_00002_peak", "--threads", 1)
    row = read_whole(run.dataset).names.index("ARID3A.test.seq_00002_peak")
    assert "ARID3A; not known: FOXM1, GATA3" in (run.inspections / f"{row}.html").read_text()


def test_folds_on_the_command_line(tmp_path: Path) -> None:
    told = call("new", tmp_path / "a", "--template", "folds", "--fold", "TF=one", code=2).output
    assert "expected LABEL=TRAIN,TEST" in told
    assert "--fold goes with --template folds" in call("new", tmp_path / "a", "--template", "folds", code=2).output
    assert "--fold goes with" in call("new", tmp_path / "a", "--fold", "TF=one,two", code=2).output
    assert "--arrays goes with" in call("new", tmp_path / "a", "--template", "arrays", code=2).output
    assert not (tmp_path / "a").exists()
    call("new", tmp_path / "a", "--template", "arrays", "--arrays", "a.npz", "--arrays", "b.npz")
    assert Run.open(tmp_path / "a").config.prepare.arrays.files == (
        str(Path("a.npz").resolve()),
        str(Path("b.npz").resolve()),
    )


def test_new_like_keeps_the_places_of_the_files(tmp_path: Path) -> None:
    call("new", tmp_path / "a", "--template", "folds", "--fold", fold("GATA3"))
    text = (tmp_path / "a" / "run.toml").read_text()
    (tmp_path / "GATA3.seq.gz").write_bytes(b"")
    moved = text.replace(str(DATA / "GATA3_AC.seq.gz"), "../GATA3.seq.gz")
    (tmp_path / "a" / "run.toml").write_text(moved)
    call("new", tmp_path / "deep" / "b", "--like", tmp_path / "a" / "run.toml")
    assert Run.open(tmp_path / "deep" / "b").config.prepare.folds.train == (str(tmp_path / "GATA3.seq.gz"),)


def test_a_changed_fold_makes_the_run_stale(run: Run, tmp_path: Path) -> None:
    for path in DATA.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    call(
        "new",
        tmp_path / "a",
        "--template",
        "folds",
        "--fold",
        f"G={tmp_path}/GATA3_AC.seq.gz,{tmp_path}/GATA3_B.seq.gz",
    )
    call("prepare", tmp_path / "a")
    (tmp_path / "GATA3_B.seq.gz").write_bytes((tmp_path / "FOXM1_B.seq.gz").read_bytes())
    told = json.loads(call("status", tmp_path / "a", "--json").output)["stages"]["prepare"]
    assert told["state"] == "stale"
    assert "GATA3_B.seq.gz" in told["reason"]
