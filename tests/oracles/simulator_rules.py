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


def read_pairs(folder: Path) -> dict[tuple[str, str], str]:
    """{pair: role}, in the order of the file."""
    lines = (folder / "pairs.tsv").read_text().splitlines()
    assert lines[0] == "tf_a\ttf_b\trole"
    rows = [line.split("\t") for line in lines[1:]]
    assert len({(a, b) for a, b, _ in rows}) == len(rows)
    return {(a, b): role for a, b, role in rows}


def pool_identifiers(folder: Path) -> dict[str, str]:
    """{TF: JASPAR identifier} from the MOTIF lines of the MEME file."""
    lines = (folder / "motifs.meme").read_text().splitlines()
    motifs = [line.split() for line in lines if line.startswith("MOTIF")]
    return {name: identifier for _, identifier, name in motifs}


def log_odds(identifiers: dict[str, str], config: Simulated) -> dict[str, list[dict[str, float]]]:
    database = pyjaspar.jaspardb(release="JASPAR2026")
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
                        (counts[letter][position] + 0.8 * frequency[letter]) / (total + 0.8) / frequency[letter]
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
    roles, identifiers = read_pairs(folder), pool_identifiers(folder)
    pairs = [pair for pair, role in roles.items() if role == "true"]
    broken = _set_rules(sequences, labels, roles, identifiers, config)
    matrices = log_odds(identifiers, config)
    for number, (seq_id, letters) in enumerate(sequences.items()):
        found = sorted(sites.get(seq_id, []), key=lambda site: site.start)
        wrong = _site_rules(letters, found, matrices, config) + _number_rules(found, list(roles))
        if config.design in DESIGNS:
            wrong += DESIGNS[config.design](found, labels[number], roles)
            if config.order == "fixed" and any(left.tf > right.tf for left, right in _couples(found)):
                wrong.append("order")
        elif labels[number] == 1:
            wrong += _positive_rules(found, pairs, config)
        elif config.design != "published":
            wrong += _hard_rules(found, pairs, config)
        else:
            wrong += _published_rules(found, pairs, config)
        broken += [f"{seq_id}: {what}" for what in wrong]
    return broken


def _set_rules(
    sequences: dict[str, str],
    labels: list[int],
    roles: dict[tuple[str, str], str],
    identifiers: dict[str, str],
    config: Simulated,
) -> list[str]:
    broken = []
    if len(sequences) != config.examples or len(labels) != config.examples:
        broken.append("number of sequences")
    if config.design not in ("grammar", "additive") and sum(labels) != config.examples // 2:
        broken.append("class balance")
    if any(a >= b for a, b in roles) or len(roles) != config.tfs * (config.tfs - 1) // 2:
        broken.append("pairs")
    if sorted(roles.values(), key=["true", "decoy", "other"].index) != list(roles.values()):
        broken.append("order of roles")
    listed = {"additive": 0, "one-motif": 0, "one-pair": 1}.get(config.design, config.pairs)
    decoys = {
        "grammar": config.pairs,
        "additive": 2 * config.pairs,
        "one-motif": config.pairs + config.tfs - 1,
        "arrange": (config.pairs + 1) // 2,
        "one-pair": 1,
    }.get(config.design, 0)
    if [list(roles.values()).count(role) for role in ("true", "decoy")] != [listed, decoys]:
        broken.append("number of pairs by role")
    in_true = {tf for pair, role in roles.items() if role == "true" for tf in pair}
    covered = in_true == set(identifiers) or config.design in ("additive", "one-motif", "one-pair")
    if len(identifiers) != config.tfs or not covered:
        broken.append("TFs in pairs")
    if len({tf.upper() for tf in identifiers}) != config.tfs:
        broken.append("TF names")
    return broken


def _number_rules(sites: list[Site], pairs: list[tuple[str, str]]) -> list[str]:
    """A pair number stands at two sites, or two each, of the two TFs of that row."""
    broken = []
    for number in {site.pair for site in sites} - {-1}:
        tfs = sorted(site.tf for site in sites if site.pair == number)
        if tfs != sorted(pairs[number] * (len(tfs) // 2)):
            broken.append("pair number")
    return broken


def _couples(sites: list[Site]) -> list[list[Site]]:
    """Sites that belong to a pair, two by two along the sequence."""
    paired = [site for site in sites if site.pair >= 0]
    return [paired[place : place + 2] for place in range(0, len(paired), 2)]


def _three_couples(sites: list[Site], gaps: tuple[int, int], apart: int) -> list[str]:
    couples, broken = _couples(sites), []
    if [len(couple) for couple in couples] != [2, 2, 2]:
        return ["three pairs"]
    if any(left.pair != right.pair for left, right in couples):
        broken.append("pair members")
    if any(not gaps[0] <= right.start - left.end <= gaps[1] for left, right in couples):
        broken.append("gap within a pair")
    if any(gap(a, b) < apart for one, other in combinations(couples, 2) for a in one for b in other):
        broken.append("gap between pairs")
    return broken


def _grammar_rules(sites: list[Site], label: int, roles: dict[tuple[str, str], str]) -> list[str]:
    return _three_couples(sites, (5, 20), 21) + ["lone motif"] * (len(sites) != 6)


def _one_motif_rules(sites: list[Site], label: int, roles: dict[tuple[str, str], str]) -> list[str]:
    broken = _three_couples(sites, (5, 20), 5)
    tfs = sorted({tf for pair in roles for tf in pair})
    lone = [site for site in sites if site.pair == -1]
    if len(lone) != label:
        broken.append("deciding TF")
    for site in lone:
        if any(roles[min(site.tf, tf), max(site.tf, tf)] != "decoy" for tf in tfs if tf != site.tf):
            broken.append("role of the deciding TF")
        if any(other.tf == site.tf or gap(site, other) < 5 for other in sites if other is not site):
            broken.append("deciding TF in a pair, or too near")
    return broken


def _arrange_rules(sites: list[Site], label: int, roles: dict[tuple[str, str], str]) -> list[str]:
    broken = _three_couples(sites, (8, 40), 16) + ["lone motif"] * (len(sites) != 6)
    found = {"true": [], "decoy": [], "other": []}
    for left, right in _couples(sites):
        found[list(roles.values())[left.pair]].append((left.pair, right.start - left.end))
    near, far = range(8, 16), range(26, 41)
    if any(width not in (near if label else far) for _, width in found["true"]):
        broken.append("distance of a true pair")
    if any(width not in near and width not in far for _, width in found["decoy"]):
        broken.append("distance of a decoy")
    if len({pair for pair, _ in found["true"]}) != 2 or len(found["decoy"]) != 1:
        broken.append("roles")
    return broken


def _one_pair_rules(sites: list[Site], label: int, roles: dict[tuple[str, str], str]) -> list[str]:
    tfs, broken = [site.tf for site in sites], []
    if len(set(tfs)) < len(tfs):
        broken.append("TF twice")
    if any(gap(a, b) < 5 for a, b in combinations(sites, 2)):
        broken.append("gap between motifs")
    (true, decoy), both = list(roles)[:2], {}
    for pair in (true, decoy):
        both[pair] = sum(tf in tfs for tf in pair)
    if both[true] != 1 + label or both[decoy] not in (1, 2):
        broken.append("members of the pair or the decoy")
    if {site.pair for site in sites if site.tf in true} != ({0} if label else {-1}):
        broken.append("number of the pair")
    return broken


DESIGNS = {
    "grammar": _grammar_rules,
    "additive": _grammar_rules,
    "one-motif": _one_motif_rules,
    "arrange": _arrange_rules,
    "one-pair": _one_pair_rules,
}


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
        if not 0 <= number < len(pairs) or tuple(sorted(site.tf for site in couple)) != pairs[number]:
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
    if any(site.pair < len(pairs) for site in sites) or len(sites) % 2:
        return ["negative with the number of a listed pair or a lone motif"]
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
    if len({site.tf for site in sites}) < len(sites):
        broken.append("TF twice")
    return broken
