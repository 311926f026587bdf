"""A slow reader of a written simulated set that checks every rule on every sequence, from the files alone.

It shares no code with the simulator: text is parsed by hand and scores are summed letter by letter from the counts
that pyjaspar gives.
"""

import math
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pyjaspar

from satori_hpc.config import Simulated

COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A"}


@dataclass(frozen=True)
class Site:
    tf: str
    start: int
    end: int
    strand: str
    site: str
    pair: int


def gap(a: Site, b: Site) -> int:
    return max(a.start, b.start) - min(a.end, b.end)


def read_sequences(folder: Path) -> dict[str, str]:
    lines = (folder / "seqs.fa").read_text().splitlines()
    assert len(lines) % 2 == 0
    found = {}
    for number, (header, letters) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
        assert header == f">sim{number}:0-{len(letters)}(+)"
        found[f"sim{number}"] = letters
    return found


def read_sites(folder: Path) -> dict[str, list[Site]]:
    lines = (folder / "truth.tsv").read_text().splitlines()
    assert lines[0] == "seq_id\ttf\tstart\tend\tstrand\tsite\tpair_id"
    found: dict[str, list[Site]] = {}
    for line in lines[1:]:
        seq_id, tf, start, end, strand, site, pair = line.split("\t")
        found.setdefault(seq_id, []).append(Site(tf, int(start), int(end), strand, site, int(pair)))
    return found


def read_pairs(folder: Path) -> list[tuple[str, str]]:
    lines = (folder / "pairs.tsv").read_text().splitlines()
    assert lines[0] == "tf_a\ttf_b"
    return [tuple(line.split("\t")) for line in lines[1:]]  # type: ignore[misc]


def pool_identifiers(folder: Path) -> dict[str, str]:
    """{TF: JASPAR identifier} from the MOTIF lines of the MEME file."""
    lines = (folder / "motifs.meme").read_text().splitlines()
    motifs = [line.split() for line in lines if line.startswith("MOTIF")]
    return {name: identifier for _, identifier, name in motifs}


def log_odds(identifiers: dict[str, str], config: Simulated) -> dict[str, list[dict[str, float]]]:
    database = pyjaspar.jaspardb(release=config.jaspar_release)
    frequency = dict(zip("ACGT", config.base_frequencies, strict=True))
    matrices = {}
    for tf, identifier in identifiers.items():
        counts = database.fetch_motif_by_id(identifier).counts
        columns = []
        for position in range(len(counts["A"])):
            total = sum(counts[letter][position] for letter in "ACGT")
            columns.append(
                {
                    letter: math.log2(
                        (counts[letter][position] + config.pseudocount * frequency[letter])
                        / (total + config.pseudocount)
                        / frequency[letter]
                    )
                    for letter in "ACGT"
                }
            )
        matrices[tf] = columns
    database.conn.close()
    return matrices


def violations(folder: Path, labels: list[int], config: Simulated) -> list[str]:
    """Every broken rule, in words; `folder` is truth/, `labels` those of the data set."""
    sequences, sites = read_sequences(folder), read_sites(folder)
    pairs, identifiers = read_pairs(folder), pool_identifiers(folder)
    broken = _set_rules(sequences, labels, pairs, identifiers, config)
    matrices = log_odds(identifiers, config)
    for number, (seq_id, letters) in enumerate(sequences.items()):
        found = sorted(sites.get(seq_id, []), key=lambda site: site.start)
        wrong = _site_rules(letters, found, matrices, config)
        if labels[number] == 1:
            wrong += _positive_rules(found, pairs, config)
        elif config.design == "hard":
            wrong += _hard_rules(found, pairs, config)
        else:
            wrong += _published_rules(found, pairs, config)
        broken += [f"{seq_id}: {what}" for what in wrong]
    return broken


def _set_rules(
    sequences: dict[str, str],
    labels: list[int],
    pairs: list[tuple[str, str]],
    identifiers: dict[str, str],
    config: Simulated,
) -> list[str]:
    broken = []
    if len(sequences) != config.examples or len(labels) != config.examples:
        broken.append("number of sequences")
    if sum(labels) != config.examples // 2:
        broken.append("class balance")
    if len(pairs) != config.pairs or len(set(pairs)) != config.pairs or any(a >= b for a, b in pairs):
        broken.append("pairs")
    if len(identifiers) != config.tfs or {tf for pair in pairs for tf in pair} != set(identifiers):
        broken.append("TFs in pairs")
    if len({tf.upper() for tf in identifiers}) != config.tfs:
        broken.append("TF names")
    return broken


def _site_rules(
    letters: str, sites: list[Site], matrices: dict[str, list[dict[str, float]]], config: Simulated
) -> list[str]:
    broken = []
    if len(letters) != config.length or set(letters) - set("ACGT"):
        broken.append("letters")
    for site in sites:
        if letters[site.start : site.end] != site.site or site.start < 0:
            broken.append("site letters")
        read = site.site
        if site.strand == "-":
            read = "".join(COMPLEMENT[letter] for letter in reversed(read))
            if config.strand == "forward":
                broken.append("strand")
        matrix = matrices[site.tf]
        if len(matrix) != len(read):
            broken.append("width")
            continue
        score = sum(column[letter] for column, letter in zip(matrix, read, strict=True))
        if not score > config.min_score_fraction * sum(max(column.values()) for column in matrix):
            broken.append("score")
    if any(gap(a, b) < 0 for a, b in combinations(sites, 2)):
        broken.append("overlap")
    return broken


def _couple_rules(couples: list[list[Site]], config: Simulated) -> list[str]:
    broken = []
    if not config.pairs_per_positive_min <= len(couples) <= config.pairs_per_positive_max:
        broken.append("number of pairs")
    for left, right in couples:
        if not config.pair_gap_min <= right.start - left.end <= config.pair_gap_max:
            broken.append("gap within a pair")
        if config.order == "fixed" and left.tf > right.tf:
            broken.append("order")
    for one, other in combinations(couples, 2):
        if min(gap(a, b) for a in one for b in other) < config.between_pairs_gap:
            broken.append("gap between pairs")
        if {site.tf for site in one} == {site.tf for site in other}:
            broken.append("pair twice")
    tfs = [site.tf for couple in couples for site in couple]
    if not config.shared_tfs and len(set(tfs)) < len(tfs):
        broken.append("shared TF")
    return broken


def _positive_rules(sites: list[Site], pairs: list[tuple[str, str]], config: Simulated) -> list[str]:
    by_pair: dict[int, list[Site]] = {}
    for site in sites:
        by_pair.setdefault(site.pair, []).append(site)
    if any(len(couple) != 2 for couple in by_pair.values()):
        return ["pair members"]
    broken = _couple_rules(list(by_pair.values()), config)
    for number, couple in by_pair.items():
        if number < 0 or tuple(sorted(site.tf for site in couple)) != pairs[number]:
            broken.append("not a listed pair")
    return broken


def _listed_in_range(sites: list[Site], pairs: list[tuple[str, str]], config: Simulated) -> list[str]:
    listed = set(pairs)
    return [
        "listed pair in range"
        for a, b in combinations(sites, 2)
        if tuple(sorted((a.tf, b.tf))) in listed and gap(a, b) <= config.pair_gap_max
    ]


def _hard_rules(sites: list[Site], pairs: list[tuple[str, str]], config: Simulated) -> list[str]:
    if any(site.pair != -1 for site in sites) or len(sites) % 2:
        return ["negative with a pair number or a lone motif"]
    couples = [sites[place : place + 2] for place in range(0, len(sites), 2)]
    broken = _couple_rules(couples, config) + _listed_in_range(sites, pairs, config)
    if any(tuple(sorted((a.tf, b.tf))) in set(pairs) or a.tf == b.tf for a, b in couples):
        broken.append("listed pair in a negative")
    return broken


def _published_rules(sites: list[Site], pairs: list[tuple[str, str]], config: Simulated) -> list[str]:
    broken = _listed_in_range(sites, pairs, config)
    if any(site.pair != -1 for site in sites):
        broken.append("negative with a pair number")
    if not config.negative_motifs_min <= len(sites) <= config.negative_motifs_max:
        broken.append("number of motifs")
    if any(gap(a, b) < config.negative_gap for a, b in combinations(sites, 2)):
        broken.append("gap between lone motifs")
    if not config.negative_repeats and len({site.tf for site in sites}) < len(sites):
        broken.append("TF twice")
    return broken
