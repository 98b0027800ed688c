import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from dda.cli.arguments import quote_argv
from tests.config.test_conf import CONF

ROOT = CONF.parent

# A job that writes down what it was given: the entry points without a model.
ENTRY = f"""
import json, sys
from dataclasses import asdict
import hydra
from dda.cli.entry_point import job, launch
from dda.config.run_folder import resolve_run
from dda.config.schema import AmplifyConfig

@hydra.main(version_base="1.3", config_path={str(CONF)!r}, config_name="amplify")
@job
def main(cfg: AmplifyConfig):
    if cfg.dry_run:
        return
    run = resolve_run(cfg, "amplify")
    journal = run.folder / f"journal-{{cfg.shard.index}}of{{cfg.shard.count}}.jsonl"
    given = {{"run": run.name, "cfg": asdict(cfg)}}
    journal.write_text(json.dumps(given, ensure_ascii=False), encoding="utf-8")

launch(main)
"""


def start(*arguments: str, cwd: Path, script: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *([str(ROOT / script)] if script else ["-c", ENTRY]), *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, encoding="utf-8", timeout=120)


def run(*arguments: str, cwd: Path) -> dict[str, Any]:
    """Start the entry; what each job was given, by its folder under outputs/amplify."""
    ended = start(*arguments, cwd=cwd)
    assert ended.returncode == 0, ended.stderr
    runs = cwd / "outputs" / "amplify"
    return {
        journal.parent.relative_to(runs).as_posix(): json.loads(journal.read_text(encoding="utf-8"))
        for journal in sorted(runs.rglob("journal-*.jsonl"))
    }


# --- Quoting, read back by Hydra's own parser -----------------------------------------------------------

NAMES = [
    "/home/사진 (1)",
    "/data/[a]",
    "[a]",
    "{a: 1}",
    "a,b",
    "a=b",
    "007",
    "1e3",
    "true",
    "nan",
    "it's",
    "'a'b'",
    'a "b" c',
    r"C:\Users\사진",
    "C:\\dir\\",
    r"a\'b",
    " spaces ",
    "#5 & co; 100% @home!",
    "glob(*)",
    "foo(1)",
    "a:b",
    "é\u0301 😀",
    "~user",
]


def read_back(override: str) -> Any:
    return OverridesParser.create().parse_override(override).value()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", ["dataset.root", "run_name", "+data.root"])
def test_a_path_or_a_name_arrives_as_typed(key: str, name: str) -> None:
    (argument,) = quote_argv([f"{key}={name}"])
    assert read_back(argument) == name


def test_any_string_arrives_as_typed() -> None:
    letters = random.Random(0)
    for _ in range(300):
        name = "".join(letters.choices("a1'\"\\ ,=[](){}$:#가~*", k=letters.randint(1, 8)))
        if "${" in name or name[0] == name[-1] in ("'", '"'):
            continue  # an interpolation, or quoted by the user
        if not name.startswith("~/"):
            (argument,) = quote_argv([f"dataset.root={name}"])
            assert read_back(argument) == name


def test_the_home_folder_is_known() -> None:
    (argument,) = quote_argv(["dataset.root=~/사진"])
    assert read_back(argument) == str(Path.home() / "사진")


@pytest.mark.parametrize(
    "argument",
    [
        "--help",
        "-m",
        "dry_run=true",
        "batch_size=16",
        "num_pairs=null",
        "dataset.root=null",
        "dataset.root='a b'",
        'dataset.root="a b"',
        "dataset.root=",
        "style_set=natural",
        "style_set=natural,red_lip",
        "experiment=[mix,sheer]",
        "experiment=null",
        "tags=[a,b]",
        "~seed",
        "hydra/launcher=basic",
        "nonsense",
        "사진=1",
    ],
)
def test_what_hydra_understands_is_left_alone(argument: str) -> None:
    assert quote_argv([argument]) == [argument]


@pytest.mark.parametrize(
    "argument",
    [
        "style_set=natural,red_lip",
        "style_set=glob(*,exclude=[all,checkpoint])",
        "shard.index=range(4)",
        "seed=choice(1,2)",
        "experiment=null,sheer",
        "dataset.root='a','b'",
        "tags=[a,b],[c]",
    ],
)
def test_a_sweep_keeps_sweeping(argument: str) -> None:
    assert quote_argv(["-m", argument]) == ["-m", argument]


def test_lists_and_refused_values_are_quoted_piece_by_piece() -> None:
    assert quote_argv(["tags=[사진 1, b]"]) == ["tags=['사진 1',b]"]
    (mapping,) = quote_argv(["model.style_images={Red lip: /사진 (1).png, b: c}"])
    assert read_back(mapping) == {"Red lip": "/사진 (1).png", "b": "c"}
    assert quote_argv(["batch=16"]) == ["batch='16'"]
    assert quote_argv(["-m", "batch=8,large"]) == ["-m", "batch='8',large"]
    assert quote_argv(["-m", "dataset.root=/사진 (1),/사진 (2)"])[1] == "dataset.root='/사진 (1)','/사진 (2)'"


def test_a_path_with_a_comma_that_exists_is_not_swept(tmp_path: Path) -> None:
    folder = tmp_path / "a,b"
    assert quote_argv(["-m", f"dataset.root={folder}"])[1] == f"dataset.root='{tmp_path}/a','b'"
    folder.mkdir()
    assert quote_argv(["-m", f"dataset.root={folder}"])[1] == f"dataset.root='{folder}'"


# --- Whole starts ---------------------------------------------------------------------------------------


def test_a_korean_path_with_brackets_arrives_through_the_shell(tmp_path: Path) -> None:
    photos = tmp_path / "사진 (1), [좋은] = 것"
    given = run("dataset=folder", f"dataset.root={photos}", "run_name=밤 1", "tags=[첫 번째,b]", cwd=tmp_path)
    assert given["밤 1"]["run"] == "밤 1"
    assert given["밤 1"]["cfg"]["dataset"]["root"] == str(photos)
    assert given["밤 1"]["cfg"]["tags"] == ["첫 번째", "b"]


def test_a_second_start_keeps_the_first_ones_record_and_latest_finds_it(tmp_path: Path) -> None:
    (name,) = run(cwd=tmp_path)
    given = run("run_name=latest", "num_pairs=40", cwd=tmp_path)
    assert list(given) == [name]
    assert given[name]["run"] == name
    starts = sorted((tmp_path / "outputs/amplify" / name / ".hydra").iterdir())
    overrides = [(start / "overrides.yaml").read_text() for start in starts]
    assert ["num_pairs=40" in text for text in overrides] == [False, True]


def test_jobs_of_a_sweep_lie_side_by_side_under_one_run(tmp_path: Path) -> None:
    given = run("-m", "style_set=natural,red_lip", cwd=tmp_path)
    (name,) = {job["run"] for job in given.values()}
    assert sorted(given) == [f"{name}/0_natural", f"{name}/1_red_lip"]
    assert {job["cfg"]["run_name"] for job in given.values()} == {name}
    again = run("-m", "style_set=natural,red_lip", "run_name=latest", cwd=tmp_path)
    assert sorted(again) == sorted(given)


def test_shards_of_a_sweep_share_a_folder(tmp_path: Path) -> None:
    run("-m", "shard.index=range(3)", "shard.count=3", "run_name=r", cwd=tmp_path)
    folder = tmp_path / "outputs/amplify/r/all"
    assert sorted(path.name for path in folder.glob("*.jsonl")) == [f"journal-{i}of3.jsonl" for i in range(3)]
    assert len(list((folder / ".hydra").iterdir())) == 3


def test_every_named_style_by_glob(tmp_path: Path) -> None:
    given = run("-m", "style_set=glob(*,exclude=[all,checkpoint])", "run_name=r", cwd=tmp_path)
    styles = {job["cfg"]["style_set"]["name"] for job in given.values()}
    assert styles == {"natural", "glamorous", "smokey_eyes", "red_lip", "korean"}


def tree(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        (
            "run_amplify.py",
            ["style_set=nope"],
            "style_set=nope: there is no such style_set; allowed: all, che",
        ),
        ("run_amplify.py", ["-m", "style_set=natural,nope"], "style_set=nope: there is no such style_set"),
        ("run_amplify.py", ["style_set=natural,red_lip"], "add -m to run each in turn"),
        ("run_amplify.py", ["batch=16"], "batch=16: there is no such batch; allowed: default, large"),
        ("run_amplify.py", ["logger=null"], "logger=null: there is no such logger; allowed: none, wandb"),
        (
            "run_amplify.py",
            ["batch_sise=3"],
            "batch_sise: there is no such setting; did you mean batch_size?",
        ),
        ("run_amplify.py", ["dataset.rot=x"], "did you mean dataset.root? allowed: name, root, align"),
        ("run_amplify.py", ["+speed=3"], "speed: there is no such setting"),
        ("run_amplify.py", ["batch_size=many"], "batch_size=many: must be a whole number"),
        ("run_amplify.py", ["num_pairs=1.5"], "num_pairs=1.5: must be a whole number or null"),
        ("run_amplify.py", ["tags=3"], "tags=3: must be a list such as [a,b]"),
        ("run_amplify.py", ["strength=3"], "must be set part by part: strength.makeup, "),
        ("run_amplify.py", ["batch_size=0"], "batch_size=0: must be between 1 and 1024"),
        ("run_amplify.py", ["run_name=latest"], "run_name=latest: there is no run in outputs/amplify yet"),
        ("run_amplify.py", ["run_name=a/b"], "run_name=a/b: must be the name of one folder"),
        ("run_amplify.py", ["run_name=${nothing}"], "Interpolation key 'nothing' not found"),
        ("run_amplify.py", ["nonsense"], "nonsense: not understood; write KEY=VALUE"),
        ("run_amplify.py", ["사진=1"], "사진=1: not understood; write KEY=VALUE"),
        (
            "run_amplify.py",
            ["--batch-size", "16"],
            "--batch-size: there is no such option; a setting has no dashes, batch_",
        ),
        ("run_amplify.py", ["--cfg", "everything"], "invalid choice: 'everything' (choose from "),
        ("run_train.py", [], "data.root: must be given"),
        ("run_train.py", ["data.root=없는 곳"], "data.root=없는 곳: must be a folder that exists"),
        ("run_train.py", ["data.root=x", "train.updates=a"], "train.updates=a: must be a whole number"),
    ],
)
def test_a_mistake_gets_one_line(script: str, arguments: list[str], said: str, tmp_path: Path) -> None:
    ended = start(*arguments, cwd=tmp_path, script=script)
    assert ended.returncode == 1
    assert ended.stderr.startswith("dda: ")
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not ended.stdout
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "multirun.yaml"]


@pytest.mark.parametrize("argument", ["batch_size=0", "dry_run=true"])
def test_a_start_that_came_to_nothing_leaves_the_run_as_it_was(argument: str, tmp_path: Path) -> None:
    run("run_name=r", cwd=tmp_path)
    folder = tmp_path / "outputs" / "amplify" / "r"
    before = tree(folder)
    del before[".hydra"]  # touched, not changed
    ended = start("run_name=r", argument, cwd=tmp_path)
    assert (ended.returncode == 0) == (argument == "dry_run=true"), ended.stderr
    after = tree(folder)
    del after[".hydra"]
    assert after == before
    start("run_name=new", argument, cwd=tmp_path)
    assert not (tmp_path / "outputs" / "amplify" / "new").exists()


def start_changed(change: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Start the entry with other code before it writes its journal."""
    script = ENTRY.replace(
        '    run = resolve_run(cfg, "amplify")\n', f'    run = resolve_run(cfg, "amplify")\n{change}\n'
    )
    assert script != ENTRY
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, encoding="utf-8", timeout=120)


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    ended = start_changed("    1 / 0", cwd=tmp_path)
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert "ZeroDivisionError" in ended.stderr


def test_a_bug_in_one_job_of_a_sweep_does_not_keep_the_others_from_running(tmp_path: Path) -> None:
    ended = start_changed("    1 / cfg.seed", "-m", "seed=0,1", "run_name=r", cwd=tmp_path)
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert "dda: job 0_all: ZeroDivisionError: division by zero\n" in ended.stderr
    assert ended.stderr.endswith("dda: job 0_all failed: ZeroDivisionError: division by zero\n")
    folder = tmp_path / "outputs" / "amplify" / "r"
    assert [file.parent.name for file in folder.glob("*/journal-*.jsonl")] == ["1_all"]
    (record,) = folder.glob("0_all/.hydra/*/failure.txt")
    assert record.read_text() == "ZeroDivisionError: division by zero"


CTRL_C = "    import os, signal; os.kill(os.getpid(), signal.SIGINT)"


def test_ctrl_c_leaves_one_line(tmp_path: Path) -> None:
    ended = start_changed(CTRL_C, "run_name=r", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (130, "dda: stopped by ctrl-C\n")
    assert not list(tmp_path.rglob("r"))


def test_ctrl_c_tells_where_finished_work_is(tmp_path: Path) -> None:
    write = "    (run.folder / 'amplified_data').mkdir()\n    (run.folder / 'journal-0of1.jsonl').touch()\n"
    ended = start_changed(write + CTRL_C, "-m", "seed=0,1", "run_name=r", cwd=tmp_path)
    folder = Path("outputs/amplify/r")
    told = f"dda: stopped by ctrl-C; what was finished is in {folder / '0_all'}\n"
    assert (ended.returncode, ended.stderr) == (130, told)
    assert not (tmp_path / folder / "1_all").exists()


def test_ctrl_c_does_not_speak_of_finished_work_where_there_is_none(tmp_path: Path) -> None:
    """A run that was begun and stopped before its first pair."""
    write = "    (run.folder / 'journal-0of1.jsonl').touch()\n"
    ended = start_changed(write + CTRL_C, "run_name=r", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (130, "dda: stopped by ctrl-C\n")


def test_help_names_the_groups(tmp_path: Path) -> None:
    for script, word in (
        ("run_amplify.py", "style_set: all, checkpoint"),
        ("run_train.py", "data.root=PAIRS"),
    ):
        ended = start("--help", cwd=tmp_path, script=script)
        assert ended.returncode == 0, ended.stderr
        assert word in ended.stdout


def test_help_ends_with_its_reader(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, str(ROOT / "run_amplify.py"), "--help"]
    ended = subprocess.run(command, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, encoding="utf-8", timeout=120)
    os.close(write)
    assert ended.stderr == ""


def test_the_shell_completes_groups_and_keys() -> None:
    installed = start("-sc", "install=bash", cwd=ROOT, script="run_amplify.py").stdout
    asked = f"""
        {installed}
        COMP_LINE="python run_amplify.py $1" COMP_CWORD=2
        COMP_POINT=${{#COMP_LINE}}
        hydra_bash_completion
        echo "${{COMPREPLY[@]}}"
    """
    offered = []
    for typed in ("style_set=nat", "model.ste"):
        env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        command = ["bash", "-c", asked, "bash", typed]
        ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, encoding="utf-8", timeout=120)
        offered.append(ended.stdout.strip())
    assert offered == ["style_set=natural", "model.steps="]
