"""The ledger of a search: every trial begins once, ends once, and no half-written line costs the others."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from satori_hpc.config.search import Choice, Range, Space
from satori_hpc.errors import ArtefactError
from satori_hpc.tuning.trials import Ledger

SPACE = Space((Choice("model.filters", (8, 12)), Choice("w", ((1, 2), (3,))), Range("r", 0.1, 1.0)))


def opened(folder: Path, **identity: str) -> Ledger:
    return Ledger(folder, identity=identity or {"data": "one"})


def begin(ledger: Ledger, below: int = 4) -> int | None:
    return ledger.begin(SPACE, lambda number: {"model.filters": 8, "w": (3,), "r": 0.5 + number}, below=below)


def test_each_trial_begins_once_whoever_asks(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda _: begin(opened(tmp_path), below=10), range(14)))
    assert sorted(number for number in numbers if number is not None) == list(range(10))
    assert numbers.count(None) == 4


def test_ends_are_seen_by_all_and_stand(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    assert [begin(first), begin(second), begin(first)] == [0, 1, 2]
    first.complete(0, 0.75, epochs=3)
    second.fail(1, reason="the loss")
    second.complete(0, 0.1, epochs=9)  # it took the first for dead
    found = [(entry.state, entry.value) for entry in opened(tmp_path).entries()]
    assert found == [("complete", 0.75), ("failed", None), ("running", None)]
    assert first.entries()[0].notes == {"epochs": 3}
    assert first.entries()[1].notes == {"reason": "the loss"}


def test_a_line_cut_short_is_forgotten(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    begin(ledger)
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole + b'{"op_code":6,"wor')
    again = opened(tmp_path)
    assert ledger.path.read_bytes() == whole
    again.complete(0, 0.5)
    assert opened(tmp_path).entries()[0].value == 0.5


def test_another_search_or_another_file_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "a", data="one", space="x")
    with pytest.raises(ArtefactError, match="another search: space changed"):
        opened(tmp_path / "a", data="one", space="y")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "journal.log").write_text("no journal\nat all\n")
    with pytest.raises(ArtefactError, match="not a journal of trials"):
        opened(tmp_path / "b")


def test_processes_that_are_killed_at_one_place_are_counted(tmp_path: Path) -> None:
    begin(opened(tmp_path))
    blocks = []

    def killed(place: str, *, most: int = 9) -> int:
        """One that is killed: it never leaves the block."""
        before = opened(tmp_path).killed(0, place=place)
        blocks.append(opened(tmp_path).attempt(0, place=place, most=most))
        blocks[-1].__enter__()
        return before

    assert [killed("a"), killed("a"), killed("b"), killed("b")] == [0, 1, 0, 1]
    with pytest.raises(ValueError, match="asked to stop"), opened(tmp_path).attempt(0, place="b", most=9):
        raise ValueError("asked to stop")
    assert [killed("b", most=2), killed("b"), killed("b", most=2), killed("b")] == [2, 2, 3, 3]
    with opened(tmp_path).attempt(0, place="b", most=9):
        opened(tmp_path).complete(0, 0.5)
    for block in blocks:
        block.__exit__(None, None, None)  # what is noted of a trial that has ended stands
    assert opened(tmp_path).entries()[0].state == "complete"
