"""A W&B dashboard of amplifications, evaluations and trainings: `python -m dda.tracking.dashboard ENTITY/PROJECT`.

Each call saves a new view of the project; an older one stays as it is.
"""

import argparse
from typing import Any

from dda.console import exit_on_user_error
from dda.errors import UserError, first_line
from dda.pairs.journal import STATUSES
from dda.tracking.tracker import STEP_METRICS

NAME = "DDA"
_STAGES = ("prepare", "model", "write")
_QUALITY = ("strength", "leakage", "background_error", "detail_kept", "structure", "ssim", "psnr", "lpips", "st_lpips")


def dashboard(entity: str, project: str) -> Any:
    """Return the dashboard, a `wandb_workspaces.workspaces.Workspace` not yet saved: a section for each kind of job.

    Raises:
        UserError: its package is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as panels
        import wandb_workspaces.workspaces as workspaces
    except ModuleNotFoundError as error:
        raise UserError(f'{error.name} is not installed; pip install -e ".[dashboard]"') from error

    def lines(title: str, job_type: str, *metrics: str) -> Any:
        return panels.LinePlot(title=title, x=STEP_METRICS[job_type], y=list(metrics))

    amplifications = [
        lines("Pairs per second", "amplify", "pairs_per_second"),
        lines("Pairs tried", "amplify", *STATUSES),
        lines("Seconds per pair, all threads", "amplify", *(f"seconds_per_pair/{stage}" for stage in _STAGES)),
        lines("Peak memory, GiB", "amplify", "memory/process_peak_gib", "memory/gpu_0_peak_gib"),
        panels.MediaBrowser(title="Newest pairs", media_keys=["newest"], num_columns=1),
        panels.MediaBrowser(title="Samples", media_keys=["samples"], num_columns=1),
        panels.WeavePanelSummaryTable(table_name="pairs"),
    ]
    evaluations = [
        *(panels.BarPlot(title=name, metrics=[panels.SummaryMetric(name)]) for name in _QUALITY),
        panels.MediaBrowser(title="Best and worst pairs", media_keys=["best_worst"], num_columns=1),
    ]
    trainings = [
        lines("Loss", "train", "loss"),
        lines("Learning rate", "train", "learning_rate"),
        lines("PSNR inside the face, dB", "train", "held-out PSNR, dB", "seed PSNR, dB"),
        panels.MediaBrowser(title="Progress", media_keys=["progress"], num_columns=1),
    ]
    sections = {"Amplification": amplifications, "Evaluation": evaluations, "Training": trainings}
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[workspaces.Section(name=name, panels=shown, is_open=True) for name, shown in sections.items()],
    )


def save(entity: str, project: str) -> str:
    """Save the dashboard as a new view of a project; returns its address.

    Raises:
        UserError: its package is not installed, W&B has no account here, or refuses.
    """
    view = dashboard(entity, project)
    import wandb

    try:
        address = str(view.save().url) if wandb.login(prompt=False, verify=False) else None
    except Exception as error:  # its package raises whatever its transport does
        raise UserError(f"{entity}/{project}: W&B did not take the dashboard ({first_line(error)})") from error
    if address is None:
        raise UserError("W&B has no account here, and a dashboard is kept there: log in with `wandb login`")
    return address


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dda.tracking.dashboard", description="Save a W&B dashboard of a project."
    )
    parser.add_argument("project", metavar="ENTITY/PROJECT", help="a user or team, and the project: somebody/dda")
    entity, _, project = parser.parse_args().project.partition("/")
    if not entity or not project or "/" in project:
        parser.error("give ENTITY/PROJECT, for example somebody/dda")
    with exit_on_user_error():
        print(save(entity, project))


if __name__ == "__main__":
    main()
