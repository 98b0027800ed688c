import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("wandb_workspaces", reason="needs the extra dashboard")

from dda import dashboard as module
from dda.dashboard import dashboard, main

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
