"""Every reader of what users give, on 300 damaged inputs: a result or one SatoriError, soon and in little memory.

What a failure names is made again by `damaged(PARSERS[name].content(folder), f"{name} {seed}")`.
"""

import faulthandler
import functools
import gzip
import io
import itertools
import json
import mmap
import multiprocessing
import os
import random
import re
import resource
import struct
import time
import traceback
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from satori_hpc import config
from satori_hpc.config import toml
from satori_hpc.data.sources import arrays, chipseq_folds, fasta_table
from satori_hpc.data.sources.genome import annotation, peak_files
from satori_hpc.data.sources.genome import genome as genomes
from satori_hpc.data.sources.genome.genome import Genome
from satori_hpc.errors import SatoriError
from satori_hpc.evaluation import known_tables
from satori_hpc.motifs import readers
from satori_hpc.run import provenance
from tests.fixtures.tiny import tiny_config

INPUTS = 300
SECONDS = 20.0
GROWTH = 2**29  # bytes of memory, beside some hundred MB of the program
KEY = "[section] key"


# What is done to an input: bytes, and where chance comes from -> bytes.


def _flip(raw: bytes, rng: random.Random) -> bytes:
    made = bytearray(raw)
    for _ in range(rng.choice([1, 2, 4, 16])):
        if made:
            made[rng.randrange(min(len(made), rng.choice([64, 1024, len(made)])))] = rng.choice(
                [0, 1, 255, rng.randrange(256)]
            )
    return bytes(made)


def _cut(raw: bytes, rng: random.Random) -> bytes:
    first, last = sorted(rng.randrange(len(raw) + 1) for _ in range(2))
    return rng.choice(
        [raw[:last], raw[first:], raw[:first] + raw[last:], raw[:first] + raw[first:last] * 2 + raw[last:]]
    )


def _lines(raw: bytes, rng: random.Random) -> bytes:
    lines = raw.split(b"\n")
    at = rng.randrange(len(lines))
    what = rng.randrange(5)
    if what == 0:
        lines.insert(at, lines[rng.randrange(len(lines))])
    elif what == 1:
        del lines[at]
    elif what == 2:
        rng.shuffle(lines)
    elif what == 3:
        lines[at] = b"  " + lines[at] + b"\t "
    else:
        lines = lines[:at] + lines[at : at + 1] * rng.choice([2, 100]) + lines[at + 1 :]
    return b"\n".join(lines)


def _ends(raw: bytes, rng: random.Random) -> bytes:
    return raw.replace(b"\n", rng.choice([b"\r\n", b"\r", b"\n\n", b"\xe2\x80\xa8", b"\xc2\x85", b"\x0b", b""]))


def _cells(raw: bytes, rng: random.Random) -> bytes:
    """Another separator everywhere, or a row whose cells are in another order, fewer or more."""
    if rng.random() < 0.4:
        marks = [b"\t", b" ", b",", b";", b"|", b"=", b'"', b""]
        return raw.replace(rng.choice(marks[:-1]), rng.choice(marks))
    lines = raw.split(b"\n")
    at = rng.randrange(len(lines))
    mark = max([b"\t", b" ", b","], key=lines[at].count)
    cells = lines[at].split(mark)
    cells = rng.choice([cells[1:], cells[:-1], cells[::-1], cells * 2, [*cells, b""], [b"", *cells], cells[:1] * 1000])
    lines[at] = mark.join(cells)
    return b"\n".join(lines)


NUMBERS = [
    *(b"0 -1 1 1.5 1e400 -1e400 nan inf -inf 1_000 0x10 1e5 .5 5. +7 007 2147483648 9223372036854775808 1,000".split()),
    b"9" * 30,
    b"9" * 5000,
    "٣".encode(),
    "²".encode(),
    b"",
]


def _number(raw: bytes, rng: random.Random) -> bytes:
    found = list(re.finditer(rb"\d+(\.\d+)?", raw))
    if not found:
        return raw
    match = rng.choice(found)
    return raw[: match.start()] + rng.choice(NUMBERS) + raw[match.end() :]


WORDS = [
    *b"\0 \xff \xc3 \xed\xa0\x80 \xef\xbb\xbf \x1b[31m \x7f \xe2\x80\xae # > @ . .. / \\ ' \" ` $ % &".split(b" "),
    *b"( ) - + * : NA null None".split(),
    "é".encode("latin-1"),
    "\u00a0".encode(),
    b" ",
    b"\t",
    b"../../x",
    b"A" * 200_000,
    b"ACGU" * 1000,
    *(mark * 20_000 for mark in (b"[", b"{", b"(", b"[[", b'{"a":', b'"', b"a.", b"\t", b"1 ", b"a,", b"-")),
]


def _insert(raw: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(raw) + 1)
    if rng.random() < 0.5:  # in place of a word
        found = list(re.finditer(rb"[^\s\"]+", raw)) or [re.match(rb"", raw)]
        match = rng.choice(found)
        assert match is not None
        return raw[: match.start()] + rng.choice(WORDS) + raw[match.end() :]
    return raw[:at] + rng.choice(WORDS) + raw[at:]


def _whole(raw: bytes, rng: random.Random) -> bytes:
    packed = gzip.compress(raw, 1, mtime=0)
    return rng.choice(
        [
            b"",
            b"\n",
            b" \t\n" * 100,
            raw + raw,
            raw.upper(),
            raw.lower(),
            raw[::-1],
            rng.randbytes(1000),
            raw.decode("latin-1").encode("utf-16"),
            packed,
            packed + packed,
            packed + b"\0" * 100,
            packed[: rng.randrange(len(packed))],
            _flip(packed, rng),
            gzip.compress(packed, 1, mtime=0),
            zlib.compress(raw),
        ]
    )


DAMAGE = (_flip, _flip, _cut, _lines, _lines, _ends, _cells, _cells, _number, _number, _insert, _insert, _whole)


def damaged(raw: bytes, seed: str) -> bytes:
    """An input with some damage, always the same of a seed."""
    rng = random.Random(seed)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        raw = rng.choice(DAMAGE)(raw, rng)
    return raw


# Valid inputs.

LENGTH = 12


def _letters(count: int, length: int = LENGTH) -> list[str]:
    rng = random.Random(1)
    return ["".join(rng.choices("ACGT", k=length)) for _ in range(count)]


def _text(*rows: str) -> Callable[[Path], bytes]:
    return lambda folder: "".join(row + "\n" for row in rows).encode()


def _table(*rows: str) -> Callable[[Path], bytes]:
    """Cells are told by spaces here, and split by tabs there."""
    return _text(*("\t".join(row.split(" ")) for row in rows))


FASTA = _text(*(f">chr1:{100 * row}-{100 * row + LENGTH}(+)\n{letters}" for row, letters in enumerate(_letters(8))))
LABELS = _table(*(f"chr1 {100 * row} {100 * row + LENGTH} + {'0,2' if row % 2 else '1'}" for row in range(8)))
GENOME = _text(
    *(f">chr{row} of a genome\n{letters[:60]}\n{letters[60:]}" for row, letters in enumerate(_letters(3, 90)))
)


def _one_hot() -> dict[str, np.ndarray]:
    tokens = np.random.default_rng(1).integers(0, 4, (8, LENGTH))
    return {
        "x": (tokens[:, None] == np.arange(4)[:, None]).astype(np.uint8),
        "y": tokens[:, :2] % 2,
        "split": np.repeat(["train", "valid", "test"], [4, 2, 2]).astype("S"),
        "headers": np.array([f"chr1:{row}-{row + LENGTH}(+)" for row in range(8)]).astype("S"),
        "target_names": np.array([b"liver", b"brain"]),
    }


def _npz(folder: Path) -> bytes:
    made = io.BytesIO()
    np.savez_compressed(made, **_one_hot())
    return made.getvalue()


def _hdf5(folder: Path, **options: Any) -> bytes:
    h5py = pytest.importorskip("h5py", reason="needs h5py: pip install 'satori-hpc[arrays]'")
    made, members = io.BytesIO(), _one_hot()
    with h5py.File(made, "w", **options) as file:
        file.create_dataset("deep/data", data=members.pop("x"), chunks=(3, 4, LENGTH), compression="gzip")
        file["x"] = h5py.SoftLink("/deep/data")
        names = members.pop("target_names")
        for name, values in members.items():
            file[name] = values
        file["y"].attrs["target_names"] = names.astype(str).tolist()
    return made.getvalue()


def _bgzip(folder: Path) -> bytes:
    """Blocks of a bgzip file, of 50 letters each, and the empty one that ends it."""
    whole, made = GENOME(folder), b""
    for piece in [*(whole[at : at + 50] for at in range(0, len(whole), 50)), b""]:
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = packer.compress(piece) + packer.flush()
        made += b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + struct.pack("<H", len(body) + 25) + body
        made += struct.pack("<II", zlib.crc32(piece), len(piece))
    return made


def _record(folder: Path) -> bytes:
    values: dict[str, Any] = dict.fromkeys(("stage", "digest", "config_digest", "device", "finished"), "x")
    values |= dict.fromkeys(("config", "sources", "files", "summary"), {"a": {"b": 1}})
    values |= dict.fromkeys(("inputs", "versions", "slurm"), {"a": "b"})
    values |= dict.fromkeys(("seed", "world_size", "elapsed_s", "peak_rss_bytes"), 1)
    provenance.write(folder / "record.json", provenance.Record(**values))
    return (folder / "record.json").read_bytes()


CHROMOSOMES = SimpleNamespace(names=["chr1", "chr2"], lengths=np.array([1000, 1000]), path=Path("genome.fa"))
COUNTS = [[4, 16, 0, 0], [19, 0, 1, 0], [0, 20, 0, 0], [0, 0, 20, 0]]
SHARES = "".join(f"{row}\t" + "\t".join(f"{n / 20:.3f}" for n in counts) + "\n" for row, counts in enumerate(COUNTS, 1))


# Readers.


def _read_labels(path: Path) -> None:
    fasta_table.parse_labels(path, fasta_table.read_table(path), task="auto", labels=None)


def _read_joined(path: Path, *, fasta: str, table: str) -> None:
    (path.parent / "other.fa").write_bytes(FASTA(path))
    (path.parent / "other.tsv").write_bytes(LABELS(path))
    fasta_table.read(path.parent / fasta, path.parent / table, task="auto", labels=None)


def _read_genome(path: Path) -> None:
    folder = path.parent / "index"
    for old in folder.glob("*"):
        old.unlink()
    if folder.exists():
        folder.rmdir()
    with Genome(path, folder) as genome:
        for chrom, length in enumerate(genome.lengths.tolist()):
            genome.tokens(chrom, 0, min(length, 200))


def _read_arrays(path: Path, *, member: str = "") -> None:
    arrays.APART_SECONDS = 1.0  # of this process, which is the readers'
    if member:
        content, path = path.read_bytes(), path.parent / "set.npz"
        members = {}
        for name, values in _one_hot().items():
            np.save(made := io.BytesIO(), values)
            members[name] = made.getvalue()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, whole in members.items():
                archive.writestr(f"{name}.npy", content if name == member else whole)
    with arrays.opened([path], letters=None, targets=None) as opened:
        for part in opened.parts:
            for texts in (part.headers, part.split):
                if texts is not None:
                    part.texts(texts)
            for _ in arrays.read_blocks(part, unknown=None):
                pass


def _npy(member: str) -> Callable[[Path], bytes]:
    def content(folder: Path) -> bytes:
        made = io.BytesIO()
        np.save(made, _one_hot()[member])
        return made.getvalue()

    return content


def _read_known(path: Path) -> None:
    def who(names: tuple[str, ...]) -> frozenset[str]:
        return frozenset(name.upper() for name in names)

    known_tables.read(path, who, {"GATA3", "FOXA1", "SPI1"}, min_score=0.5)


class Parser(NamedTuple):
    """A valid input, which may lie beside others in a folder, and what reads it."""

    content: Callable[[Path], bytes]
    read: Callable[[Path], object]


PARSERS = {
    "FASTA": Parser(FASTA, functools.partial(_read_joined, fasta="input", table="other.tsv")),
    "label table": Parser(LABELS, _read_labels),
    "label table of a FASTA file": Parser(LABELS, functools.partial(_read_joined, fasta="other.fa", table="input")),
    "BED": Parser(
        _table("track name=a", *(f"chr{row % 3} {row} {row + 90} peak{row} 5 + liver,brain" for row in range(9))),
        lambda path: list(peak_files.pieces(path, key=KEY, rows=4, label_column=7)),
    ),
    "narrowPeak": Parser(
        _table(*(f"chr1 {row * 7} {row * 9 + 90} p{row} 100 . 5.5 3.1 2.2 {row}" for row in range(9))),
        lambda path: list(peak_files.pieces(path, key=KEY, rows=4, summits=True)),
    ),
    "gappedPeak": Parser(
        _table(*(f"chr1 {row} {row + 90} p 9 . {row} {row + 90} 0 2 10,20 0,40 5.5 3.1 2.2" for row in range(9))),
        lambda path: list(peak_files.pieces(path, key=KEY, rows=4, summits=True)),
    ),
    "list of peak files": Parser(
        _table("a.bed liver", "b.bed brain", "c.bed ."), lambda path: peak_files.read_list(path, key=KEY)
    ),
    "GFF": Parser(
        _table(
            "##gff-version 3",
            "chr1 x gene 11 400 . + . ID=g1",
            "chr1 x mRNA 11 400 . + . ID=t1;Parent=g1",
            "chr1 x exon 11 90 . + . Parent=t1",
            "chr1 x five_prime_UTR 11 30 . + . Parent=t1",
            "chr2 x ncRNA_gene 500 900 . - . ID=g2",
            "chr2 x lncRNA 500 900 . - . ID=t2;Parent=g2",
        ),
        lambda path: annotation.read(path, CHROMOSOMES),
    ),
    "GTF": Parser(
        _text(
            *(
                f'chr1\tx\t{kind}\t{start}\t{end}\t.\t+\t.\tgene_id "g{start % 3}"; transcript_id "t{start % 5}";'
                for kind in ("gene", "transcript", "exon", "CDS", "UTR")
                for start, end in ((10, 400), (450, 700), (13, 90))
            )
        ),
        lambda path: annotation.read(path, CHROMOSOMES),
    ),
    "chromosome sizes": Parser(_table("chr1 1000", "chr2 900", "chrM 16"), genomes.read_sizes),
    "genome": Parser(GENOME, _read_genome),
    "genome, gzip": Parser(lambda folder: gzip.compress(GENOME(folder), mtime=0), _read_genome),
    "genome, bgzip": Parser(_bgzip, _read_genome),
    "ChIP-seq fold": Parser(
        _table("FoldID EventID seq Bound", *(f"A peak{row} {each} {row % 2}" for row, each in enumerate(_letters(8)))),
        lambda path: chipseq_folds.read_fold(path, key=KEY),
    ),
    "MEME": Parser(
        _text(
            "MEME version 4\n\nALPHABET= ACGT\n\nstrands: + -\n",
            "Background letter frequencies\nA 0.25 C 0.25 G 0.25 T 0.25\n",
            *(
                f"MOTIF MA000{motif}.1 GATA{motif}\nletter-probability matrix: alength= 4 w= 4 nsites= 20 E= 0\n"
                + " 0.7 0.1 0.1 0.1\n" * 4
                + "URL http://x.y/z\n"
                for motif in range(3)
            ),
        ),
        readers.read,
    ),
    "MEME, frequencies of a background": Parser(
        _text(
            "MEME version 5.1\nALPHABET= ACGT\nBackground letter frequencies\nA 0.3 C 0.2 G 0.2 T 0.3\nMOTIF a\n"
            "letter-probability matrix: alength= 4 w= 2\n 0.7 0.1 0.1 0.1\n 0.25 0.25 0.25 0.25"
        ),
        readers.read_meme,
    ),
    "JASPAR": Parser(
        _text(
            *(
                f">MA0004.{motif}\tArnt::Ahr{motif}\n"
                + "\n".join(
                    f"{letter}  [ {' '.join(str(row[at]) for row in COUNTS)} ]" for at, letter in enumerate("ACGT")
                )
                for motif in range(1, 4)
            )
        ),
        readers.read,
    ),
    "JASPAR, plain": Parser(
        _text(
            *(
                f">MA0004.{motif} Arnt{motif}\n"
                + "\n".join(" ".join(str(row[at] + motif) for row in COUNTS) for at in range(4))
                for motif in range(1, 4)
            )
        ),
        readers.read,
    ),
    "TRANSFAC": Parser(
        _text(
            *(
                f"AC MA000{motif}.1\nXX\nID Arnt{motif}\nXX\nPO\tA\tC\tG\tT\n"
                + "".join(
                    f"{row:02}\t" + "\t".join(f"{n}.0" for n in counts) + "\tN\n"
                    for row, counts in enumerate(COUNTS, 1)
                )
                + "XX\nCC x\nXX\n//"
                for motif in range(3)
            )
        ),
        readers.read,
    ),
    "HOMER": Parser(
        _text(
            *(
                f">TGCA\tCTCF{motif}(Zf)/CD4+-CTCF-ChIP-Seq(Barski_et_al.)/Homer\t5.17\t-34261.0\t0\tT:22354.0(48.77%)\n"
                + "\n".join(line.partition("\t")[2] for line in SHARES.splitlines())
                for motif in range(3)
            )
        ),
        readers.read,
    ),
    "CIS-BP": Parser(
        _text(
            *(f"TF\tT0{tf}_1.02\nTF Name\tTF{tf}\nMotif\tM2364_1.02\nPos\tA\tC\tG\tT\n{SHARES}\n" for tf in range(3))
        ),
        readers.read,
    ),
    "known interactions": Parser(
        _text("TF A,TF B", "GATA3,FOXA1", '"SPI1","GATA3"', "FOXA1,SPI1"),
        lambda path: known_tables.read(path, frozenset, {"GATA3", "FOXA1", "SPI1"}, columns="TF A,TF B"),
    ),
    "known interactions, TRRUST": Parser(
        _table("GATA3 FOXA1 Activation 123", "SPI1 GATA3 Unknown 4;5", "FOXA1 SPI1 Repression 6"), _read_known
    ),
    "known interactions, HIPPIE": Parser(
        _table(*(f"GATA3_HUMAN {row} SPI1_HUMAN {row + 9} 0.{row} experiments:x;pmids:1" for row in range(6))),
        _read_known,
    ),
    "known interactions, SIF": Parser(
        _table("GATA3 pp FOXA1", "SPI1 pd GATA3", "FOXA1 controls-expression-of SPI1"), _read_known
    ),
    "known interactions, MITAB": Parser(
        _text(
            "#ID(s) interactor A\tID(s) interactor B\tAlt. ID(s) A\tAlt. ID(s) B\tAlias(es) A\tAlias(es) B" + "\tx" * 9,
            *(
                f"uniprotkb:P2377{row}\tuniprotkb:P5531{row}\t-\t-\t"
                "uniprotkb:GATA3(gene name)\tuniprotkb:SPI1(gene name)\t"
                'psi-mi:"MI:0018"(two hybrid)\tx\tpubmed:1\ttaxid:9606(human)\ttaxid:9606(human)\t'
                'psi-mi:"MI:0407"(direct interaction)\tx\tx\tintact-miscore:0.56'
                for row in range(3)
            ),
        ),
        _read_known,
    ),
    "known interactions, STRING": Parser(
        _text("protein1 protein2 combined_score", "9606.GATA3 9606.FOXA1 900", "9606.SPI1 9606.GATA3 150"), _read_known
    ),
    "known interactions, GMT": Parser(
        _table(
            *(f"{tf} http://x FOXA{row} TARGET{row} OTHER{row}" for row, tf in enumerate(["GATA3", "SPI1", "MYC"] * 3))
        ),
        _read_known,
    ),
    "known interactions, complexes": Parser(
        _text(
            "ComplexID\tComplexName\tOrganism\tsubunits(Gene name)",
            "1\tx\tHuman\tGATA3;FOXA1;SPI1",
            "2\ty\tHuman\tSPI1;GATA3",
        ),
        _read_known,
    ),
    "names of genes": Parser(
        _table("P12345 GATA3", "Q1 FOXA1", "Q2 SPI1 PU.1"), lambda path: known_tables.read_names(path, str.upper)
    ),
    "NPZ": Parser(_npz, _read_arrays),
    "NPZ, sequences": Parser(_npy("x"), functools.partial(_read_arrays, member="x")),
    "NPZ, headers": Parser(_npy("headers"), functools.partial(_read_arrays, member="headers")),
    "HDF5": Parser(_hdf5, _read_arrays),
    "HDF5, latest": Parser(functools.partial(_hdf5, libver="latest"), _read_arrays),
    "run.toml": Parser(lambda folder: re.sub("#.*", "", toml.render(tiny_config())).encode(), config.load),
    "record": Parser(_record, provenance.read),
}


def _read_all(parser: Parser, name: str, first: int, folder: Path, sender: Any) -> None:
    """In a process of its own: tells every input by its number, and what is wrong of it."""
    content = parser.content(folder)
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open(folder / "stack", "w") as stack:
        for seed in range(first, INPUTS):
            _written(folder / "input", damaged(content, f"{name} {seed}"))
            sender.send_bytes(json.dumps([seed, ""]).encode())
            faulthandler.dump_traceback_later(SECONDS, exit=True, file=stack)  # also in the middle of a library
            told = ""
            try:
                parser.read(folder / "input")
            except SatoriError:
                pass
            except BaseException:
                told = traceback.format_exc(limit=-4)
            faulthandler.cancel_dump_traceback_later()
            grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - size)
            if grown > GROWTH:
                told += f"took {grown / 2**20:.0f} MiB"
                size += grown // 1024
            if told:
                sender.send_bytes(json.dumps([seed, told]).encode())
        sender.send_bytes(json.dumps([INPUTS, ""]).encode())


def _problems(parser: Parser, name: str, folder: Path) -> dict[int, str]:
    """What is wrong of inputs, by their numbers; of the first three."""
    context = multiprocessing.get_context("fork")
    seed, problems = -1, {}
    while seed < INPUTS and len(problems) < 3:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_read_all, args=(parser, name, seed + 1, folder, sender))
        process.start()
        sender.close()
        told = ""
        while seed < INPUTS and not told.startswith("ended"):
            try:
                seed, told = json.loads(receiver.recv_bytes())
            except EOFError:
                told = f"ended the process: {(folder / 'stack').read_text()[:1000]}"
            if told:
                problems[seed] = told
        process.join()
    return problems


@pytest.mark.parametrize("name", PARSERS)
def test_damaged_inputs_give_a_result_or_one_error(tmp_path, name):
    PARSERS[name].read(_written(tmp_path / "input", PARSERS[name].content(tmp_path)))  # without damage
    problems = _problems(PARSERS[name], name, tmp_path)
    assert not problems, "".join(f"\ninput {seed} of {name!r}: {told}" for seed, told in problems.items())


def _fails_at(number: int, how: Callable[[], object]) -> Parser:
    """A reader that does something at the input of a number."""
    count = itertools.count()
    return Parser(FASTA, lambda path: how() if next(count) == number else None)


def test_readers_that_do_otherwise_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.SECONDS", 2.0)
    monkeypatch.setattr(f"{__name__}.INPUTS", 9)
    monkeypatch.setattr(f"{__name__}.GROWTH", 2**25)
    assert _problems(_fails_at(9, int), "", tmp_path) == {}
    for how, what in (
        (lambda: int("x"), "ValueError: invalid literal"),
        (lambda: time.sleep(20), "ended the process: Timeout"),
        (lambda: os._exit(3), "ended the process: "),
        (lambda: np.frombuffer(mmap.mmap(-1, 2**26), np.uint8).fill(1), "took 6. MiB"),  # pages that nothing had before
    ):
        problems = _problems(_fails_at(3, how), "", tmp_path)
        assert list(problems)[0] == 3
        assert re.search(what, problems[3])


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
