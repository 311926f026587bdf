"""inspect on a real small run: the arrays are those of the scorers, the page opens, and wrong asks are told."""

import dataclasses
import re
import shutil

import numpy as np
import pytest
import torch

from satori_hpc import config
from satori_hpc.config.score import METHODS
from satori_hpc.data import dataset
from satori_hpc.data.dataset import Dataset
from satori_hpc.errors import ArtefactError, InputError
from satori_hpc.parallel.world import Runtime
from satori_hpc.report import inspect as report_inspect
from satori_hpc.report.inspect import find, inspect
from satori_hpc.report.pictures import EPISTASIS
from satori_hpc.run import execute
from satori_hpc.run.layout import Run
from satori_hpc.scoring import plan as score_plan
from satori_hpc.scoring import registry
from satori_hpc.scoring.base import Batch
from satori_hpc.sites import store as motif_store
from satori_hpc.training import checkpoint, predictions
from tests.fixtures import tiny
from tests.fixtures.whole import read as read_whole
from tests.test_multilabel import write_set

RUNTIME = Runtime(device="cpu", threads=1)


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    """A run up to its motifs; few steps and draws, so that maps take no time."""
    made = tiny_run("motifs", tmp_path_factory.mktemp("inspect") / "run")
    settings = made.config.score
    score = {
        "sites": dataclasses.replace(settings.sites, max_sites=6),
        "dfim": dataclasses.replace(settings.dfim, steps=2, baselines=2, mutations=2),
        "attribution": dataclasses.replace(settings.attribution, steps=4),
        "epistasis": dataclasses.replace(settings.epistasis, mutations=2),
    }
    return tiny.change(made, score=score)


def row_with(run, label):
    data = Dataset(run.dataset)
    return int(np.flatnonzero((data.labels[:, 0] == label) & (data.split == dataset.TEST))[3])


@pytest.mark.parametrize("label", [1, 0])
def test_arrays_are_those_of_the_scorers(run, label):
    row = row_with(run, label)
    summary = inspect(run, RUNTIME, str(row))
    found = report_inspect.read(run.inspections / f"{row}.npz")
    data, settings = read_whole(run.dataset), run.config
    assert summary["example"] == data.names[row] == str(found["name"])
    assert (summary["row"], int(found["row"])) == (row, row)
    model, _ = checkpoint.load(run.best, "cpu")
    tokens = torch.from_numpy(data.tokens[[row]])
    np.testing.assert_array_equal(found["tokens"], data.tokens[row])
    np.testing.assert_array_equal(found["labels"], [label])

    # negatives are scored as background (side 1), so that random letters are those of the score store
    batch = Batch(tokens=tokens, keys=torch.tensor([[1 - label, row]]))
    threshold = torch.from_numpy(score_plan.thresholds(run, model))
    letters = score_plan.composition(Dataset(run.dataset))
    train = data.tokens[data.split == dataset.TRAIN]
    np.testing.assert_allclose(letters, [(train == k).mean() for k in range(4)], rtol=1e-6)

    def scorer(method):
        return registry.build(
            method, model, threshold=threshold, settings=settings.score, seed=settings.seed, composition=letters
        )

    with torch.inference_mode():
        output = model(tokens, attention=True)
    np.testing.assert_array_equal(found["attention"], output.attention[0].numpy())
    np.testing.assert_array_equal(found["logits"], output.logits[0].numpy())
    np.testing.assert_allclose(found["attribution"], scorer("attribution").maps(batch)[0].numpy(), rtol=1e-6)
    np.testing.assert_allclose(found["letter_attribution"], scorer("dfim").attributions(batch)[0].numpy(), rtol=1e-6)
    named = motif_store.read_tf(run.motifs).query("named").set_index("filter")["tf"].to_dict()
    assert found["filter_name"].tolist() == [named.get(k, f"filter {k}") for k in range(model.filters)]
    for method in ("dfim", "epistasis"):
        sites, values = scorer(method).maps(batch)
        used = int(sites.used[0].sum())
        assert used > 1
        np.testing.assert_array_equal(found[method], values[0, :used, :used].numpy())
        np.testing.assert_array_equal(found[f"{method}_start"], sites.position[0, :used].numpy() - model.padding)
        np.testing.assert_array_equal(found[f"{method}_end"], found[f"{method}_start"] + model.width)
        np.testing.assert_array_equal(found[f"{method}_filters"], sites.members[0, :used].numpy())
        assert np.isfinite(found[method]).any()
        assert found[f"{method}_start"].min() >= 0
        assert found[f"{method}_start"].max() + model.width <= data.length


def test_the_page_names_sequence_sites_and_prediction(run):
    row = row_with(run, 1)
    name = next(Dataset(run.dataset).names(np.array([row])))
    summary = inspect(run, RUNTIME, name)
    page = (run.inspections / f"{row}.html").read_text()
    assert summary["page"] == str(run.inspections / f"{row}.html")
    assert f"<h1>{name}</h1>" in page
    found = report_inspect.read(run.inspections / f"{row}.npz")
    assert f"{found['probability'][0]:.3f}" in page
    assert summary["sites"] == len(found["epistasis_start"])
    for start, members in zip(found["dfim_start"], found["dfim_filters"], strict=True):
        assert f"{found['filter_name'][members][0]} at {start} bp" in page
    letters = found["letter_attribution"]
    assert page.count('href="#letter-') > np.count_nonzero(np.abs(letters) > 0.02 * np.abs(letters).max()) / 2
    first, tables = (run.inspections / f"{row}.html").read_bytes(), (run.inspections / f"{row}.npz").read_bytes()
    inspect(run, RUNTIME, str(row))  # by number, again: the same bytes
    assert (run.inspections / f"{row}.html").read_bytes() == first
    assert (run.inspections / f"{row}.npz").read_bytes() == tables


def test_a_method_that_is_registered_with_a_picture_is_shown(run, tmp_path, monkeypatch):
    monkeypatch.setattr(METHODS, "_entries", dict(METHODS._entries))
    METHODS.add(
        "mine", dataclasses.replace(METHODS["epistasis"], picture=dataclasses.replace(EPISTASIS, heading="<A>"))
    )
    METHODS.add("unseen", dataclasses.replace(METHODS["epistasis"], picture=None))
    row = row_with(run, 1)
    inspect(run, RUNTIME, str(row), out=tmp_path)
    found, page = report_inspect.read(tmp_path / f"{row}.npz"), (tmp_path / f"{row}.html").read_text()
    np.testing.assert_array_equal(found["mine"], found["epistasis"])
    assert "unseen" not in found
    assert '<h2 id="mine">&lt;A&gt;</h2>' in page
    assert "epistasis between sites" in page


def test_an_example_is_found_by_name_and_by_number(run):
    names = list(Dataset(run.dataset).names())
    assert find(Dataset(run.dataset), names[17]) == (17, names[17])
    assert find(Dataset(run.dataset), "17") == (17, names[17])
    assert find(Dataset(run.dataset), "0017") == (17, names[17])


def test_a_name_that_is_a_number_wins(run, tmp_path):
    first = Dataset(run.dataset).take(np.arange(4))
    names = ["5", *list(first.names)[1:]]
    path = tmp_path / "dataset.zarr"
    dataset.write(path, dataclasses.replace(first, names=names))
    assert find(Dataset(path), "5") == (0, "5")
    assert find(Dataset(path), "2") == (2, names[2])


def test_unknown_examples_are_told_what_there_is(run):
    name = next(Dataset(run.dataset).names(np.array([17])))
    with pytest.raises(InputError, match=r"rows of .* are 0 to 599") as error:
        inspect(run, RUNTIME, "600")
    assert "600" in str(error.value)
    with pytest.raises(InputError, match=re.escape(repr(name))):  # the nearest
        inspect(run, RUNTIME, name + "x")
    for hostile in ("../../etc/passwd", "-1", "", "1" * 40, "٣"):
        with pytest.raises(InputError, match="no sequence"):
            inspect(run, RUNTIME, hostile)
    assert not list(run.path.parent.glob("*.npz"))


def test_files_go_where_they_are_asked_to_go_and_are_named_by_the_row(run, tmp_path):
    row = row_with(run, 1)
    name = next(Dataset(run.dataset).names(np.array([row])))
    inspect(run, RUNTIME, name, out=tmp_path / "elsewhere")
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == [
        f"{row}.html",
        f"{row}.json",
        f"{row}.npz",
    ]


def test_what_is_missing_or_stale_is_named_with_its_command(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "run", ignore=shutil.ignore_patterns("inspect"))
    copied = Run.open(tmp_path / "run")
    shutil.rmtree(copied.motifs)
    copied.record("motifs").unlink()
    with pytest.raises(ArtefactError, match=r"inspect needs motifs .* missing; run: satori-hpc motifs"):
        inspect(copied, RUNTIME, "3")
    stale = tiny.change(copied, train={"epochs": 3})
    with pytest.raises(ArtefactError, match=r"inspect needs train .* stale .*run: satori-hpc train"):
        inspect(stale, RUNTIME, "3")
    assert not copied.inspections.exists()


def test_of_several_labels_the_true_and_predicted_ones_are_explained_else_the_likeliest(tmp_path):
    write_set(tmp_path)
    tables = config.Fasta(fasta=str(tmp_path / "set.fa"), table=str(tmp_path / "set.txt"))
    settings = dataclasses.replace(
        tiny.tiny_config(),
        prepare=config.Prepare(source="fasta", test_fraction=0.3, fasta=tables),
        train=config.Train(epochs=2, batch_size=32, learning_rate=5e-3),
        score=config.Score(
            label_probability=0.4,  # nearly untrained, so some labels are above and some are below
            sites=config.Sites(max_sites=4),
            dfim=config.Dfim(steps=1, baselines=1, mutations=1),
        ),
    )
    run = tiny.make_run(tmp_path / "run", settings)
    for stage in ("prepare", "train", "motifs"):
        execute.execute(run, stage, RUNTIME)
    data, probability = read_whole(run.dataset), predictions.read(run.predictions)[1]
    right = (probability >= 0.4) & (data.labels == 1)
    with_some, without = int(np.flatnonzero(right.any(axis=1))[0]), int(np.flatnonzero(~right.any(axis=1))[0])
    for row, expected in ((with_some, right[with_some]), (without, np.arange(4) == probability[without].argmax())):
        inspect(run, RUNTIME, str(row))
        found = report_inspect.read(run.inspections / f"{row}.npz")
        assert found["explained"].astype(bool).tolist() == expected.tolist()
        assert (
            f"the log-odds of {data.targets[int(expected.argmax())]}" in (run.inspections / f"{row}.html").read_text()
        )
        model, _ = checkpoint.load(run.best, "cpu")
        batch = Batch(
            tokens=torch.from_numpy(data.tokens[[row]]),
            keys=torch.tensor([[0, row]]),
            targets=torch.from_numpy(expected[None].astype(np.uint8)),
        )
        epistasis = registry.build(
            "epistasis",
            model,
            threshold=torch.from_numpy(score_plan.thresholds(run, model)),
            settings=run.config.score,
            seed=run.config.seed,
            composition=np.full(4, 0.25),
        )
        sites, values = epistasis.maps(batch)
        used = int(sites.used[0].sum())
        np.testing.assert_array_equal(found["epistasis"], values[0, :used, :used].numpy())


def test_every_array_is_documented():
    from tests.test_docs import rows, section

    documented = {bins[0]: (bins[1], bins[2]) for bins in rows(section("inspect/"))}
    expected = {
        name: ("(" + ", ".join(dimensions) + ("," if len(dimensions) == 1 else "") + ")", kind)
        for name, (kind, dimensions) in report_inspect.layout().items()
    }
    assert documented == expected
