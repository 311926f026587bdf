"""Name the files of a run directory; the only place that does."""

from dataclasses import dataclass
from pathlib import Path

from satori_hpc import config
from satori_hpc.config import Config

# Outputs of reduce per method: tables of filter pairs and TF pairs; instances, and the TF network; spacings.
TABLE_ENDINGS = (".parquet", ".tsv", ".tf.parquet", ".tf.tsv")
OUTPUT_ENDINGS = (".bedpe", ".graphml", ".nodes.tsv", ".edges.tsv")
ALL_INSTANCES_ENDINGS = (".instances.parquet", ".instances.bedpe")  # if reduce.instances asks for them
SPACING_ENDINGS = (".spacing.parquet", ".spacing.tsv", ".spacing_counts.parquet", ".spacing_counts.tsv")
DIFFERENTIAL_ENDINGS = (".differential.parquet", ".differential.tsv")  # made by a separate command
INTERACTION_ENDINGS = TABLE_ENDINGS + OUTPUT_ENDINGS + SPACING_ENDINGS
OUTCOME = "outcome.json"  # of a trial


@dataclass(frozen=True)
class Run:
    """A run directory and its configuration.

    Attributes:
        path: of the directory, absolute: libraries take a relative one such as `s3:run` or `~` for something else.
        config: the content of its run.toml.
    """

    path: Path
    config: Config

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", self.path.absolute())

    @staticmethod
    def open(path: Path | str, text: str | None = None) -> "Run":
        """Open an existing run.

        Args:
            path: its directory.
            text: of its run.toml, when that is known already.

        Raises:
            ConfigError: run.toml is missing or not usable.
        """
        path = Path(path)
        return Run(path=path, config=config.load(path / "run.toml", text))

    @property
    def config_file(self) -> Path:
        return self.path / "run.toml"

    @property
    def dataset(self) -> Path:
        return self.path / "dataset.zarr"

    @property
    def chrom_sizes(self) -> Path:
        """Names and lengths of the genome's chromosomes, in its order; of sets made from a genome."""
        return self.path / "chrom.sizes"

    @property
    def dataset_parts(self) -> Path:
        """Blocks read from a genome, until the data set is complete."""
        return self.path / "dataset.parts"

    @property
    def dataset_index(self) -> Path:
        """Index of a genome, until the data set is complete."""
        return self.path / "dataset.index"

    @property
    def excluded_records(self) -> Path:
        """Excluded and changed records of the user's files, for sources that report them."""
        return self.path / "excluded_records.tsv.gz"

    @property
    def truth(self) -> Path:
        """Implanted pairs and instances; exists for simulated sets only."""
        return self.path / "truth"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        return self.checkpoints / "best.pt"

    @property
    def history(self) -> Path:
        return self.checkpoints / "history.tsv"

    @property
    def label_metrics(self) -> Path:
        return self.checkpoints / "labels.tsv"

    @property
    def stop(self) -> Path:
        """Made by anyone who wants training to stop in good order."""
        return self.path / "STOP"

    @property
    def predictions(self) -> Path:
        """Logits of every example by the best checkpoint."""
        return self.path / "predictions.zarr"

    @property
    def predictions_parts(self) -> Path:
        """Predictions made so far."""
        return self.path / "predictions.parts"

    @property
    def motifs(self) -> Path:
        return self.path / "motifs"

    @property
    def background(self) -> Path:
        return self.path / "background.zarr"

    def scores(self, method: str) -> Path:
        return self.path / "scores" / f"{method}.zarr"

    def score_markers(self, method: str) -> Path:
        """What is done of the scores of a method."""
        return markers_of(self.scores(method))

    def interactions(self, method: str) -> Path:
        """Return the path without suffix; the files have INTERACTION_ENDINGS."""
        return self.path / "interactions" / method

    def parts(self, method: str) -> Path:
        """Return the finished blocks of an unfinished reduction."""
        return self.path / "interactions" / f"{method}.parts"

    def known_pairs(self, method: str) -> Path:
        """Return the table of called pairs listed in tables of known interactions; exists if such tables are given."""
        return self.path / "interactions" / f"{method}.known.tsv"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def inspections(self) -> Path:
        """Pages and arrays of single sequences, named by their rows: <row>.html, <row>.npz."""
        return self.path / "inspect"

    @property
    def tracks(self) -> Path:
        """Files for genome browsers and TF-MoDISco."""
        return self.path / "tracks"

    @property
    def search(self) -> Path:
        """The trials of a search and its results."""
        return self.path / "search"

    def trial(self, number: int) -> Path:
        """Return the run directory of a trial."""
        return self.search / f"trial_{number:04d}"

    def outcome(self, number: int) -> Path:
        """Value of a trial, or why it failed; makes the trial complete."""
        return self.trial(number) / OUTCOME

    def outcomes(self) -> list[Path]:
        """Outcomes of all trials that were started."""
        return sorted(self.search.glob(f"trial_*/{OUTCOME}"))

    @property
    def leaderboard(self) -> Path:
        return self.search / "leaderboard.tsv"

    @property
    def best_settings(self) -> Path:
        """run.toml of the best trial."""
        return self.search / "best.toml"

    @property
    def ensemble(self) -> Path:
        """The other networks of an ensemble, and the tables of all of them together."""
        return self.path / "ensemble"

    def member(self, seed: int) -> Path:
        """Return the run directory of the network of this seed."""
        return self.ensemble / f"seed_{seed}"

    def ensemble_table(self, method: str) -> Path:
        """Return the path without suffix; the files are .parquet and .tsv."""
        return self.ensemble / f"{method}_tf"

    @property
    def ensemble_summary(self) -> Path:
        """Which members the tables are of, and how well they do."""
        return self.ensemble / "ensemble.json"

    def record(self, stage: str) -> Path:
        """Return the provenance of a finished stage; its existence marks the stage as finished."""
        return self.path / "provenance" / f"{stage}.json"

    def resolve(self, name: str) -> Path:
        """Return a path from run.toml: relative ones start at the run directory."""
        return (self.path / Path(name).expanduser()).resolve()


def markers_of(store: Path) -> Path:
    """The folder that tells what is done of a score store; beside it, for Zarr warns of files that are not its own."""
    return store.with_suffix(".markers")
