"""`run_amplify.py model=sd15` whole, on a Stable Diffusion of random weights."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

RunHere = Callable[..., None]

STYLES = 5


@pytest.fixture
def paper(tiny_sd: Path, photos: Path, tmp_path: Path) -> list[str]:
    """The paper's job on a tiny base, two faces a batch."""
    return [
        "experiment=ffhq_4000", f"model.pretrained={tiny_sd}", "parser=mesh", "batch_size=2", "model.steps=1",
        "dataset=folder", f"dataset.root={photos}", "style_assignment=all", f"paths.outputs={tmp_path}", "device=cpu",
    ]  # fmt: skip


def test_the_papers_job_runs_whole_resumes_and_extends(paper: list[str], tmp_path: Path, run_here: RunHere) -> None:
    run_here("run_amplify.py", *paper, "run_name=short", "num_pairs=3")
    run_here("run_amplify.py", *paper, "run_name=short", "num_pairs=7")
    run_here("run_amplify.py", *paper, "run_name=whole", "num_pairs=7")
    short, whole = (tmp_path / "amplify" / name for name in ("short", "whole"))
    rows = pq.read_table(whole / "manifest.parquet").to_pylist()
    assert len(rows) == 7 and max(Counter(row["style"] for row in rows).values()) == 2
    assert {row["background_pixels"] for row in rows} == {0}
    assert min(row["makeup_change"] for row in rows) > 0
    for row in rows:
        for side in ("source", "target"):
            assert (short / row[side]).read_bytes() == (whole / row[side]).read_bytes()
    assert (whole / "amplified_data" / "samples_visualization.png").is_file()


def test_without_the_base_there_is_one_line_with_a_way_to_start_now(paper: list[str], run_here: RunHere) -> None:
    with pytest.raises(SystemExit) as caught:
        run_here("run_amplify.py", *paper, "model.pretrained=no-one/no-such-base")
    line = str(caught.value.code)
    assert line.startswith("dda: model.pretrained=no-one/no-such-base: ") and "\n" not in line
    assert "hf download" in line and "model=compact" in line


def test_what_parser_and_base_lack_is_said_at_once(paper: list[str], tmp_path: Path, run_here: RunHere) -> None:
    (tmp_path / "no.pt").write_text("no network")
    parser = ["parser=farl", f"parser.weights={tmp_path}/no.pt", f"parser.detector_weights={tmp_path}/no.pt"]
    settings = [setting for setting in paper if setting != "parser=mesh"]
    with pytest.raises(SystemExit) as caught:
        run_here("run_amplify.py", *settings, *parser, "model.pretrained=no-one/no-such-base")
    line = str(caught.value.code)
    assert "no.pt" in line and "; and model.pretrained=no-one/no-such-base: " in line and "\n" not in line


def test_the_papers_job_can_be_planned_without_the_base(
    paper: list[str], run_here: RunHere, capsys: pytest.CaptureFixture[str]
) -> None:
    run_here("run_amplify.py", *paper, "model.pretrained=no-one/no-such-base", "dry_run=true", "num_pairs=4000")
    assert "Korean makeup" in capsys.readouterr().out


def test_a_resume_with_another_number_of_steps_is_refused(paper: list[str], run_here: RunHere) -> None:
    run_here("run_amplify.py", *paper, "run_name=run", "num_pairs=1")
    with pytest.raises(SystemExit, match=r"model\.steps: is 2 now"):
        run_here("run_amplify.py", *paper, "run_name=run", "num_pairs=1", "model.steps=2")
