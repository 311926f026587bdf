"""Bytes and time of a score store by sites against the dense one that it replaced: example x pair of filters.

Format 2 held, for each example and each of the F (F - 1) / 2 pairs of filters, score (float32), distance and
position of the sites (int16, both), NaN or -32,768 where a pair was not observed: shards of 2,048 examples in chunks of
256 pairs, blosc lz4 (bit shuffle for integers). The pairs had to be laid out for it while scoring; now the reduction
does that. Both are made here of the same scores of the same examples: the published basic network (200 filters of
width 13, pool 4, 300 bp), trained for an epoch on a simulated set.

    python -m benchmarks.store_bytes --run /scratch/run
"""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numcodecs import Blosc

from benchmarks import timing
from satori_hpc import config
from satori_hpc.config import toml
from satori_hpc.interactions import block
from satori_hpc.interactions.site_pairs import MISSING_DISTANCE, NONE, PairBlock, Units
from satori_hpc.run import files, new, provenance
from satori_hpc.run.layout import Run
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.layout import GROUPS
from satori_hpc.scoring.store import ScoreStore

CHUNK_PAIRS, SHARD_EXAMPLES = 256, 2048  # of format 2
SATORI = str(Path(sys.executable).with_name("satori-hpc"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="make or use this run; default: a temporary one")
    parser.add_argument("--length", type=int, default=300, help="of the sequences, bp")
    parser.add_argument("--examples", type=int, default=2048, help="sequences scored by attention")
    parser.add_argument("--mutated", type=int, default=128, help="sequences scored by epistasis and dfim")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/store_bytes.md"))
    options = parser.parse_args()
    timing.one_thread()
    with tempfile.TemporaryDirectory() as folder:
        run = prepare(options.run or Path(folder) / "run", examples=options.examples, length=options.length)
        counts = {"attention": options.examples, "epistasis": options.mutated, "dfim": options.mutated}
        rows = [row(run, method, count) for method, count in counts.items()]
    head = [
        "# Bytes of a score store: by sites against example x pair",
        "",
        timing.made_with("torch", "numpy", "zarr", "numcodecs").replace(
            "Rounds are interleaved; ratios are medians over rounds, with their range.",
            f"{run.config.model.num_filters} filters, pool {run.config.model.pool}, {options.length} bp.",
        ),
        "",
        "| method | sequences | sites each | bytes each, by sites | bytes each, dense | times fewer "
        "| scoring, ms each | laying out and encoding, ms each | scoring with it, times slower |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    text = "\n".join([*head, *rows, ""])
    files.write_text(options.out, text)
    print(text)


def prepare(path: Path, *, examples: int, length: int) -> Run:
    """Return a run whose network is trained, and of which all sequences may be scored."""
    settings = config.Config(
        prepare=config.Prepare(simulated=config.Simulated(examples=examples, length=length)),
        train=config.Train(epochs=1),
        motifs=config.Motifs(min_probability=0.0),
        score=config.Score(split="all", include_mispredicted=True, max_examples=0),
    )
    run = Run.open(path) if (path / "run.toml").exists() else new.new(path, config=settings)
    for stage in ("prepare", "train", "motifs"):
        subprocess.run([SATORI, stage, str(path)], check=True)
    return run


def row(run: Run, method: str, examples: int) -> str:
    """Score by a method, write the same scores densely, and return a row of the table."""
    score = replace(run.config.score, methods=(method,), max_examples=examples // 2)
    files.write_text(run.config_file, toml.render(replace(run.config, score=score)))
    subprocess.run([SATORI, "score", str(run.path), "--threads", "1", "--device", "cpu", "--force"], check=True)
    record = provenance.read(run.record("score"))
    assert record is not None
    summary, store = record.summary[method], score_store.open_complete(run.scores(method))
    count = sum(store.partitions(group)[-1][1] for group in GROUPS)
    shards = [entry["bytes"] for group in GROUPS for marker in store.markers(group) for entry in marker.files.values()]
    own = sum(shards)
    block.warm_up()
    size, seconds = dense(store)
    scoring, sites = summary["seconds"], summary["foreground"]["mean_sites_per_sequence"]
    return (
        f"| {method} | {count:,} | {sites:.0f} | {own / count:,.0f} | {size / count:,.0f} | {size / own:.1f} "
        f"| {1e3 * scoring / count:.2f} | {1e3 * seconds / count:.2f} | {(scoring + seconds) / scoring:.2f} |"
    )


def dense(store: ScoreStore) -> tuple[int, float]:
    """Return bytes, and processor seconds of laying out and encoding, of the same scores in format 2."""
    units, size, seconds = Units.motifs(store.motifs), 0, 0.0
    for group in GROUPS:
        for partition in range(len(store.partitions(group))):
            opened = block.open_partition(store, units, group, partition)
            for first in range(0, len(opened), SHARD_EXAMPLES):
                began = time.process_time()
                rows = slice(first, min(first + SHARD_EXAMPLES, len(opened)))
                laid = opened.block(0, units.pairs, rows)
                size += sum(map(encoded, (laid.score, laid.distance(), positions(laid))))
                seconds += time.process_time() - began
    return size, seconds


def positions(laid: PairBlock) -> np.ndarray:
    """Return int16 (rows, pairs): start of the first filter's site, bp."""
    start = laid.scores.site[:, 1]
    return np.where(laid.first == NONE, np.int16(MISSING_DISTANCE), start[laid.first]).astype(np.int16)


def encoded(values: np.ndarray) -> int:
    """Return the bytes of an array (rows, pairs), chunk by chunk."""
    shuffle = Blosc.NOSHUFFLE if values.dtype == np.float32 else Blosc.BITSHUFFLE
    codec = Blosc("lz4", clevel=9, shuffle=shuffle)
    starts = range(0, values.shape[1], CHUNK_PAIRS)
    return sum(len(codec.encode(np.ascontiguousarray(values[:, k : k + CHUNK_PAIRS]))) for k in starts)


if __name__ == "__main__":
    main()
