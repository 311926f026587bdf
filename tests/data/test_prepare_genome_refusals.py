"""prepare from a genome: files and settings that cannot be used are told, and leave nothing behind."""

import shutil

import pytest

from satori_hpc.data import prepare
from satori_hpc.errors import ConfigError, InputError, SatoriError
from satori_hpc.parallel.world import Runtime
from tests.fixtures.genome import make

BAD_PEAKS = {
    "no length": ("chr1\t30\t30\n", "line 1: chr1:30-30 has no length; expected start < end"),
    "text": ("chr1\tx\t30\nchr1\t1\n", "line 1: start 'x' and end '30'; expected whole numbers; a header line"),
    "columns": ("chr1\t1\t9\nchr1\t1\n", "line 2: 2 columns; expected chrom, start, end"),
    "empty": ("# nothing\n", "no peaks; expected rows of chrom, start, end"),
    "other names": ("scaffold_9\t1\t30\n", r"none of its chromosomes \(scaffold_9\) is in .*chr1, chr2, chrM"),
    "another assembly": (
        "chr1\t9000\t9100\nchr1\t9200\t9300\nchr1\t5\t90\n",
        "2 of 3 peaks lie beyond the ends .* another assembly",
    ),
}


@pytest.mark.parametrize("name", BAD_PEAKS)
def test_peaks_that_cannot_be_used_are_told(two, name):
    folder, _, _ = two
    text, message = BAD_PEAKS[name]
    (folder / "bad.bed").write_text(text)
    run = make(folder, peaks=("../a.bed", "../bad.bed"))
    with pytest.raises(InputError, match=message) as caught:
        prepare.prepare(run, Runtime())
    assert "bad.bed" in str(caught.value)
    assert not run.dataset.exists()


def test_settings_that_cannot_be_used_are_told(two):
    folder, _, _ = two
    with pytest.raises(ConfigError, match="chrZ not in"):
        prepare.prepare(make(folder, peaks=("../a.bed", "../b.bed"), chromosomes=("chrZ",)), Runtime())
    with pytest.raises(InputError, match="are not window = 100 bp long, the first chr"):
        prepare.prepare(make(folder, peaks=("../a.bed",), construction="as_given"), Runtime())
    with pytest.raises(SatoriError, match="expected both classes"):
        prepare.prepare(make(folder, peaks=("../a.bed",)), Runtime())  # one label and no negatives
    (folder / "copy").mkdir()
    shutil.copy(folder / "a.bed", folder / "copy" / "a.bed")
    with pytest.raises(InputError, match="several files are called a; rename them"):
        prepare.prepare(make(folder, peaks=("../a.bed", "../copy/a.bed")), Runtime())
