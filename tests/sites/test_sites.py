import numpy as np
import pytest
import torch

from satori_hpc.config import Model
from satori_hpc.models import build
from satori_hpc.models.motif_bins import StrandFilters
from satori_hpc.models.satori import Satori
from satori_hpc.motifs import motif
from satori_hpc.sites import activations
from satori_hpc.sites.activations import Extremes, SiteCounts
from tests.oracles import motif_oracle

LENGTH = 60


def model_of(weights: np.ndarray, biases: list[float], *, padding: int, activation: str = "relu") -> Satori:
    """A real network whose first filters are given: weights (F, 4, W); batch norm adds the bias."""
    filters, _, width = weights.shape
    config = Model(
        num_filters=filters,
        kernel_size=width,
        padding=padding,
        activation=activation,
        num_heads=2,
        head_dim=4,
        mixing_size=8,
    )
    model = build(config, length=LENGTH, targets=1, task="binary", entropy=0.0)
    with torch.no_grad():
        # eps of the batch norm scales the weights by 1 / sqrt(1 + eps); undone here so that scores are as given.
        norm = model.stem.norm
        model.stem.conv.weight.copy_(torch.from_numpy(weights) * (1 + norm.eps) ** 0.5)
        norm.bias.copy_(torch.tensor(biases))
    return model.eval()


def run(model: Satori, tokens: np.ndarray, *, batch: int, share: float = 0.65, rule: str = "maximum") -> SiteCounts:
    extremes = Extremes(model.filters)
    counts = SiteCounts.empty(model.filters, model.width)

    def batches() -> list[tuple[np.ndarray, torch.Tensor]]:
        pieces = [tokens[i : i + batch] for i in range(0, len(tokens), batch)]
        with torch.inference_mode():
            tracks = [model(torch.from_numpy(piece), activations=True).activations for piece in pieces]
        return list(zip(pieces, tracks, strict=True))

    for _, track in batches():
        extremes.add(track)
    threshold = torch.from_numpy(activations.thresholds(extremes.maximum, extremes.mean, share=share, rule=rule))
    for piece, track in batches():
        counts.add(piece, track, threshold, padding=model.padding)
    return counts


PLANTED = [(width, padding) for width in (1, 2, 5, 8, 13) for padding in range(width)]


@pytest.mark.parametrize(("width", "padding"), PLANTED)
def test_a_planted_motif_is_recovered_at_offset_zero(width: int, padding: int) -> None:
    """The filter scores +1 per right letter; only a full match is above zero. Instances touch both ends."""
    rng = np.random.default_rng([width, padding])
    examples = 80
    # The first letter of the word stands nowhere else, so that nothing but the instances matches.
    first, other, *rest = rng.permutation(4)
    word = rng.choice(rest, size=width)
    word[0] = first
    tokens = rng.choice(rest, size=(examples, LENGTH)).astype(np.uint8)
    starts = rng.integers(0, LENGTH - width + 1, size=examples)
    starts[:4] = [0, LENGTH - width, 0, LENGTH - width]
    last = np.where(rng.random(examples) < 0.5, word[-1], other)
    for row, start in enumerate(starts):
        tokens[row, start : start + width] = word
        tokens[row, start + width - 1] = last[row]
    weights = np.full((2, 4, width), -1.0, dtype=np.float32)
    weights[0, word, np.arange(width)] = 1.0
    weights[0, other, width - 1] = 1.0
    counts = run(model_of(weights, [1.0 - width + (width == 1), 0.0], padding=padding), tokens, batch=32)
    expected = np.zeros((width, 4))
    expected[np.arange(width), word] = 1
    expected[-1] = np.bincount(last, minlength=4) / examples
    assert counts.sites.tolist() == [examples, 0]  # the second filter is dead
    assert counts.sequences.tolist() == [examples, 0]
    np.testing.assert_allclose(motif.probabilities(counts.letters[0], 0.0), expected, atol=1e-12)


@pytest.mark.parametrize(("width", "padding", "rule"), [(4, 0, "maximum"), (5, 4, "legacy"), (6, 3, "legacy")])
def test_counts_against_loops_with_unknown_letters_and_edges(width: int, padding: int, rule: str) -> None:
    rng = np.random.default_rng(width)
    filters, examples = 4, 12
    tokens = rng.integers(0, 4, size=(examples, LENGTH)).astype(np.uint8)
    tokens[rng.random(tokens.shape) < 0.05] = 4
    tokens[3] = 4
    # Whole-number weights: sums are exact, so both versions see the same activations.
    weights = rng.integers(-2, 4, size=(filters, 4, width)).astype(np.float32)
    bias = [-1.0, 0.0, 1.0, -99.0]
    model = model_of(weights, bias, padding=padding)
    tracks = motif_oracle.activations(tokens, weights, np.array(bias), padding)
    maximum, mean = tracks.max(axis=(0, 2)), tracks.mean(axis=(0, 2))
    base = mean if rule == "legacy" else np.zeros(filters)
    threshold = base + 0.65 * (maximum - base)
    threshold[maximum <= 0] = np.inf
    letters, number, sequences = motif_oracle.site_counts(tokens, tracks, threshold, padding, width)
    assert number[:3].min() > 0
    assert number[3] == 0
    dropped = (tracks > threshold[None, :, None]).sum() - number.sum()
    assert dropped > 0  # windows with N or beyond the ends exist and are left out
    for batch in (1, 5, 100):
        counts = run(model, tokens, batch=batch, rule=rule)
        np.testing.assert_array_equal(counts.letters, letters)
        np.testing.assert_array_equal(counts.sites, number)
        np.testing.assert_array_equal(counts.sequences, sequences)


def test_pieces_of_a_large_batch_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 4, size=(20, LENGTH)).astype(np.uint8)
    weights = rng.integers(-2, 4, size=(3, 4, 5)).astype(np.float32)
    model = model_of(weights, [0.0] * 3, padding=2)
    whole = run(model, tokens, batch=20, share=0.1)
    monkeypatch.setattr(activations, "SITES_AT_ONCE", 7)
    pieces = run(model, tokens, batch=20, share=0.1)
    np.testing.assert_array_equal(whole.letters, pieces.letters)
    np.testing.assert_array_equal(whole.sequences, pieces.sequences)


def test_thresholds_are_strict_and_dead_filters_have_no_site() -> None:
    maximum, mean = np.array([10.0, 0.0, -np.inf, 4.0], np.float32), np.array([2.0, 0.0, 0.0, 4.0])
    np.testing.assert_array_equal(
        activations.thresholds(maximum, mean, share=0.5, rule="maximum"), np.array([5, np.inf, np.inf, 2], np.float32)
    )
    np.testing.assert_array_equal(
        activations.thresholds(maximum, mean, share=0.5, rule="legacy"), np.array([6, np.inf, np.inf, 4], np.float32)
    )
    tracks = torch.tensor([[[5.0, 5.1, 4.9]]])
    assert activations.locate(tracks, torch.tensor([5.0]))[2].tolist() == [1]


def test_extremes_do_not_depend_on_batches() -> None:
    rng = np.random.default_rng(1)
    track = torch.from_numpy(rng.normal(size=(50, 6, 33)).astype(np.float32))
    found = []
    for batch in (1, 7, 50):
        extremes = Extremes(6)
        for begin in range(0, 50, batch):
            extremes.add(track[begin : begin + batch])
        found.append((extremes.maximum, extremes.mean))
    for maximum, mean in found:
        np.testing.assert_array_equal(maximum, found[0][0])
        np.testing.assert_array_equal(mean, found[0][1])
    np.testing.assert_allclose(found[0][1], track.double().mean(dim=(0, 2)).numpy(), rtol=1e-12)


def test_windows_keep_the_order_of_the_sites() -> None:
    tokens = np.array([[0, 1, 2, 3, 4, 0], [3, 3, 2, 2, 1, 1]], dtype=np.uint8)
    example, position = np.array([1, 0, 0, 1, 0]), np.array([1, 0, 2, 5, 3])
    kept, letters = activations.windows(tokens, example, position, padding=1, width=3)
    assert kept.tolist() == [True, False, True, False, False]
    assert letters.tolist() == [[3, 3, 2], [1, 2, 3]]


def test_sites_of_filters_on_both_strands_are_counted_in_the_direction_of_the_filter() -> None:
    """The word stands on either strand, sometimes on both of an example; N and ends are dealt with as on one strand."""
    rng = np.random.default_rng(5)
    width, examples, length = 5, 60, 41
    word = np.array([0, 0, 2, 1, 0])
    tokens = rng.integers(0, 4, size=(examples, length)).astype(np.uint8)
    for row in range(0, examples, 2):
        tokens[row, 10:15] = word
    for row in range(0, examples, 3):
        tokens[row, 20:25] = 3 - word[::-1]
    tokens[rng.random(tokens.shape) < 0.02] = 4
    filters = StrandFilters(filters=2, width=width, length=length, pool=4)
    with torch.no_grad():
        filters.conv.weight[0] = torch.full((4, width), -1.0)
        filters.conv.weight[0, word, torch.arange(width)] = 1.0
        filters.conv.bias[0] = -3.0
        filters.conv.bias[1] = -99.0  # dead
        strands = filters.strands(torch.from_numpy(tokens))
        assert torch.equal(filters(torch.from_numpy(tokens))[:, :10].amax(1), strands[:, :, :, :40].amax((1, 3)))
    counts = SiteCounts.empty(2, width)
    counts.add_strands(tokens, strands, torch.tensor([1.0, torch.inf]))

    expected, sites, sequences = np.zeros((width, 4), int), 0, 0
    for row in tokens:
        here = 0
        for start in range(length - width + 1):
            window = row[start : start + width]
            if (window < 4).all() and min((window != word).sum(), (3 - window[::-1] != word).sum()) == 0:
                expected[np.arange(width), word] += 1
                here += 1
        sites, sequences = sites + here, sequences + (here > 0)
    assert sites > 40
    assert sequences < sites
    assert counts.sites.tolist() == [sites, 0]
    assert counts.sequences.tolist() == [sequences, 0]
    np.testing.assert_array_equal(counts.letters[0], expected)
