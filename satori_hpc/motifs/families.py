"""Look up the family of a TF in JASPAR, which follows TFClass."""

import functools
from collections.abc import Callable

from satori_hpc.motifs import names as tf_names
from satori_hpc.motifs import readers

ONLY_FINGERS = "zinc fingers"  # families so named share the number of fingers, not a motif: ZNF143 and CTCF are in one


def namer(level: str) -> Callable[[str], str]:
    """Return the function from the name of a TF to that of its unit at [reduce] level: itself, or its family."""
    if level == "tf":
        return str
    known = families()
    return lambda name: known.get(tf_names.compared(name), name)


@functools.cache
def families() -> dict[str, str]:
    """Return {TF: its family} of JASPAR CORE, TFs as `names.compared` spells them.

    Of a TF with several matrices the last one is followed. Composites have the families of their parts, "A::B".
    """
    import pyjaspar  # here: it brings Biopython

    database = pyjaspar.jaspardb(release=readers.RELEASE)
    try:
        rows = database.conn.execute(
            """
            SELECT m.NAME, m.ID, a.VAL FROM MATRIX m
            JOIN MATRIX_ANNOTATION a ON a.ID = m.ID AND a.TAG = 'family'
            WHERE m.COLLECTION = ? ORDER BY m.BASE_ID, m.VERSION, a.VAL""",
            (readers.COLLECTION,),
        ).fetchall()
    finally:
        database.conn.close()
    found: dict[str, tuple[int, list[str]]] = {}
    for name, matrix, family in rows:
        key = tf_names.compared(name)
        if key not in found or found[key][0] != matrix:
            found[key] = (matrix, [])
        found[key][1].append(family)
    kept = {key: told for key, (_, told) in found.items() if not any(each.endswith(ONLY_FINGERS) for each in told)}
    return {key: tf_names.COMPOSITE.join(told) for key, told in kept.items()}
