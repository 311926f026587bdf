"""Name the family of a TF, as JASPAR has it (after TFClass)."""

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
    """Return {TF: its family}, TFs as `names.compared` spells them; composites have the families of their parts."""
    known = readers.jaspar(release=readers.RELEASE, collection=readers.COLLECTION, groups=())
    return {tf_names.compared(item.name): item.family for item in known if item.family and not _fingers(item.family)}


def _fingers(family: str) -> bool:
    return any(part.endswith(ONLY_FINGERS) for part in family.split(tf_names.COMPOSITE))
