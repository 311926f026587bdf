import numpy as np
import pytest
import torch

from satori_hpc.config.motif_tokens import MotifTokens as Settings
from satori_hpc.models import dropout, motif_bins
from satori_hpc.models.motif_bins import MotifTokens
from satori_hpc.models.motif_tokens import DistanceAttention, MotifTokenNetwork, TokenLinear
from satori_hpc.motifs.motif import Motif
from satori_hpc.motifs.scan import MotifBank
from tests.oracles import plain_motif_tokens

LENGTH = 30


def bank_of(rng: np.random.Generator, widths: tuple[int, ...] = (4, 5, 3, 5)) -> MotifBank:
    ppms = [rng.dirichlet([0.3] * 4, size=width) for width in widths]
    return MotifBank.from_motifs([Motif(name=f"m{i}", ppm=ppm, sites=30) for i, ppm in enumerate(ppms)])


def network(*, targets: int = 1, seed: int = 0, **settings: object) -> MotifTokenNetwork:
    torch.manual_seed(seed)
    wanted = Settings(**{"pool": 4, "num_filters": 3, "kernel_size": 5, "size": 8, "gate_p": 0.05, **settings})
    task = "binary" if targets == 1 else "multilabel"
    bank = bank_of(np.random.default_rng(seed))
    return MotifTokenNetwork(wanted, bank, length=LENGTH, targets=targets, task=task).eval()


def sequences(examples: int = 6, *, unknown: bool = True, seed: int = 1) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 4, size=(examples, LENGTH)).astype(np.uint8)
    if unknown:
        tokens[rng.random(tokens.shape) < 0.03] = 4
    return torch.from_numpy(tokens)


def one_hot(tokens: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(tokens.long(), 5)[:, :, :4].float().transpose(1, 2).contiguous()


@pytest.mark.parametrize(
    ("targets", "settings"),
    [(1, {}), (3, {"num_heads": 2}), (1, {"num_filters": 0, "gate_share": 0.3}), (1, {"compete": False, "pool": 7})],
)
def test_against_the_plain_network(targets: int, settings: dict[str, object]) -> None:
    model, tokens = network(targets=targets, **settings), sequences()
    wanted, bank = model.settings, model.known.bank
    weights = {name: value.detach().double().numpy() for name, value in model.named_parameters()}
    bins = plain_motif_tokens.bin_values(
        tokens.numpy(), list(bank.scores), bank.background,
        share=wanted.gate_share, p=wanted.gate_p, compete=wanted.compete, pool=wanted.pool,
    )  # fmt: skip
    assert (bins > 0).sum() > 20
    if wanted.num_filters:
        learned = (weights["learned.conv.weight"], weights["learned.conv.bias"])
        bins = np.concatenate([bins, plain_motif_tokens.filter_values(tokens.numpy(), *learned, wanted.pool)], axis=2)
    logits, attention = plain_motif_tokens.read(bins, weights, wanted.num_heads)
    with torch.no_grad():
        found = model(tokens, attention=True, entropy=True)
    assert found.logits.numpy() == pytest.approx(logits, rel=1e-4, abs=1e-5)
    assert found.attention is not None
    assert found.attention.numpy() == pytest.approx(attention, rel=1e-4, abs=1e-6)
    entropy = -(attention * np.log(attention)).sum(axis=3).mean(axis=2).sum(axis=1)
    assert found.entropy is not None
    assert found.entropy.numpy() == pytest.approx(entropy, rel=1e-4)


def test_codes_letters_and_mixtures_of_letters_have_the_same_hits(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = network(), sequences(40)
    letters = one_hot(tokens)
    here, none = model.known.hits(tokens)
    assert none is None
    monkeypatch.setattr(motif_bins, "_is_one_hot", lambda _: False)
    monkeypatch.setattr(motif_bins, "SCORES_AT_ONCE", 7 * 8 * LENGTH)  # several blocks
    mixed, scores = model.known.hits(letters)
    assert scores is not None
    assert np.array_equal(scores.numpy(), mixed.score)
    monkeypatch.undo()
    for name, column in vars(here).items():
        assert np.array_equal(column, vars(mixed)[name]), name
    with torch.no_grad():
        logits = model(tokens).logits
    assert torch.equal(model(letters).logits, logits)
    assert torch.equal(model(letters.requires_grad_()).logits, logits)


def test_gradient_is_that_of_the_scores_of_winners() -> None:
    """Along a straight way from one sequence to another, where no hit comes or goes, the logit has that slope."""
    model, tokens = network().double(), sequences(3, unknown=False)
    here, there = (one_hot(each).double() for each in (tokens, tokens.flip(0)))
    checked = 0
    for part in (0.03, 0.05, 0.08):
        letters = (here + part * (there - here)).requires_grad_()
        table, _ = model.known.hits(letters)
        model(letters).logits.sum().backward()
        assert letters.grad is not None
        slope = float((letters.grad * (there - here)).sum())
        step = 1e-5
        ends = [here + (part + sign * step) * (there - here) for sign in (1, -1)]
        if any(not np.array_equal(model.known.hits(end)[0].start, table.start) for end in ends):
            continue
        with torch.no_grad():
            up, down = (float(model(end).logits.sum()) for end in ends)
        assert slope == pytest.approx((up - down) / (2 * step), rel=1e-4)
        checked += 1
    assert checked >= 2


def test_a_hit_taken_away_is_a_hit_that_never_was() -> None:
    model, tokens = network(num_filters=0), sequences(2)
    hits, _ = model.known.hits(tokens)
    with torch.no_grad():
        assert torch.equal(model.of_tokens(model.known.tokens(hits, 2), None).logits, model(tokens).logits)
    chosen = np.arange(len(hits)) % 3 == 0
    whole, left = (model.known.tokens(hits.take(rows), 2).dense() for rows in (chosen | True, ~chosen))
    taken = hits.take(chosen)
    assert int((whole != left).sum()) == len(taken)
    for example, bin, number in zip(taken.example, (taken.start + taken.end) // 2 // 4, taken.motif, strict=True):
        assert left[example, bin, number] < whole[example, bin, number]


def test_a_result_does_not_depend_on_the_batch_and_weights_rebuild_the_network() -> None:
    model, tokens = network(), sequences(9)
    again = network(seed=0)
    again.load_state_dict(network(seed=0).state_dict())
    with torch.no_grad():
        whole = model(tokens).logits
        assert torch.equal(again(tokens).logits, whole)
        assert torch.allclose(torch.cat([model(part).logits for part in tokens.split(2)]), whole, rtol=1e-5)


def test_random_choices_in_training_follow_from_the_place_of_an_example() -> None:
    model, tokens = network(hit_dropout=0.4, num_filters=0).train(), sequences(8)
    layers = [layer for layer in model.modules() if isinstance(layer, dropout.Keyed)]
    assert len(layers) == 4

    def run(part: slice) -> torch.Tensor:
        dropout.place(layers, seeds=[5, 6, 7, 8], first=part.start)
        return model(tokens[part]).logits.detach()

    whole = run(slice(0, 8))
    assert torch.allclose(torch.cat([run(slice(0, 3)), run(slice(3, 8))]), whole, rtol=1e-6)
    assert not torch.allclose(whole, model.eval()(tokens).logits)


def test_coins_follow_from_the_place_of_an_example() -> None:
    coin = dropout.Coin()
    coin.key = dropout.Key(seed=3, first=10)
    drawn = coin(400, torch.device("cpu"))
    assert 150 < int(drawn.sum()) < 250
    coin.key = dropout.Key(seed=3, first=110)
    assert torch.equal(coin(100, torch.device("cpu")), drawn[100:200])
    assert not bool(coin.eval()(400, torch.device("cpu")).any())


def test_turned_examples_see_their_bins_in_reversed_order() -> None:
    model = network()
    parts = torch.randn(3, 2, 8, 8)
    mixed, kept, _ = model.attention(parts, torch.tensor([True, False]))
    there, flipped, _ = model.attention(parts.flip(2), torch.tensor([False, True]))
    assert torch.allclose(mixed, there.flip(1), atol=1e-6)
    assert torch.allclose(kept, flipped.flip(2, 3), atol=1e-6)


def test_remembered_sequences_have_the_hits_that_are_found_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = network(), sequences(12)
    monkeypatch.setattr(motif_bins, "MOST_REMEMBERED", 11)
    parts = [tokens, tokens[torch.tensor([9, 2, 2, 5])], tokens[3:4], tokens[:0]]
    fresh = [vars(model.known.hits(part)[0]) for part in parts]
    with torch.no_grad():
        logits = model(tokens).logits
        model.remember(tokens[[0, 1, 2, 3, 1, 4]].numpy())  # one of them twice
        model.remember(tokens[5:].numpy())  # two of them are beyond what is remembered
        assert torch.equal(model(tokens).logits, logits)
    for part, expected in zip(parts, fresh, strict=True):
        for name, column in vars(model.known.hits(part)[0]).items():
            assert np.array_equal(column, expected[name]), name
    del model.known._scanner  # nothing is looked for now
    assert len(model.known.hits(tokens[:10])[0]) > 20
    with pytest.raises(AttributeError):
        model.known.hits(tokens[11:])


def test_gradients_do_not_depend_on_the_order_in_which_threads_add_them() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.manual_seed(1)
        project = TokenLinear(motifs=20, filters=0, outputs=256)
        attention = DistanceAttention(bins=200, heads=2, size=64)
        places = torch.arange(40 * 200)
        known = MotifTokens((40, 200, 20), places // 200, places % 200, places * 7 % 20, torch.rand(len(places)))
        turned = torch.arange(40) % 2 == 0
        found = []
        for _ in range(5):
            for each in (project, attention):
                each.zero_grad()
            *parts, _ = project(known, None).chunk(4, dim=2)
            mixed, _, _ = attention(parts, turned)
            mixed.square().sum().backward()
            found.append([each.grad.clone() for each in (project.motifs, attention.distance)])
        for other in found[1:]:
            for one, again in zip(found[0], other, strict=True):
                assert torch.equal(one, again)
    finally:
        torch.set_num_threads(before)
