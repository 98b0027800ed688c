"""The folder of a run: its name and the names of the files in it."""

from dataclasses import dataclass
from pathlib import Path

DATA_FOLDER = "amplified_data"
"""The pairs of an amplification: source/, target/ and what describes them."""

MANIFEST = "manifest.parquet"
"""Table of the finished pairs."""

METADATA = "metadata.csv"
"""The same table as Hugging Face's image folders have it, inside the data folder."""

SETTINGS = "settings.json"
"""Everything that decided the output, to be matched by a resumed run."""

STATE = "state.pt"
"""What a training resumes from."""

CHECKPOINT = "checkpoint"
"""The folder of a trained checkpoint."""

SWEEP_RECORD = "multirun.yaml"
"""Hydra's record of a multirun, in its folder."""


@dataclass(frozen=True)
class Run:
    """A run.

    Attributes:
        name: of the run that the job belongs to; the jobs of a multirun and the shards of a plan share it.
        folder: where the job writes.
    """

    name: str
    folder: Path
