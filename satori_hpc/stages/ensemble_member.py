"""The networks of an ensemble: the run itself, and run directories in it that share its data (stages.subrun)."""

import dataclasses
import functools
import os
from pathlib import Path

from satori_hpc import config as config_module
from satori_hpc import options
from satori_hpc.config import Config
from satori_hpc.run import Run
from satori_hpc.stages import pipeline, subrun
from satori_hpc.world import Runtime

LAST = "reduce"  # stage of a member
SEEDS = 2**31  # seeds are below this
HEADER = """\
# The network of seed {seed} in the ensemble of {run}. Its data are links to those of that run.

"""


@dataclasses.dataclass(frozen=True)
class Member:
    """One network of the ensemble of `run`; the first is that of the run itself."""

    run: Run
    seed: int

    @property
    def is_run(self) -> bool:
        return self.seed == self.run.config.network_seed

    @functools.cached_property
    def own(self) -> Run:
        """Its run directory, with the run.toml that it has or is to have."""
        if self.is_run:
            return self.run
        path = self.run.member(self.seed)
        return Run(path=path, config=options.parse(self._text(), Config, name=str(path)))

    def done(self) -> bool:
        """Whether its tables are there, fresh and made as run.toml has it now."""
        left = pipeline.remaining(self.own)
        return not any(stage.name in left for stage in STAGES)

    def work(self, runtime: Runtime) -> None:
        """Run its stages that are not done; the caller holds its directory."""
        if not self.is_run:
            subrun.write(self.own.path, self._text())
        subrun.work(self.run, self.own, runtime, last=LAST)

    def _text(self) -> str:
        config = config_module.renamed(self.run.config, self._from_here)
        config = options.replace(config, "train.seed", self.seed)
        header = HEADER.format(seed=self.seed, run=self.run.path.resolve().name)
        return header + options.render(config, skip=("search", "ensemble"))

    def _from_here(self, name: str) -> str:
        """A relative file name of the run as it is from the member's directory; it stays true when the run is moved."""
        if Path(name).expanduser().is_absolute():
            return name
        return os.path.relpath(self.run.path.resolve() / name, self.run.member(self.seed).resolve())


STAGES = pipeline.STAGES[: [stage.name for stage in pipeline.STAGES].index(LAST) + 1]


def members(run: Run) -> list[Member]:
    """All members, the run itself first; the others have the seeds that follow its own."""
    first = run.config.network_seed
    return [Member(run, (first + number) % SEEDS) for number in range(run.config.ensemble.seeds)]
