"""The record of a finished stage, and what is said of records that cannot be used."""

import dataclasses
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from satori_hpc.errors import ArtefactError
from satori_hpc.run import pipeline, provenance
from satori_hpc.run.provenance import Record
from tests.fixtures.tiny import make_run


def a_record() -> Record:
    return Record(
        stage="prepare",
        digest="d",
        config_digest="c",
        config={},
        inputs={},
        sources={"/data/a.fa": {"sha256": "s", "bytes": 3, "mtime_ns": 7}},
        files={},
        summary={},
        versions={},
        slurm={},
        seed=1,
        world_size=1,
        device="cpu",
        elapsed_s=0.1,
        peak_rss_bytes=1,
        finished="now",
    )


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    provenance.write(tmp_path / "provenance" / "prepare.json", a_record())
    assert provenance.read(tmp_path / "provenance" / "prepare.json") == a_record()
    assert provenance.read(tmp_path / "provenance" / "train.json") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"format_version": 4}', "\xff\xfe"])
def test_what_is_no_record_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prepare.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(
        ArtefactError,
        match="prepare.json: damaged .not as it was written.; remove it and run that stage again: rm .*prepare.json",
    ):
        provenance.read(path)


def test_every_field_counts(tmp_path: Path) -> None:
    path = tmp_path / "prepare.json"
    provenance.write(path, a_record())
    text = path.read_text()
    for field in dataclasses.fields(Record):
        changed = text.replace(f'"{field.name}"', f'"{field.name[:-1]}_"', 1)
        assert changed != text
        path.write_text(changed)
        with pytest.raises(ArtefactError, match="damaged"):
            provenance.read(path)


def test_a_run_of_an_older_format_is_refused_and_the_command_that_is_named_mends_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a run")
    path = run.record("prepare")
    provenance.write(path, a_record())
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "format_version": 1, "sources": {"/data/a.fa": "s"}}))
    with pytest.raises(ArtefactError, match="format version 1, this program reads 4") as refused:
        pipeline.states(run)
    command = re.search(r"make the run again: (rm .*) && (satori-hpc all .*)$", str(refused.value))
    assert command is not None
    subprocess.run(command[1], shell=True, check=True)
    assert shlex.split(command[2]) == ["satori-hpc", "all", str(run.path)]
    assert pipeline.remaining(run)[0] == "prepare"
