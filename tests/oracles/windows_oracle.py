"""Peaks to windows, slowly: the rules as they are told, one couple at a time."""

from typing import NamedTuple


class Peak(NamedTuple):
    chrom: int
    strand: int
    start: int
    end: int
    labels: frozenset[int]


def middle(start: int, end: int) -> int:
    return int(0.5 + (start + end - 1) / 2)


def window(at: int, size: int, length: int) -> tuple[int, int]:
    start = max(0, at - size // 2)
    end = start + size
    if end > length:
        start, end = length - size, length
    return start, end


def extend_then_merge(peaks: list[Peak], lengths: list[int], size: int, overlap: int) -> list[Peak]:
    extended = [
        peak._replace(start=a, end=b)
        for peak in peaks
        for a, b in [window(middle(peak.start, peak.end), size, lengths[peak.chrom])]
    ]
    extended.sort(key=lambda peak: (peak.chrom, -peak.strand, peak.start))
    groups: list[list[Peak]] = []
    for peak in extended:
        last = groups[-1][-1] if groups else None
        same = last is not None and (last.chrom, last.strand) == (peak.chrom, peak.strand)
        if last is not None and same and not last.end - overlap <= peak.start:
            groups[-1].append(peak)
        else:
            groups.append([peak])
    return [peak for group in groups for peak in _merge(group, lengths, size, overlap)]


def _merge(group: list[Peak], lengths: list[int], size: int, overlap: int) -> list[Peak]:
    group = list(group)
    while len(group) > 1:
        shared = [left.end - right.start for left, right in zip(group, group[1:], strict=False)]
        largest = max(shared)
        if largest < overlap:
            break
        at = shared.index(largest)
        left, right = group[at], group[at + 1]
        a, b = 1 + len(left.labels), 1 + len(right.labels)
        mean = (a * middle(left.start, left.end) + b * middle(right.start, right.end)) / (a + b)
        start, end = window(int(mean + 0.5), size, lengths[left.chrom])
        group[at : at + 2] = [left._replace(start=start, end=end, labels=left.labels | right.labels)]
    return group


def merge_then_extend(peaks: list[Peak], lengths: list[int], size: int, overlap: int) -> list[Peak]:
    joined: list[Peak] = []
    for peak in sorted(peaks, key=lambda each: (each.chrom, -each.strand, each.start, each.end)):
        last = joined[-1] if joined else None
        same = last is not None and (last.chrom, last.strand) == (peak.chrom, peak.strand)
        if last is not None and same and min(last.end, peak.end) - peak.start > overlap:
            joined[-1] = last._replace(end=max(last.end, peak.end), labels=last.labels | peak.labels)
        else:
            joined.append(peak)
    made = [
        peak._replace(start=a, end=b)
        for peak in joined
        for a, b in [window(middle(peak.start, peak.end), size, lengths[peak.chrom])]
    ]
    return sorted(made, key=lambda peak: (peak.chrom, -peak.strand, peak.start))
