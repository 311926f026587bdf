"""Files of other kinds, and damaged ones: every reader of a genome's files says what it is, or what is wrong."""

import bz2
import contextlib
import gzip
import io
import lzma
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from Bio import bgzf

from satori_hpc.data.sources.genome import annotation, peak_files
from satori_hpc.data.sources.genome import genome as genomes
from satori_hpc.errors import InputError

GENOME = SimpleNamespace(names=["1", "2"], path=Path("g.fa"), lengths=np.array([3000, 2000]))
BED = b"1\t500\t700\tx\t0\t+\t1\t2\t3\t99\n2\t1900\t2100\ty\t0\t-\t1\t2\t3\t-1\n"
GFF = (
    b"##gff-version 3\n1\tx\tgene\t11\t90\t.\t+\t.\tID=g\n1\tx\tmRNA\t11\t90\t.\t+\t.\tID=t;Parent=g\n"
    b'2\tx\texon\t11\t90\t.\t-\t.\tgene_id "h"; transcript_id "u";\n'
)
FASTA = b">1 words\n" + b"ACGTN\n" * 40 + b">2\n" + b"acgtr\n" * 30


def packed_by(archive: Callable[[io.BytesIO], None]) -> bytes:
    handle = io.BytesIO()
    archive(handle)
    return handle.getvalue()


def zipped(handle: io.BytesIO) -> None:
    with zipfile.ZipFile(handle, "w") as archive:
        archive.writestr("x", BED)


def tarred(handle: io.BytesIO) -> None:
    with tarfile.open(fileobj=handle, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("x"))


def bgzipped(content: bytes) -> bytes:
    def write(handle: io.BytesIO) -> None:
        writer = bgzf.BgzfWriter(fileobj=handle)
        writer.write(content)
        writer.flush()
        handle.write(bgzf._bgzf_eof)

    return packed_by(write)


BINARY = bytes(range(256))
KINDS: dict[str, tuple[bytes, str]] = {
    ".2bit": (b"\x43\x27\x41\x1a" + BINARY, r"a \.2bit genome; make FASTA of it with twoBitToFa"),
    ".2bit, big-endian": (b"\x1a\x41\x27\x43" + BINARY, "twoBitToFa"),
    "bigBed": (b"\xeb\xf2\x89\x87\4\0" + BINARY, "a bigBed file; make BED of it with bigBedToBed"),
    "bigBed, big-endian": (b"\x87\x89\xf2\xeb\0\4" + BINARY, "bigBedToBed"),
    "bigWig": (b"\x26\xfc\x8f\x88\4\0" + BINARY, "a bigWig file, which holds a signal .*; give peaks"),
    "BAM": (gzip.compress(b"BAM\1" + BINARY), "a BAM file of aligned reads; call peaks on them"),
    "CRAM": (b"CRAM\3\0" + BINARY, "a CRAM file of aligned reads"),
    "SAM": (b"@HD\tVN:1.6\n@SQ\tSN:1\tLN:9\n", "a SAM file of aligned reads"),
    "VCF": (b"##fileformat=VCFv4.2\n#CHROM\tPOS\n1\t5\t.\tA\tC\n", "a VCF file of variants"),
    "VCF, bgzip": (bgzipped(b"##fileformat=VCFv4.2\n#CHROM\tPOS\n1\t5\t.\tA\tC\n"), "a VCF file of variants"),
    "BCF": (gzip.compress(b"BCF\2\2" + BINARY), "a BCF file of variants"),
    "GenBank": (b"LOCUS       NC_003070  300 bp\nDEFINITION  x\n", "a GenBank file; make FASTA of its sequences, GFF3"),
    "an index": (gzip.compress(b"TBI\1" + BINARY), "an index .*; give the file that it is of"),
    "xz": (lzma.compress(BED), "packed by xz; unpack it, or pack it with gzip"),
    "bzip2": (bz2.compress(BED), "packed by bzip2; unpack it, or pack it with gzip"),
    "zstd": (b"\x28\xb5\x2f\xfd" + BINARY, "packed by zstd; unpack it, or pack it with gzip"),
    "lz4": (b"\x04\x22\x4d\x18" + BINARY, "packed by lz4; unpack it"),
    "compress": (b"\x1f\x9d\x90" + BINARY, "packed by compress"),
    "7-Zip": (b"7z\xbc\xaf\x27\x1c" + BINARY, "a 7-Zip archive; unpack it"),
    "zip": (packed_by(zipped), r"a spreadsheet \(.xlsx\) or another zip archive"),
    "tar": (packed_by(tarred), "a tar archive; unpack it"),
    "tar, gzip": (gzip.compress(packed_by(tarred)), "a tar archive; unpack it"),
    "gzip twice": (gzip.compress(gzip.compress(BED)), "packed twice by gzip; unpack it once"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + BINARY, "an HDF5 file; give text"),
    "NumPy": (b"\x93NUMPY\1\0" + BINARY, r"a NumPy file \(.npy\)"),
    "Parquet": (b"PAR1\x15\4" + BINARY, "a Parquet file; save it as text with tabs"),
    "UTF-16": ("1\t5\t9\n".encode("utf-16"), "UTF-16 text; save it as UTF-8"),
}


def read_genome(path: Path) -> None:
    with genomes.Genome(path, path.parent / f"index-{path.name}") as opened:
        for number, size in enumerate(opened.lengths.tolist()):
            opened.tokens(number, 0, size)


def read_peaks(path: Path) -> None:
    list(peak_files.pieces(path, key="peaks", rows=9, label_column=4, summits=True))
    peak_files.label_names(path, key="peaks", label_column=4)


READERS: dict[str, tuple[Callable[[Path], object], bytes]] = {
    "genome": (read_genome, FASTA),
    "peaks": (read_peaks, BED),
    "annotation": (lambda path: annotation.read(path, GENOME), GFF),
    "sizes": (lambda path: genomes.read_sizes(path, key="chrom_sizes"), b"1\t3000\n2\t2000\n"),
    "list of peaks": (lambda path: peak_files.read_list(path, key="peak_table"), b"a.bed\tA\nb.bed\tB\n"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_files_of_other_kinds_are_called_what_they_are(tmp_path: Path, kind: str, reader: str) -> None:
    content, message = KINDS[kind]
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError, match=rf"file: .*{message}.*, or correct ") as caught:
        READERS[reader][0](tmp_path / "file")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["CRAMP1\tMYB\n", "PAR1\tPAR2\n", "BZR1\tLZIP\n", "LOCUS\tSIZE\n", "@HD\t1\n"])
def test_text_that_begins_like_another_kind_is_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    assert peak_files.read_list(tmp_path / "file", key="peak_table") == [tuple(text.strip().split("\t"))]


FRAGMENTS = [
    b"\t",
    b"\n",
    b"\r",
    b"\0",
    b"\x1b[2J",
    b"\x1d",
    b"\x0b",
    b" ",
    b"-",
    b"#",
    b">",
    b"9" * 30,
    b"\xff",
    "é１".encode(),
    b";",
    b'"',
    b"=",
]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Some bytes replaced, inserted, removed or repeated, or the end cut off."""
    text = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 5, 30])):
        at, size = rng.randrange(len(text) + 1), rng.choice([1, 1, 2, 8, 60])
        if rng.random() < 0.5:
            text[at : at + size] = rng.choice([b"", bytes([rng.randrange(256)]), rng.choice(FRAGMENTS)])
        else:
            text[at:at] = rng.choice([bytes(text[at : at + size]), rng.choice(FRAGMENTS), rng.randbytes(size)])
    return bytes(text[: rng.randrange(len(text) + 1)] if rng.random() < 0.1 else text)


@pytest.mark.parametrize("reader", READERS)
def test_damaged_files_are_read_or_refused(tmp_path: Path, reader: str) -> None:
    read, content = READERS[reader]
    tables = [content]
    if reader == "peaks":
        macs = b"chr\tstart\tend\tlength\tabs_summit\tpileup\n1\t501\t700\t200\t600\t9\n"
        tables += [b"# MACS\n" + macs, b"#PeakID\tchr\tstart\tend\tstrand\np\t1\t501\t700\t+\n"]
    rng = random.Random(reader)
    outcomes = {True: 0, False: 0}
    for number in range(300):
        text = rng.choice(tables)
        pack = rng.choice([bytes, bytes, bytes, gzip.compress, bgzipped])
        text = pack(mutated(text, rng)) if rng.random() < 0.8 else mutated(pack(text), rng)
        path = tmp_path / str(number)
        path.write_bytes(text)
        refused = True
        with contextlib.suppress(InputError):
            read(path)
            refused = False
        outcomes[refused] += 1
    assert min(outcomes.values()) > 10
