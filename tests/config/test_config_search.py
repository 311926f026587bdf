"""[search] of run.toml: what can be declared, and what is refused before anything is tried."""

import pytest

from satori_hpc.config import Config, edit, toml
from satori_hpc.config.search import Choice, Range, Space
from satori_hpc.errors import ConfigError
from satori_hpc.run import new


def parsed(space: str, **search: object) -> Config:
    lines = [f"{key} = {toml.to_toml(value)}" for key, value in search.items()]
    return toml.parse("\n".join(["[search]", *lines, "[search.space]", space]), Config, name="run.toml")


def test_choices_and_ranges_are_read_and_written_back() -> None:
    config = parsed("""
train.learning_rate = {low = 1e-4, high = 1e-2, log = true}
model.num_filters = [64, 200]
"model.num_heads" = [2, 4]
train.batch_size = {low = 32, high = 256}
model.block_widths = [[64, 96], [128]]
""")
    assert config.search.space == Space(
        (
            Choice("model.block_widths", ((64, 96), (128,))),
            Choice("model.num_filters", (64, 200)),
            Choice("model.num_heads", (2, 4)),
            Range("train.batch_size", 32, 256),
            Range("train.learning_rate", 1e-4, 1e-2, log=True),
        )
    )
    assert toml.parse(toml.render(config), Config, name="run.toml") == config


def test_the_default_space_can_be_used_with_every_preset() -> None:
    for preset in new.PRESETS:
        config = new.simulated(preset, seed=1)
        assert toml.parse(toml.render(config), Config, name=preset) == config


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ("model.filers = [1]", "model.filers: unknown key 'filers'; did you mean 'num_filters'"),
        ("model.num_filters = [64, 1]", "model.num_filters = 1: expected at least 2"),
        ("model.num_filters = [64, 64]", "a value stands there twice"),
        ("model.num_filters = []", "expected at least one value"),
        ("model.num_filters = 64", "expected a list of values"),
        ("model.num_filters = {low = 8}", "expected a list of values"),
        ("model.num_filters = {low = 8, high = 9.5}", "9.5: expected a whole number"),
        ("model.num_filters = {low = 9, high = 8}", "low = 9 is not below high = 8"),
        ("model.dropout = {low = 0, high = 0.5, log = true}", "log = true needs low above 0"),
        ("train.optimiser = ['adam', 'lion']", "expected one of adam, adamw, sgd"),
        ("train.optimiser = {low = 1, high = 2}", "a range suits numbers only"),
        ("prepare.valid_fraction = [0.1]", "trials share the data of this run"),
        ("seed = [1, 2]", "seed: cannot be varied"),
        ("reduce.alpha = [0.1]", "select = 'auroc' varies keys of model, train"),
        ("score.sites = [1]", "is a section"),
        ("", "is empty"),
    ],
)
def test_what_cannot_be_tried_is_refused_when_the_file_is_read(space: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parsed(space, select="f1" if space.startswith("score") else "auroc")
    assert words in str(refused.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        parsed("model.filers = [1]\nmodel.num_heads = [0]\ntrain.epochs = 'many'")
    assert str(refused.value).count("\n  - ") >= 1
    with pytest.raises(ConfigError) as refused:
        parsed("model.filers = [1]\nmodel.num_heads = [0]")
    assert str(refused.value).count("\n  - ") == 2


def test_f1_may_vary_what_comes_after_training() -> None:
    assert parsed("reduce.alpha = [0.1]\ntrain.entropy = [0, 1e-3]", select="f1").search.select == "f1"


def test_a_changed_key_leaves_the_space_as_it_was(tmp_path) -> None:
    made = new.new(tmp_path / "run", config=parsed("model.num_filters = [64, 200]  # mine"))
    assert edit.change(made.config_file, "search.trials", 7)
    text = made.config_file.read_text()
    assert "model.num_filters = [64, 200]" in text
    assert "trials = 7" in text
