"""Write this machine's pip settings to FOLDER/pip.conf, for a build in which FOLDER is /media; print local folders.

Line k of the output is to be seen as /media/k: a folder that pip finds wheels in, or that holds an index (file://).
"""

import ast
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlparse

KEYS = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "proxy", "cert", "timeout", "retries")
SECTIONS = ("global", "install", ":env:")  # the later wins, as in pip


def settings() -> dict[str, str]:
    """Return the pip settings that a build needs, from its files and PIP_* variables."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    found: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in found and key.removeprefix("default-") in KEYS:
            found[section][key.removeprefix("default-")] = ast.literal_eval(value)
    return {key: value for section in SECTIONS for key, value in found[section].items()}


def main(media: Path) -> None:
    folders: list[Path] = []

    def seen(place: str) -> str:
        """Return a location as named in the build; an index may link to sibling folders."""
        path = Path(unquote(urlparse(place).path)) if place.startswith("file://") else Path(place)
        if not path.is_dir():
            return place
        top = path.parent if place.startswith("file://") else path
        if top not in folders:
            folders.append(top)
        return f"file:///media/{folders.index(top)}" + (f"/{path.name}" if top != path else "")

    found = settings()
    for key in ("index-url", "extra-index-url", "find-links"):
        if key in found:
            found[key] = "\n    ".join(seen(place) for place in found[key].split())
    if "cert" in found:
        shutil.copy(found["cert"], media / "cert.pem")
        found["cert"] = "/media/cert.pem"
    (media / "pip.conf").write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in found.items()))
    for folder in folders:
        print(folder.resolve())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
