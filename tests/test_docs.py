"""The documentation says what the code does: options, columns, arrays, keys and examples of docs/ are checked."""

import dataclasses
import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import zarr

from docs import make_options
from satori_hpc.config import Config, toml
from satori_hpc.data import source
from satori_hpc.data.sources.simulate import truth
from satori_hpc.evaluation import known_tables
from satori_hpc.interactions import differential, spacing, tables
from satori_hpc.interactions.tracks import files as track_files
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import execute, pipeline
from satori_hpc.run.layout import Run
from satori_hpc.run.provenance import Record
from satori_hpc.scoring import layout as score_layout
from satori_hpc.sites import store as motif_store
from satori_hpc.tools import cluster_motifs
from satori_hpc.training import checkpoint, metrics
from satori_hpc.training.checkpoint import CheckpointInfo
from satori_hpc.tuning import ensemble
from tests.fixtures.guests import METHOD, MODEL, SOURCE, STATISTIC
from tests.fixtures.runs import TinyRun
from tests.fixtures.tiny import change

DOCS = Path(__file__).parent.parent / "docs"
FORMATS = (DOCS / "formats.md").read_text(encoding="utf-8")
DTYPES = {"double": "float64", "float": "float32"}


def section(heading: str) -> str:
    """The text under a heading of docs/formats.md, up to the next one."""
    match = re.search(rf"^#+ {re.escape(heading)}$\n(.*?)(?=^#|\Z)", FORMATS, re.MULTILINE | re.DOTALL)
    assert match, f"docs/formats.md has no heading {heading!r}"
    return match[1]


def rows(text: str) -> list[list[str]]:
    """The cells of every table row whose first cell is code; that cell without its back-ticks."""
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:3] == "| `"]
    return [[cells[0].strip("| `"), *cells[1:]] for cells in found]


def keys(heading: str) -> list[str]:
    return [cells[0] for cells in rows(section(heading))]


@pytest.fixture(scope="module")
def run(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A real run, up to its evaluation, and its ensemble of one, in the folder that examples name."""
    made = tiny_run("reduce", tmp_path_factory.mktemp("docs") / "RUN")
    made = change(made, ensemble={"seeds": 1}, evaluate={"known": ("../known.tsv",)})
    for name in pipeline.remaining(made):
        if name == "evaluate":  # a table that knows the filters by whatever names they came to have
            names = motif_store.read_tf(made.motifs)["tf"]
            (made.path.parent / "known.tsv").write_text("gene_a\tgene_b\n" + "".join(f"{tf}\tX\n" for tf in names))
        if name != "report":
            execute.execute(made, name, Runtime(device="cpu", threads=1))
    assert ensemble.ensemble(made, Runtime(device="cpu", threads=1)).complete
    return made


def test_options_are_up_to_date() -> None:
    made = make_options.PATH.read_text(encoding="utf-8")
    assert make_options.render() == made, "run: python docs/make_options.py"


@pytest.mark.parametrize("plugin", [METHOD, MODEL, SOURCE, STATISTIC])
def test_the_plug_ins_that_are_shown_are_those_that_are_tested(plugin: Path) -> None:
    shown = re.findall(r"```python\n(.*?)```", (DOCS / "architecture.md").read_text(encoding="utf-8"), re.DOTALL)
    assert plugin.read_text().partition('"""\n\n')[2] in shown


def test_every_option_and_section_is_in_the_options_page() -> None:
    text = make_options.PATH.read_text(encoding="utf-8")

    def check(name: str, schema: Any) -> None:
        part = re.search(
            rf"^## {re.escape(f'[{name}]' if name else 'Top of the file')}$(.*?)(?=^## )", text, re.M | re.S
        )
        assert part, name
        if hasattr(schema, "toml_lines"):  # keys of the user's choice
            return
        hints = typing.get_type_hints(schema)
        for field in toml.fields(schema).values():
            if field.metadata.get("table"):
                inner = next((each for each in typing.get_args(hints[field.name]) if each is not type(None)), None)
                check(f"{name}.{field.name}".strip("."), inner or hints[field.name])
            else:
                assert f"\n| `{field.name}` | " in part[1], f"[{name}] {field.name}"

    check("", Config)


@pytest.mark.parametrize(
    ("heading", "columns"),
    [
        ("interactions/\\<method\\>", {name: str(kind) for name, (kind, _) in tables.COLUMNS.items()}),
        ("\\<method\\>.tf", {name: str(kind) for name, (kind, _) in tables.TF_COLUMNS.items()}),
        ("\\<method\\>.differential", {name: str(kind) for name, (kind, _) in differential.COLUMNS.items()}),
        ("\\<method\\>.spacing", {name: str(kind) for name, (kind, _) in spacing.COLUMNS.items()}),
        ("\\<method\\>.spacing_counts", {name: str(kind) for name, (kind, _) in spacing.COUNTS.items()}),
        ("ensemble/\\<method\\>_tf", {name: str(kind) for name, (kind, _) in tables.ENSEMBLE_COLUMNS.items()}),
        ("filters.parquet", {field.name: str(field.type) for field in motif_store.FILTERS}),
        ("tf.parquet", {field.name: str(field.type) for field in motif_store.TF}),
    ],
)
def test_tables_have_the_documented_columns_in_order(heading: str, columns: dict[str, str]) -> None:
    documented = [(cells[0], cells[1]) for cells in rows(section(heading))]
    assert documented == [(name, DTYPES.get(kind, kind)) for name, kind in columns.items()]


@pytest.mark.parametrize(
    ("heading", "registry"),
    [
        ("interactions/\\<method\\>", tables.COLUMNS),
        ("\\<method\\>.tf", tables.TF_COLUMNS),
        ("\\<method\\>.differential", differential.COLUMNS),
        ("\\<method\\>.spacing", spacing.COLUMNS),
        ("\\<method\\>.spacing_counts", spacing.COUNTS),
        ("ensemble/\\<method\\>_tf", tables.ENSEMBLE_COLUMNS),
    ],
)
def test_interaction_columns_have_the_documented_meanings(
    heading: str, registry: dict[str, tuple[pa.DataType, str]]
) -> None:
    documented = {cells[0]: cells[2].removesuffix(" |").replace("\\|", "|") for cells in rows(section(heading))}
    assert documented == {name: meaning for name, (_, meaning) in registry.items()}


def test_text_tables_have_the_documented_columns_in_order() -> None:
    assert keys("history.tsv") == list(checkpoint.COLUMNS)
    assert keys("labels.tsv") == list(metrics.COLUMNS)
    assert keys("excluded_records.tsv.gz") == list(source.COLUMNS)
    assert keys("\\<method\\>.known.tsv") == list(known_tables.COLUMNS)
    assert keys("sites.bed, sites.bb") == list(track_files.SITES)
    assert keys("clusters.tsv") == list(cluster_motifs.COLUMNS)
    assert keys("truth/") == [*truth.PAIR_COLUMNS, *truth.INSTANCE_COLUMNS]


def test_keys_of_records_markers_and_checkpoints_are_documented() -> None:
    assert set(keys("provenance/\\<stage\\>.json")) == {*(field.name for field in dataclasses.fields(Record)), "sha256"}
    assert keys("checkpoints/") == [field.name for field in dataclasses.fields(CheckpointInfo)]
    store = section("scores/\\<method\\>.zarr")
    for field in dataclasses.fields(score_layout.Marker):
        assert f"\n| `{field.name}` | " in store, field.name


def arrays(group: zarr.Group, prefix: str = "") -> Iterator[tuple[str, zarr.Array]]:
    for name, member in group.members():
        if isinstance(member, zarr.Group):
            yield from arrays(member, f"{prefix}{name}/")
        else:
            yield prefix + name, member


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("heading", "path"),
    [
        ("dataset.zarr", "dataset.zarr"),
        ("predictions.zarr", "predictions.zarr"),
        ("scores/\\<method\\>.zarr", "scores/attention.zarr"),
    ],
)
def test_stores_hold_the_documented_arrays_and_attributes(run: Run, heading: str, path: str) -> None:
    group = zarr.open_group(run.path / path, mode="r")
    documented = {cells[0]: cells for cells in rows(section(heading)) if cells[1].startswith("(")}
    found = dict(arrays(group))
    assert documented.keys() == found.keys()
    for name, array in found.items():
        _, dimensions, dtype, *more = documented[name]
        assert dtype == ("string" if array.dtype.kind == "T" else str(array.dtype)), name
        named = tuple(part.strip() for part in dimensions.strip("(),").split(","))
        assert named == array.metadata.dimension_names, name
        if heading.startswith("scores") and dtype != "string":
            np.testing.assert_equal(float(more[0]), float(np.asarray(array.fill_value)), err_msg=name)
    for attribute in group.attrs:
        assert f"`{attribute}`" in section(heading), attribute


def test_keys_of_the_evaluation_are_documented(run: Run) -> None:
    documented = set(keys("evaluation.json"))
    content = json.loads(run.evaluation.read_text())
    scores = content["methods"]["attention"]
    leaves = {key for key in scores if key != "curve"} | {f"curve.{key}" for key in scores["curve"]}
    known = {f"truth.{key}" for key in content["truth"]}
    baseline = {f"cooccurrence.{key}" for key in content["cooccurrence"].keys() - scores.keys()}
    top = {"format_version", "call_all", "methods.<method>", "cooccurrence", "yardsticks", "known"}
    assert documented == leaves | known | baseline | top
    assert set(content["call_all"]) == set(scores) - {"statistic", "aupr", "aupr_effect", "curve"}


def test_keys_of_the_yardsticks_are_documented(run: Run) -> None:
    content = json.loads(run.evaluation.read_text())["yardsticks"]
    assert keys("evaluation.json: yardsticks") == [*content, *content["tests"][0]]


def test_keys_of_known_interactions_are_documented(run: Run) -> None:
    content = json.loads(run.evaluation.read_text())["known"]
    table = content["tables"][0]
    method = table["methods"]["attention"]
    inner = [*(table.keys() - {"methods"}), "methods.<method>", *method, *method["direct"]]
    assert sorted(keys("evaluation.json: known")) == sorted([*content, *inner])
    assert method["direct"].keys() == method["shared"].keys()


def test_keys_of_the_summary_of_an_ensemble_are_documented(run: Run) -> None:
    content = json.loads(run.ensemble_summary.read_text())
    figures = content.pop("methods")["attention"]
    assert set(keys("ensemble.json")) == {*content, "methods.<method>"}
    for key in figures:
        assert f"`{key}`" in section("ensemble.json"), key


def test_every_file_of_a_run_stands_in_the_tree(run: Run) -> None:
    tree = FORMATS.split("```")[1]
    for path in run.path.rglob("*"):
        parts = path.relative_to(run.path).parts
        if not path.is_file() or any(part.endswith((".zarr", ".markers")) for part in parts):
            continue
        if parts[0] == "provenance":
            assert "provenance/<stage>.json" in tree
            continue
        name = re.sub(r"step_\d+", "step_<n>", path.name.replace("attention", "<method>"))
        assert re.search(rf"(^|\s){re.escape(name)}(\s|$)", tree), path
    for store in run.path.glob("*.zarr"):
        assert f"{store.name}/" in tree


def test_every_example_runs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.path.parent)
    examples = re.findall(r"```python\n(.*?)```", FORMATS, re.DOTALL)
    assert len(examples) >= 8
    for example in examples:
        exec(compile(example, "docs/formats.md", "exec"), {})


def test_links_between_pages_lead_somewhere() -> None:
    for page in DOCS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_ci_finds_the_test_command_in_the_readme() -> None:
    """.ci/run takes it from the block under this line."""
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^Pass the tests:\n\n```bash\n(python3 .*pytest)\n```$", text, re.MULTILINE)
    assert block, "README.md: no test command under 'Pass the tests:'"
    ci = (DOCS.parent / ".ci" / "run").read_text(encoding="utf-8")
    assert "/^Pass the tests:/" in ci
