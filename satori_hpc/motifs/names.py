"""Derive TF names from the motif names of motif collections.

One place for all of them: JASPAR (MA0527.2.ZBTB33, RORA(var.2)), HOCOMOCO (ZBTB33.H12CORE.0.P.B), CIS-BP
((ZBTB33)_(Homo_sapiens)_(DBD_1.00)), HOMER (CTCF(Zf)/CD4+-CTCF-ChIP-Seq/Homer), TRANSFAC (V$CTCF_01), SELEX, UniPROBE,
DAP-seq and others. Motifs of one TF (subtypes, variants, versions) thus share its name. Composites, motifs that two TFs
bind together, stay one name (FOXD3::GATA1).
"""

import functools
import re
from collections.abc import Callable, Iterable, Sequence

from satori_hpc.motifs.motif import Motif

COMPOSITE = "::"  # JASPAR: GATA1::TAL1 is a motif that both bind together
LONGEST = 200  # characters; longer text is no motif name and stays unchanged

_LETTERS = "[ACGTURYSWKMBDHVN]"  # a consensus, IUPAC
_ACCESSION = (
    r"(?:(?:(?:MA|UN|PB|PH|PL|PF|CN|SA|SD|MF)\d{4}|POL\d{3})(?:\.\d+)?"  # JASPAR
    r"|[MT]\d{4,6}_\d+\.\d+|M\d{4,5}|UP\d{5}(?:_\d+)?)"  # CIS-BP, TRANSFAC, UniPROBE
)
_SEPARATOR = r"[\s._|/;:,-]+"
_DOMAIN = r"(?:e?DBD|full|FL)"  # suffixes for the construct used in the assay
# UniProt: names of entries are mnemonics of the protein and the species, here those of which motifs are known.
_SPECIES = (
    "HUMAN MOUSE RAT PIG BOVIN SHEEP HORSE RABIT CANLF FELCA MACMU PANTR CHICK XENLA XENTR DANRE ORYLA TAKRU DROME "
    "ANOGA APIME BOMMO CAEEL CAEBR CIOIN STRPU YEAST SCHPO CANAL NEUCR EMENI ASPFU ASPNC ARATH ORYSJ ORYSI MAIZE SOYBN "
    "SOLLC SOLTU TOBAC WHEAT HORVU PEA ANTMA PETHY VITVI PHYPA PLAF7 DICDI ECOLI"
)
_ENTRY = re.compile(rf"^([A-Z0-9]{{1,10}})_(?:{'|'.join(_SPECIES.split())})$", re.IGNORECASE)
_VERSION = re.compile(r"\b(ma\d{4})\.\d+\b", re.IGNORECASE)

# Names without a TF: accessions, families, numbers, a consensus, motifs found in sequences.
_DE_NOVO = re.compile(
    rf"(?:(?:\d+-)?{_LETTERS}*[-\s])?X?(?:STREME|DREME|MEME)(?:-\d+)?"
    rf"|\d+-{_LETTERS}+|.*BestGuess:.*|.*_Meme_\d+_w\d+|(?:.*[._])?pattern_\d+"
    r"|filter\d+|(?i:motif|cluster|metacluster|archetype|nrmotif)[\s._-]?\d[\d._]*"
)
_NO_TF = re.compile(rf"{_DE_NOVO.pattern}|(?i:{_ACCESSION})|GM\.\d+\.\d+\..+|\d*|{_LETTERS}{{6,}}|(?i:unknown)\S*")


def _composite(separators: str) -> Callable[[re.Match[str]], str]:
    """Write the parts of a name as JASPAR does."""
    return lambda match: COMPOSITE.join(part for part in re.split(separators, match[1]) if part)


_Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]
# Prefixes and suffixes of collections, removed repeatedly until none is left.
_RULES: tuple[_Rule, ...] = (
    (re.compile(r"(?:_\d+(?:\.Infer)?)?\.motif$"), ""),  # IMAGE
    (re.compile(r"^(.+)_\1$"), r"\1"),  # TOBIAS: identifier_name, both the same
    # cisTarget: collection__name
    (
        re.compile(
            r"^(?:bergman|cisbp|elemento|encode|factorbook|flyfactorsurvey|hdpi|hocomoco|homer|idmmpmm|jaspar|kznf|neph"
            r"|scertf|stark|swissregulon|taipale(?:_cyt_meth|_tf_pairs)?|transfac_(?:pro|public)|yetfasco)__"
            r"(?:hs__|mm__)?"
        ),
        "",
    ),
    # MotifDb: Hsapiens-jaspar2018-ZNF263-MA0528.1
    (
        re.compile(
            r"^(?:MotifDb::)?[A-Z][a-z]+-(?i:jaspar\w*|hocomocov\d+(?:-core|-secondary)*(?:-[A-D])?|jolma2013|cisbp_[\d.]+"
            r"|uniprobe|swissregulon|flyfactorsurvey|hpdi|homer|scertf|stamlab)-"
        ),
        "",
    ),
    # HOMER: CTCF(Zf)/CD4+-CTCF-ChIP-Seq(Barski_et_al.)/Homer, after a consensus in the files of gimmemotifs
    (
        re.compile(rf"^(?:{_LETTERS}{{4,}}_)?([^/(]+?)(?:\([^/]*\))?(?:,[^/]*)?/.*Homer(?:\([\d.]+\))?$"),
        _composite(":+"),
    ),
    (
        re.compile(
            r"^([^/()\s]+)\((?:Zf|bHLH|bZIP|Homeobox|ETS|NR|Forkhead|HMG|POU|MADS|Runt|RHD|IRF|T-box|TEA|Stat|AP2|HTH"
            r"|Paired|\?|[\w-]+[,:][^()]*)\)$"
        ),
        _composite(":+"),
    ),
    (re.compile(r"/Jaspar(?:\([\d.]+\))?$"), ""),
    (re.compile(r"-halfsite$"), ""),
    # CIS-BP: (ZBTB33)_(Homo_sapiens)_(DBD_1.00)
    (re.compile(rf"^(?:{_ACCESSION}\s+)?\((.+?)\)_\([A-Z][a-z]+_[^()]*\).*$"), r"\1"),
    # HOCOMOCO: v10 to v13, then v9
    (re.compile(r"\.H\d+[A-Z]+\.[\w.]+$", re.IGNORECASE), ""),
    (re.compile(r"(?<=\w)_(?:f[12]|si|do)$"), ""),
    # PBM of JASPAR: two matrices of a TF
    (re.compile(rf"^PB\d{{4}}(?:\.\d+)?{_SEPARATOR}(.+?)_[12]$"), r"\1"),
    # Accessions before or after the name
    (re.compile(rf"^{_ACCESSION}{_SEPARATOR}(?=[^\s\d])", re.IGNORECASE), ""),
    (re.compile(rf"(?<=[\w)]){_SEPARATOR}\(?{_ACCESSION}\)?$", re.IGNORECASE), ""),
    (re.compile(rf"(?<=\w)\({_ACCESSION}\)$", re.IGNORECASE), ""),
    # JASPAR: variants
    (re.compile(r"[\s_]*\(var\.\d+\)", re.IGNORECASE), ""),
    # TRANSFAC: V$CTCF_01, V$NFKB_Q6_01
    (re.compile(r"^[A-Z]{1,2}\$(.+?)(?:_(?:\d{2}|Q\d+|[BC]))*$"), r"\1"),
    # DAP-seq of Arabidopsis: bHLH_tnt.bHLH104_col_a_m1
    (re.compile(r"^[\w-]+?[._](?:tnt|ecoli)\."), ""),
    (re.compile(r"(?<=\w)_col(?:amp|\d+)?_[a-z]\w*$"), ""),
    # SELEX: 5138_ALX3_full_1_HumanTF_1.0, ELK1_HOXA1_CAP_repr, ALX3_full_2, ELF2_HT-SELEX_TGCAAG20NAAC_AL_1_2
    (re.compile(r"^\d+_(.+?)_HumanTF_[\d.]+_?$"), r"\1"),
    (re.compile(rf"^([A-Za-z0-9-]+[_+][A-Za-z0-9-]+?)(?:_{_LETTERS}{{5,}})?_CAP(?:[-_].*)?$"), _composite("[_+]")),
    (
        re.compile(rf"(?<=\w)(?:_{_LETTERS}{{5,}})?(?:_{_DOMAIN}(?:_.*)?|(?:_{_DOMAIN})?_(?:methyl-)?HT-SELEX.*)$"),
        "",
    ),
    # FlyFactorSurvey: twi_da_SANGER_5_FBgn0000413
    (re.compile(r"^(.+?)_(?:SANGER|SOLEXA|FlyReg|Cell|NAR|NBT)(?:_[\d.]+)*(?:_FBgn\d{7})?$"), _composite("_")),
    (re.compile(r"(?<=\w)_FBgn\d{7}$"), ""),
    # UniPROBE, SwissRegulon, ENCODE, YeTFaSCo
    (re.compile(r"_(?:primary|secondary)$"), ""),
    (re.compile(r"\.(?:p\d|SwissRegulon)$"), ""),
    (re.compile(r"(?<=\w)_(?:known|disc)\d+$"), ""),
    (re.compile(r"^(Y[A-P][LR]\d{3}[CW](?:-[A-Z])?)_\d+$"), r"\1"),
)  # fmt: skip


_HOMER_FAMILY = re.compile(r"[^()/]+\(([^()]+)\)[^/]*/.*Homer")
_DAP_FAMILY = re.compile(r"([\w-]+?)[._](?:tnt|ecoli)\.")


def tf_name(name: str, identifier: str = "") -> str:
    """Return the TF of a motif from its name, else from its identifier; "" if neither gives one.

    Case is kept, and so are composites ("FOXD3::GATA1") and names of UniProt's entries ("P53_HUMAN"), which are not
    always symbols of genes.
    """
    if re.search(r"[._](?:tnt|ecoli)\.", identifier):  # DAP-seq: the other part is the family
        return _tf_name(identifier)
    if identifier.startswith("PB"):  # PBM of JASPAR: the name has its own number
        return _tf_name(f"{identifier} {name}")
    found = _tf_name(name)
    return found if found or _DE_NOVO.fullmatch(name) else _tf_name(identifier)


@functools.lru_cache(maxsize=1 << 16)
def _tf_name(text: str) -> str:
    text = text.strip()
    if len(text) > LONGEST:
        return ""
    changed = True
    while changed and not _NO_TF.fullmatch(text):
        changed = False
        for pattern, replacement in _RULES:
            taken = pattern.sub(replacement, text).strip()
            if taken and taken != text:
                text, changed = taken, True
                break
    return "" if _NO_TF.fullmatch(text) or re.search(r"\s", text) else text


def entry(name: str, *, case: bool = False) -> str:
    """Normalise a name for tables of names: the TF if it gives one, in lower case unless `case`.

    Names of UniProt's entries stay whole ("p53_human"); accessions of JASPAR lose their version ("ma0139").
    """
    text = _VERSION.sub(r"\1", tf_name(name) or name.strip())
    return text if case else text.lower()


def compared(name: str, *, case: bool = False) -> str:
    """Normalise a TF or motif name for comparison: `entry` without the species of UniProt's entries.

    "MA0139.2" becomes "ma0139", "FOXP1(var.2)" "foxp1", "GATA1_HUMAN.H11MO.0.A" "gata1"; composites ("GATA1::TAL1")
    are taken literally.
    """
    return COMPOSITE.join(_ENTRY.sub(r"\1", part) for part in entry(name, case=case).split(COMPOSITE))


def is_entry(name: str) -> bool:
    """Return whether it is a UniProt entry name, such as P53_HUMAN."""
    return _ENTRY.fullmatch(name) is not None


def of_motifs(motifs: Sequence[Motif]) -> list[str]:
    """Return the TF name of each motif: one spelling for all motifs of a TF, that of the first.

    A motif without a TF keeps its own name.
    """
    spelling: dict[str, str] = {}
    names = [tf_name(motif.name, motif.identifier) or motif.name for motif in motifs]
    return [spelling.setdefault(compared(name), name) for name in names]


def family(families: Iterable[str]) -> str:
    """Join the families of the TFs of a motif, each once: "Ets-related::FOX" of a composite."""
    return COMPOSITE.join(dict.fromkeys(filter(None, (text.strip() for text in families))))


def family_of(motif: Motif) -> str:
    """Return the family of a motif: that of its collection, else as HOMER and DAP-seq write it in names; "" if unknown.

    "CTCF(Zf)/CD4+-CTCF-ChIP-Seq/Homer" is of family Zf, "bHLH_tnt.bHLH104_col_a" of family bHLH.
    """
    if motif.family:
        return motif.family
    found = _HOMER_FAMILY.match(motif.name) or _DAP_FAMILY.match(motif.identifier or motif.name)
    return found[1] if found else ""
