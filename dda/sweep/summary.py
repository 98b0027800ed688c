"""What a sweep ends with: Hydra's callbacks, and the summary that they write."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from dda.pairs.run_files import SWEEP_RECORD
from dda.sweep.jobs import job_folders, read_jobs


class SweepSummary(Callback):
    """Summarizes a sweep of run_amplify.py when its last job has ended; configured in `conf/amplify.yaml`.

    Hydra leaves a sweep with a failed job without calling its callbacks: `dda.cli.entry_point.launch` then closes it.
    """

    _running: ClassVar["SweepSummary | None"] = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        if str(config.hydra.launcher._target_).endswith("SlurmLauncher") and shutil.which("srun") is None:
            raise SystemExit(
                "dda: launch=slurm: this machine has no Slurm (no srun); start it on a node of the cluster, "
                "or try it here with hydra/launcher=submitit_local"
            )
        swept = _find_swept_keys(config.hydra.overrides.task)
        if named := [key for key in ("run_name", "paths.outputs") if key in swept]:
            raise SystemExit(
                f"dda: {named[0]}: cannot be swept, all jobs of a multirun lie in one folder; give it one value"
            )
        beside = [key for key in swept if key not in ("shard.index", "style_set")]
        if "shard.index" in swept and beside:
            raise SystemExit(
                f"dda: {beside[0]}: is swept together with shard.index, but all its values would share the shards' "
                "folder; make one multirun for each value, with a run_name of its own"
            )
        self.folder = Path(config.hydra.sweep.dir)
        SweepSummary._running = self

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        self.close()

    @staticmethod
    def close() -> None:
        """Summarize the sweep that is running, if there is one."""
        running, SweepSummary._running = SweepSummary._running, None
        if running is None:
            return
        running.summarize()
        if [file.name for file in running.folder.glob("*")] == [SWEEP_RECORD]:  # nothing came of it, as of dry runs
            (running.folder / SWEEP_RECORD).unlink()
            running.folder.rmdir()

    def summarize(self) -> None:
        """Compare what the jobs left, if they left anything."""
        if job_folders(self.folder):
            summarize(self.folder)


class EvaluationSummary(SweepSummary):
    """Compares the evaluations of a multirun of run_eval.py; configured in `conf/eval.yaml`.

    Those that failed are left out, so the others are noted as they end, with what each was given.
    """

    def __init__(self) -> None:
        self._measured: dict[Path, list[str]] = {}

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if job_return.status == JobStatus.COMPLETED:
            given = [text for text in config.hydra.overrides.task if text.partition("=")[0] not in ("run", "pairs")]
            self._measured[Path(config.hydra.runtime.output_dir)] = given

    def summarize(self) -> None:
        """Write sweep_summary.csv beside the evaluations and print the table, if there are any."""
        if self._measured:
            from dda.sweep.evaluation_table import compare  # as below

            alike = set.intersection(*map(set, self._measured.values()))
            labels = {folder: [text for text in given if text not in alike] for folder, given in self._measured.items()}
            compare({" ".join([folder.name, *label]): folder for folder, label in labels.items()}, self.folder)


def summarize(sweep: Path) -> None:
    """Write sweep_summary.csv and sweep_summary.png into the folder of a sweep, and print the table.

    No file is written while no job has made a pair.

    Raises:
        UserError: there is no job in the folder.
    """
    from dda.sweep.comparison import compare  # takes seconds, and Hydra loads this file at every start

    compare(read_jobs(sweep), sweep)


def _find_swept_keys(overrides: Sequence[str]) -> list[str]:
    """Return the keys that a multirun gives several values."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return [override.key_or_group for override in parsed if override.is_sweep_override()]
