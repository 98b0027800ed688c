import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("wandb_workspaces", reason="needs the extra dashboard")


from dda.tracking import dashboard as module
from dda.tracking.dashboard import dashboard, main
from tests.tracking.test_run_logger import run
from tests.tracking.wandb_log import find_log, read_summary

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style:DeprecationWarning")  # its package's own


def spec() -> dict[str, Any]:
    """The dashboard as it would be sent."""
    return json.loads(dashboard("somebody", "dda")._to_model().model_dump_json(by_alias=True))


def test_each_kind_of_job_has_its_section() -> None:
    sent = spec()
    assert (sent["entity"], sent["project"], sent["displayName"]) == ("somebody", "dda", "DDA")
    sections = sent["spec"]["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == ["Amplification", "Evaluation", "Training"]
    assert all(section["isOpen"] and section["panels"] for section in sections)


def test_charts_are_over_what_the_job_counts() -> None:
    sections = spec()["spec"]["section"]["panelBankConfig"]["sections"]
    axes = {
        section["name"]: {p["config"]["xAxis"] for p in section["panels"] if "Line" in p["viewType"]}
        for section in sections
    }
    assert axes == {"Amplification": {"pairs_done"}, "Evaluation": set(), "Training": {"updates_done"}}


def shown(section: dict[str, Any]) -> set[str]:
    """What its panels show, by the keys under which runs log it."""
    configs = [panel["config"] for panel in section["panels"]]
    keys = {key for config in configs for key in (config.get("metrics") or []) + (config.get("mediaKeys") or [])}
    return {key.removeprefix("summary_metrics.") for key in keys}


# What only some machines and trainings have: a GPU, weights that are a download, a training without held-out pairs.
ELSEWHERE = {"memory/gpu_0_peak_gib", "lpips", "seed PSNR, dB"}


@pytest.mark.usefixtures("no_account")
def test_panels_show_what_runs_log(job: list[str], tiny_checkpoint: Path, pairs_root: Path, tmp_path: Path) -> None:
    where = [f"paths.outputs={tmp_path}", "device=cpu"]
    run("amplify", *job, *where, "run_name=run", "num_pairs=4", "logger.grid_every=1")
    run("eval", *where, "run=latest", "num_samples=4")
    run(
        "train", *where, f"data.root={pairs_root}", f"data.holdout={pairs_root}", f"train.init={tiny_checkpoint}",
        "train.updates=2", "train.batch_size=2", "train.morphs=0", "train.log_every=1", "run_name=run",
    )  # fmt: skip
    sections = spec()["spec"]["section"]["panelBankConfig"]["sections"]
    for task, section in zip(("amplify", "eval", "train"), sections, strict=True):
        logged = read_summary(find_log(tmp_path / task / "run"))["summary"]
        assert len(shown(section)) > 3 and shown(section) - logged.keys() <= ELSEWHERE


def test_without_an_account_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [module.__name__, "somebody/dda"])
    with pytest.raises(SystemExit, match=r"^dda: W&B has no account here.*wandb login`$"):
        main()


@pytest.mark.parametrize("project", ["dda", "somebody/", "/dda", "a/b/c"])
def test_entity_and_project_are_both_needed(project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [module.__name__, project])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
