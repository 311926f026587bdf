"""run.toml: everything wrong with it is said at once, and what is rendered reads back."""

import dataclasses
import time
from pathlib import Path

import pytest

from satori_hpc import config
from satori_hpc.config import toml
from satori_hpc.errors import ConfigError
from satori_hpc.run import new


def write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("preset", list(new.PRESETS))
def test_rendered_configuration_reads_back(tmp_path: Path, preset: str) -> None:
    made = new.simulated(preset, seed=7)
    assert config.load(write(tmp_path, toml.render(made))) == made


@pytest.mark.parametrize("preset", list(new.PRESETS))
def test_what_new_writes_is_short_and_says_the_same(tmp_path: Path, preset: str) -> None:
    made = new.simulated(preset, seed=7)
    text = new.new(tmp_path / "run", config=made).config_file.read_text()
    assert toml.to_plain(config.load(tmp_path / "run" / "run.toml")) == toml.to_plain(made)
    keys = [line for line in text.splitlines() if " = " in line and not line.startswith("#")]
    assert len(keys) <= 30
    assert all("  # " in line for line in keys)
    for decided in (
        "seed = 7",
        'source = "simulated"',
        "examples = ",
        'database = "jaspar"',
        "methods = [",
        "statistic",
    ):
        assert any(line.startswith(decided) for line in keys)
    assert "max_sites" not in text


@pytest.mark.parametrize("preset", list(new.FILE_PRESETS))
def test_a_preset_for_files_reads_back(tmp_path: Path, preset: str) -> None:
    made = new.fasta("/a.fa", "/b.txt", preset=preset, seed=7)
    new.new(tmp_path / "run", config=made)
    assert config.load(tmp_path / "run" / "run.toml") == made


def test_the_known_motifs_of_a_network_are_found_from_elsewhere_too() -> None:
    made = toml.override(new.fasta("a.fa", "b.txt", preset="motifs", seed=1), "motifs.database = mine.meme")
    assert config.rooted(made, Path("/runs/1")).model == made.model, "jaspar is no file"
    made = toml.override(made, "model.motif-tokens.motifs = mine.meme")
    rooted = config.rooted(made, Path("/runs/1"))
    assert toml.get(rooted, "model.motif-tokens.motifs") == rooted.motifs.database == "/runs/1/mine.meme"
    made = toml.override(new.fasta("a.fa", "b.txt", preset="published", seed=1), "model.preloaded.motifs = mine.meme")
    assert config.rooted(made, Path("/runs/1")).model == made.model, "a file that no network starts from"
    made = toml.override(made, "model.first_layer = motifs")
    assert config.rooted(made, Path("/runs/1")).model.preloaded.motifs == "/runs/1/mine.meme"


def test_known_motifs_as_filters_are_for_networks_of_filters(tmp_path: Path) -> None:
    made = toml.override(new.fasta("a.fa", "b.txt", preset="motifs", seed=1), "model.first_layer = motifs")
    made = toml.override(made, "model.activation = exp")
    with pytest.raises(ConfigError, match="architectures basic and deep, found 'motif-tokens'") as error:
        new.new(tmp_path / "run", config=made)
    assert "has a gate of its own: set activation = 'relu'" in str(error.value)


def test_a_changed_search_space_and_files_are_written(tmp_path: Path) -> None:
    made = new.fasta("/a.fa", "/b.txt", preset="small", seed=1)
    made = toml.override(made, "search.space = {model.num_filters = [8, 16]}")
    made = toml.override(made, "ensemble.min_seeds = 2")
    new.new(tmp_path / "run", config=made)
    assert config.load(tmp_path / "run" / "run.toml") == made


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("score.methods=attention, epistasis", ["attention", "epistasis"]),
        ("score.methods=dfim", ["dfim"]),
        ('score.methods=["dfim"]', ["dfim"]),
        ("score.methods='dfim', 'attention'", ["dfim", "attention"]),
        ("prepare.test_chromosomes=1,2", ["1", "2"]),
        ("prepare.test_chromosomes=1", ["1"]),
        ("evaluate.known=", []),
        ("evaluate.known_organism=9606", "9606"),
        ("model.block_widths=128,160", [128, 160]),
        ("train.epochs = 3", 3),
        ("train.epochs = many", "many"),
        ("reduce.cutoff=0.1", "0.1"),
        ("reduce.cutoff='mean'", "mean"),
    ],
)
def test_text_needs_no_quotes_and_a_list_no_brackets(assignment: str, expected: object) -> None:
    assert list(toml.assigned(config.Config(), [assignment]).values()) == [expected]


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("reduce", "spacing_interactions", "3"),
        ("model", "recurrent_layers", "2"),
        ("prepare.genome", "peak_labels", "[]"),
    ],
)
def test_a_key_that_is_gone_is_unknown_like_any_other(section: str, key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"line 2: .{section}. {key}: unknown key"):
        toml.parse(f"[{section}]\n{key} = {value}\n", config.Config, name="run.toml")


def test_fasta_template_reads_back_with_awkward_names(tmp_path: Path) -> None:
    made = new.fasta('a "quoted" \\ name.fa', "tab\tle.txt", seed=1)
    assert config.load(write(tmp_path, toml.render(made))) == made


def test_all_problems_are_reported_at_once_with_their_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """format_version = 1
sed = 3
[prepare]
source = "simulated"
test_fraction = 1.5
[prepare.simulated]
tfs = "many"
[model]
num_heads = true
poool = 2
[train]
optimiser = "adagrad"
learning_rate = nan
[score]
methods = ["attention", "magic"]
[nonsense]
""",
    )
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    message = str(caught.value)
    for expected in (
        "line 2: sed: unknown key; did you mean 'seed'?",
        "line 5: [prepare] test_fraction = 1.5: expected at most 0.9",
        "line 7: [prepare.simulated] tfs = 'many': expected a whole number, found str",
        "line 9: [model] num_heads = True: expected a whole number, found bool",
        "line 10: [model] poool: unknown key; did you mean 'pool'?",
        "line 12: [train] optimiser = 'adagrad': expected one of adam, adamw, sgd",
        "line 13: [train] learning_rate = nan: expected a finite number",
        "line 15: [score] methods = ['attention', 'magic']: expected one of attention",
        "line 16: nonsense: unknown key",
    ):
        assert expected in message
    assert message.count("\n  - ") == 9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[prepare]\nsource = 'fasta'\n", "source = 'fasta' needs a section [prepare.fasta]"),
        ("[prepare.simulated]\n[prepare.fasta]\n", "yet there is a section [prepare.fasta]"),
        ("[prepare.simulated]\ntfs = 5\npairs = 11\n", "5 TFs form only 10 pairs"),
        ("[prepare.simulated]\ntfs = 5\npairs = 2\npairs_per_positive_min = 1\npairs_per_positive_max = 2", "too few"),
        ("[prepare.simulated]\nbase_frequencies = [0.5, 0.5, 0.5, 0.5]\n", "sum to 1"),
        ("[prepare.simulated]\nlength = 20\n[model]\nkernel_size = 21\n", "shorter than"),
        ("[prepare]\nsplit = 'chromosome'\nvalid_chromosomes = ['1']\n[prepare.simulated]\n", "both or neither"),
        ("[prepare.simulated]\n[model]\npadding = 13\n", "expected less than kernel_size"),
        ("[prepare.simulated]\n[reduce]\ncutoff = 'median'\n", "expected 'mean' or a number"),
    ],
)
def test_keys_that_contradict_each_other(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=".*") as caught:
        config.load(write(tmp_path, text))
    assert expected in str(caught.value)


def test_other_format_version_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "format_version = 99\n[prepare.simulated]\n")
    with pytest.raises(ConfigError, match="format_version = 99, this program reads 1"):
        config.load(path)


@pytest.mark.parametrize("content", [b"[prepare\n", b"\xff\xfe"])
def test_not_toml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"run\.toml"):
        config.load(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed = " + "9" * 5000, "not valid TOML"),
        ("seed = 0x" + "F" * 5000, "seed = a long number: expected a number of at most 64 bits"),
        ("[train]\nlearning_rate = 1" + "0" * 400, "learning_rate = 1000.*: expected a number of at most 64 bits"),
        ("seed = " + "[" * 50_000, "not valid TOML"),
        ("a." * 50_000 + "b = 1", "keys within keys"),
        ("['a'" + " . 'a'" * 50_000 + "]", "keys within keys"),
        ("A" * 200_000 + " = 1", "unknown key"),
        ("".join(f"a{number} = 1\n" for number in range(20_000)), "line 1: a0: unknown key"),
        ("[" + " " * 50_000, "not valid TOML"),
    ],
)
def test_hostile_text_is_refused_soon_and_in_few_words(tmp_path: Path, text: str, expected: str) -> None:
    began = time.process_time()
    with pytest.raises(ConfigError, match=expected) as caught:
        config.load(write(tmp_path, text))
    assert len(str(caught.value)) < 20_000
    assert time.process_time() - began < 10


def test_missing_file_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="satori-hpc new"):
        config.load(tmp_path / "run.toml")


def test_every_option_has_a_meaning() -> None:
    def check(section: object) -> None:
        for field in toml.fields(section).values():
            assert field.metadata["doc"], field.name
            value = getattr(section, field.name)
            if dataclasses.is_dataclass(value):
                check(value)

    check(config.Config())


def test_override_sets_a_key_of_any_depth() -> None:
    made = config.Config()
    for assignment in ("train.epochs=3", "prepare.simulated.tfs = 7", 'motifs.jaspar_groups=["insects"]', "seed=5"):
        made = toml.override(made, assignment)
    assert (made.train.epochs, made.seed, made.motifs.jaspar_groups) == (3, 5, ["insects"])
    assert made.prepare.simulated is not None
    assert made.prepare.simulated.tfs == 7
    assert toml.override(made, "model.architecture=deep").model.architecture == "deep"
    assert config.Config().train.epochs == 30


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("train.epochs", "expected section.key=value"),
        ("train.epoch=3", "did you mean 'epochs'?"),
        ("train.epochs.more=3", "known there: nothing"),
        ("nowhere.epochs=3", "known there: format_version"),
    ],
)
def test_override_of_what_does_not_exist(assignment: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        toml.override(config.Config(), assignment)
    assert expected in str(caught.value)
