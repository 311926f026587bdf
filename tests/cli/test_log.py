"""What reaches a terminal: no control characters from files, no endless lines."""

import ast
import io
import logging
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from satori_hpc import errors, log
from satori_hpc.cli import cli

PACKAGE = Path(errors.__file__).parent


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, \u00e9\u03b2\u6f22 with\ttabs\nand lines", "plain, \u00e9\u03b2\u6f22 with\ttabs\nand lines"),
        ("\x1b]0;title\x07 \x1b[2J", "\\x1b]0;title\\x07 \\x1b[2J"),
        ("over\rwritten\x08\x7f", "over\\x0dwritten\\x08\\x7f"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe \u2066x\u2069 \u2028", "\\u202egnp.exe \\u2066x\\u2069 \\u2028"),
        ("half \ud800", "half \\ud800"),
    ],
)
def test_control_characters_are_shown_and_text_stays(text: str, shown: str) -> None:
    assert log.printable(text) == shown


def test_a_long_line_keeps_both_ends() -> None:
    shown = log.printable("first line\n" + "a" * 10**6 + "END")
    assert shown.startswith("first line\naaa")
    assert shown.endswith("aEND")
    assert "998,003 characters left out" in shown
    assert len(shown) < 1.1 * errors.LINE_MAX


def test_the_log_prints_what_is_printable(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup()
    log.logger.warning("header %s", "\x1b[2J" + "n" * 10**6)
    told = capsys.readouterr().err
    assert "header \\x1b[2Jnnn" in told
    assert len(told) < 2 * errors.LINE_MAX
    assert isinstance(log.logger.handlers[0], logging.StreamHandler)
    assert not isinstance(log.logger.handlers[0].stream, io.BytesIO)


def test_errors_of_commands_are_printable(tmp_path: Path) -> None:
    name = "\x1b[2Jchr" + "n" * 10**6
    (tmp_path / "x.fa").write_text(f">{name}:1-9\nACGTACGT\n")
    (tmp_path / "x.txt").write_text("chr1\t1\t9\t1\n")
    run = str(tmp_path / "run")
    files = ["--fasta", str(tmp_path / "x.fa"), "--table", str(tmp_path / "x.txt")]
    assert CliRunner().invoke(cli, ["new", run, "--template", "fasta", *files]).exit_code == 0
    refused = CliRunner().invoke(cli, ["prepare", run])
    assert refused.exit_code == 1
    assert "\x1b" not in refused.output
    assert len(refused.output) < 10 * errors.LINE_MAX


def test_a_bad_option_is_printable() -> None:
    refused = CliRunner().invoke(cli, ["new", "run", "--preset", "\x1b[2J"])
    assert refused.exit_code == 2
    assert "\x1b" not in refused.output


def _unquoted(tree: ast.AST) -> Iterator[str]:
    """Paths that f-strings of commands hold as they are, in a message that tells users to type them."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.JoinedStr):
            continue
        before = ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                before += str(part.value)
            elif isinstance(part, ast.FormattedValue):
                value = ast.unparse(part.value)
                typed = re.search(r"(satori-hpc [a-z{}]+|\brm( -r)?) $", before)
                if typed and re.search(r"path|parent|folder|\brun\b", value) and not value.startswith("quoted("):
                    yield value
                before += "{}"


def test_paths_in_commands_that_messages_advise_are_quoted() -> None:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        before = {name for names in re.findall(r"\b(\w+)(?:, (\w+))? = quoted\(", text) for name in names}
        found[path.name] = [value for value in _unquoted(ast.parse(text)) if value not in before]
    assert not {name: values for name, values in found.items() if values}


def test_a_quoted_path_is_one_word_of_a_shell() -> None:
    name = Path("/runs/$(touch planted) it's; `x`")
    assert shlex.split(f"satori-hpc train {errors.quoted(name)} --force") == [
        "satori-hpc",
        "train",
        str(name),
        "--force",
    ]
