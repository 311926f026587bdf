import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from satori_hpc import config, models
from satori_hpc.data import dataset
from satori_hpc.data.dataset import Coordinates, Examples
from satori_hpc.errors import ArtefactError, InputError, SatoriError
from satori_hpc.log import collected
from satori_hpc.motifs import motif, readers
from satori_hpc.motifs.motif import Motif
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import provenance
from satori_hpc.run.layout import Run
from satori_hpc.sites import store as motif_store
from satori_hpc.sites.stage import motifs
from satori_hpc.training import checkpoint, predictions
from satori_hpc.training.checkpoint import CheckpointInfo
from tests.fixtures import tiny
from tests.fixtures.whole import read as read_whole

LENGTH, WIDTH, PADDING = 80, 10, 3
EXAMPLES = 240
RUNTIME = Runtime(device="cpu", threads=1, batch_size=64)
PLANTED = ("MA0035.5", "MA0004.1")  # filters 0 and 1; filter 1 reads the other strand


def known(identifier: str) -> Motif:
    pool = readers.jaspar(release="JASPAR2026", collection="CORE", groups=("vertebrates",))
    return next(item for item in pool if item.identifier == identifier)


def filter_of(item: Motif, *, reverse: bool) -> np.ndarray:
    """(4, WIDTH) log-odds of a motif at column 1; the rest does not count."""
    ppm = motif.reverse_complement(item.ppm) if reverse else item.ppm
    weights = np.zeros((WIDTH, 4))
    weights[1 : 1 + item.width] = np.log2((ppm + 0.01) / 1.04 * 4)
    return weights.T


def sequences(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Positives hold one instance of each planted motif; negatives hold none."""
    tokens = rng.choice(4, size=(EXAMPLES, LENGTH), p=[0.35, 0.15, 0.15, 0.35]).astype(np.uint8)
    labels = np.arange(EXAMPLES) % 2
    for row in np.flatnonzero(labels):
        for place, identifier in ((5, PLANTED[0]), (45, PLANTED[1])):
            item = known(identifier)
            start = place + rng.integers(20)
            word = [rng.choice(4, p=column) for column in item.ppm]
            tokens[row, start : start + item.width] = word
    tokens[rng.random(tokens.shape) < 0.002] = 4
    return tokens, labels.astype(np.uint8)[:, None]


def network(settings: config.Model, *, targets: int, task: str) -> models.Satori:
    torch.manual_seed(0)
    model = models.build(settings, length=LENGTH, targets=targets, task=task, entropy=0.0)
    with torch.no_grad():
        model.stem.conv.weight[0] = torch.from_numpy(filter_of(known(PLANTED[0]), reverse=False))
        model.stem.conv.weight[1] = torch.from_numpy(filter_of(known(PLANTED[1]), reverse=True))
        model.stem.norm.bias[2] = -1e6  # dead
    return model.eval()


def make(path: Path, *, task: str = "binary", probability: float = 0.9, **keys: object) -> Run:
    settings = dataclasses.replace(
        tiny.tiny_config(),
        model=config.Model(num_filters=4, kernel_size=WIDTH, padding=PADDING, num_heads=2, head_dim=4, mixing_size=8),
        motifs=config.Motifs(split="all", **keys),  # type: ignore[arg-type]
    )
    run = tiny.make_run(path, settings)
    tokens, labels = sequences(np.random.default_rng(3))
    targets = 1
    if task == "multilabel":
        labels = np.concatenate([labels, 1 - labels], axis=1)
        targets = 2
    names = [f"sim{k}:0-{LENGTH}(+)" for k in range(EXAMPLES)]
    places = Coordinates.of_names([f"sim{k}" for k in range(EXAMPLES)], LENGTH)
    split = np.repeat(np.array([0, 1, 2], np.uint8), EXAMPLES // 3)
    dataset.write(
        run.dataset,
        Examples(
            tokens=tokens, labels=labels, split=split, names=names, coordinates=places,
            targets=[f"t{i}" for i in range(targets)], task=task,
        ),
    )  # fmt: skip
    model = network(settings.model, targets=targets, task=task)
    checkpoint.save(
        run.best,
        weights=model.state_dict(),
        info=CheckpointInfo(config=settings.model, length=LENGTH, targets=targets, task=task, entropy=0.0),
    )
    scores = np.full((EXAMPLES, targets), probability, np.float32)
    scores[::10] = 0.1
    names = [f"t{i}" for i in range(targets)]
    predictions.write(run.predictions, np.zeros((EXAMPLES, targets), np.float32), scores, targets=names)
    return run


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_planted_motifs_come_back_with_their_names(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    summary = motifs(run, RUNTIME)
    assert summary["sequences"] == EXAMPLES // 2  # row 0, 10, ... have probability 0.1, and are negatives
    assert summary["filters"] == 4
    assert summary["sources"] == {}
    assert len(summary["database digest"]) == 64

    filters, tf = motif_store.read_filters(run.motifs), motif_store.read_tf(run.motifs)
    found = motif_store.read_motifs(run.motifs)
    assert summary["filters with a motif"] == len(found) == len(tf) == filters["written"].sum()
    assert filters["filter"].tolist() == [0, 1, 2, 3]
    assert np.isinf(filters["threshold"][2])
    assert (filters["sites"][2], filters["sequences"][2], filters["written"][2]) == (0, 0, False)
    np.testing.assert_allclose(filters["threshold"][:2], 0.65 * filters["maximum"][:2], rtol=1e-6)
    assert (filters["sequences"][:2] > 60).all()

    for number, (identifier, reverse) in enumerate(zip(PLANTED, (False, True), strict=True)):
        item = known(identifier)
        expected = motif.reverse_complement(item.ppm) if reverse else item.ppm
        columns = found[number].ppm[1 : 1 + item.width]
        assert motif.similarity(columns, expected) > 0.95
        assert np.abs(columns - expected).mean() < 0.08
        row = tf[tf["filter"] == number].iloc[0]
        assert row["named"]
        assert row["q"] <= 0.05
        assert row["bits"] > 5
        # The filter holds one column before the motif.
        if row["motif_id"] == identifier:
            assert row["offset"] == -1
            assert row["strand"] == ("-" if reverse else "+") or identifier == PLANTED[1]  # Arnt is a palindrome
    assert tf["tf"][0] == known(PLANTED[0]).name
    assert {"filter0", "filter1"} <= {item.name for item in found.values()}

    text = (run.motifs / "filters.meme").read_text()
    _, background = motif_store.read_meme(run.motifs / "filters.meme")
    assert "ALPHABET= ACGT" in text
    assert 0.29 < background[0] < 0.36  # the sequences' own frequencies, not 0.25


def test_sites_are_those_of_the_forward_pass(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    motifs(run, RUNTIME)
    data = read_whole(run.dataset)
    rows = np.flatnonzero(data.labels[:, 0] == 1)
    model, _ = checkpoint.load(run.best, "cpu")
    with torch.inference_mode():
        output = model(torch.from_numpy(data.tokens[rows]), activations=True)
    assert output.activations is not None
    track = output.activations.numpy()
    filters = motif_store.read_filters(run.motifs)
    np.testing.assert_allclose(filters["maximum"], track.max(axis=(0, 2)), rtol=1e-6)
    letters = np.zeros((WIDTH, 4))
    threshold = filters["threshold"][3]
    for example, position in zip(*np.nonzero(track[:, 3] > threshold), strict=True):
        start = position - PADDING
        word = data.tokens[rows[example], max(start, 0) : start + WIDTH]
        if start >= 0 and len(word) == WIDTH and (word < 4).all():
            letters[np.arange(WIDTH), word] += 1
    assert filters["sites"][3] == letters[0].sum()
    np.testing.assert_allclose(
        motif_store.read_motifs(run.motifs)[3].ppm, (letters + 1) / (letters[0].sum() + 4), atol=1e-7
    )


def test_batch_size_changes_nothing_and_a_second_run_replaces_the_first(tmp_path: Path) -> None:
    run = make(tmp_path / "run", threshold_rule="legacy")
    motifs(run, RUNTIME)
    first = bytes_of(run.motifs)
    table = motif_store.read_filters(run.motifs)
    (run.motifs / "left over").write_text("old")
    for batch in (1, 17, 1000):
        motifs(run, dataclasses.replace(RUNTIME, batch_size=batch))
        again = bytes_of(run.motifs)
        # torch may sum a convolution in another order for another batch: the last bit of the maximum is not ours.
        pd.testing.assert_frame_equal(motif_store.read_filters(run.motifs), table, rtol=1e-6)
        assert {name: again[name] for name in ("filters.meme", "tf.parquet")} == {
            name: first[name] for name in ("filters.meme", "tf.parquet")
        }
        assert again.keys() == first.keys()
    motifs(run, RUNTIME)
    assert bytes_of(run.motifs) == first


def test_multilabel_takes_every_sequence_of_the_split(tmp_path: Path) -> None:
    run = make(tmp_path / "run", task="multilabel")
    assert motifs(run, RUNTIME)["sequences"] == EXAMPLES


def test_named_filters_with_sites_in_few_sequences_are_counted(tmp_path: Path) -> None:
    run = make(tmp_path / "run", threshold=0.9, min_sites=1)
    with collected() as warnings:
        motifs(run, RUNTIME)
    filters, tf = motif_store.read_filters(run.motifs), motif_store.read_tf(run.motifs)
    sequences = filters.set_index("filter").loc[tf["filter"][tf["named"]], "sequences"]
    rare = sequences[sequences < 50]
    assert len(rare) > 0
    assert f"{len(rare)} of {len(sequences)} named filters have sites in fewer than 50 sequences" in warnings[0]
    assert f"filter {rare.index[0]}: {rare.iloc[0]}" in warnings[0]


def test_few_sites_make_no_motif_and_nothing_named_is_no_error(tmp_path: Path) -> None:
    run = make(tmp_path / "run", min_sites=10**6)
    summary = motifs(run, RUNTIME)
    assert (summary["filters with a motif"], summary["filters with a TF"], summary["TFs"]) == (0, 0, 0)
    assert summary["filters with sites"] == 3
    filters = motif_store.read_filters(run.motifs)
    assert not filters["written"].any()
    assert (filters["sites"][[0, 1, 3]] > 0).all()
    assert len(motif_store.read_tf(run.motifs)) == 0


def test_a_name_needs_both_q_and_information(tmp_path: Path) -> None:
    run = make(tmp_path / "run", min_match_bits=50.0)
    motifs(run, RUNTIME)
    tf = motif_store.read_tf(run.motifs)
    assert (tf["q"] <= 0.05).any()
    assert not tf["named"].any()


def test_a_meme_file_as_database(tmp_path: Path) -> None:
    run = make(tmp_path / "run", database="known.meme")
    pool = readers.jaspar(release="JASPAR2026", collection="CORE", groups=("vertebrates",))
    planted = [known(identifier) for identifier in PLANTED]
    others = [item for item in pool if max(motif.similarity(item.ppm, one.ppm) for one in planted) < 0.6]
    chosen = [*planted, *others[:60]]
    motif_store.write_meme(run.path / "known.meme", chosen, motif.UNIFORM)
    summary = motifs(run, RUNTIME)
    digest = provenance.file_digest(run.path / "known.meme")
    assert summary["sources"] == {str((run.path / "known.meme").resolve()): digest}
    assert (summary["database"], summary["database motifs"], summary["database digest"]) == ("known.meme", 62, digest)
    tf = motif_store.read_tf(run.motifs)
    assert tf["motif_id"].tolist()[:2] == list(PLANTED)
    assert tf["tf"].tolist()[:2] == [known(identifier).name for identifier in PLANTED]
    assert tf["offset"].tolist()[:2] == [-1, -1]


def test_what_cannot_be_done_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    run = make(tmp_path / "a", probability=0.3)
    with pytest.raises(SatoriError, match=r"of 240 examples in the all split 120 are positive.*0\.65.*0\.300"):
        motifs(run, RUNTIME)
    assert not run.motifs.exists()

    run = make(tmp_path / "b", database="absent.meme")
    with pytest.raises(InputError, match=r"database = 'absent.meme': no file .*absent\.meme"):
        motifs(run, RUNTIME)
    run.resolve("absent.meme").write_text("MEME version 4\n\nMOTIF x\nletter-probability matrix: w= 1\n 1 1 1 1\n")
    with pytest.raises(InputError, match="line 5: the row sums to 4"):
        motifs(run, RUNTIME)
    run = make(tmp_path / "c", jaspar_groups=("mammals",))
    with pytest.raises(InputError, match="known: .*vertebrates"):
        motifs(run, RUNTIME)
    run = make(tmp_path / "d")
    run.best.write_bytes(run.best.read_bytes()[:100])
    with pytest.raises(ArtefactError, match="satori-hpc train"):
        motifs(run, RUNTIME)
    assert not run.motifs.exists()
