"""Commands of satori-hpc, one after the other in one world: python commands.py ARGUMENTS... -- ARGUMENTS... -- ...

A rank takes two seconds to start, most of them for loading torch.
"""

import itertools
import sys

from satori_hpc.cli import cli

if __name__ == "__main__":
    for command, words in itertools.groupby(sys.argv[1:], lambda word: word != "--"):
        if command:
            cli(list(words), standalone_mode=False)
