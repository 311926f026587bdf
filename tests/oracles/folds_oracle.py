"""Folds of several TFs as one set, slowly: a dictionary from sequence to labels."""

UNKNOWN = 255


def join(
    train: list[list[tuple[str, int]]], test: list[list[tuple[str, int]]], *, missing_label: str
) -> tuple[dict[str, tuple[bool, list[int]]], int]:
    """({sequence: (tests, labels)} in order of first appearance, number of training rows left out)."""
    tested = {text for rows in test for text, _ in rows}
    found: dict[str, tuple[bool, list[int]]] = {}
    excluded_records = 0
    for label, rows in enumerate(train):
        for text, bound in rows:
            if text in tested:
                excluded_records += 1
                continue
            blank = UNKNOWN if missing_label == "unknown" else 0
            found.setdefault(text, (False, [blank] * len(train)))[1][label] = bound
    for label, rows in enumerate(test):
        for text, bound in rows:
            found.setdefault(text, (True, [UNKNOWN] * len(train)))[1][label] = bound
    return found, excluded_records
