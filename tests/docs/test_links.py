"""Links, paths, commands and keys in the documentation exist."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from dda.config.choices import CONF, all_options
from tests.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"`([^`\n]+)`")
OVERRIDE = re.compile(r"[+~]{0,2}([A-Za-z_][\w./@]*)=(.*)", re.DOTALL)
SCRIPTS = ("run_amplify.py", "run_eval.py", "run_train.py")
DOCUMENTED_FOLDERS = ("dda/", "conf/", "docs/", "tests/", "benchmarks/")
PLACEHOLDERS = re.compile(r"[<>*{}]|NAME")


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


every_page = pytest.mark.parametrize("page", PAGES, ids=page_id)


def prose(page: Path) -> str:
    """Text of a page without its code blocks."""
    return CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_relative_links_and_images_resolve(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page_id(page)}: {target}"
        if anchor:
            assert anchor in anchors(file), f"{page_id(page)}: {target}"


def commands(page: Path) -> Iterator[list[str]]:
    """Command lines in the code blocks of a page, as lists of words."""
    for language, block in CODE_BLOCK.findall(page.read_text(encoding="utf-8")):
        if language not in ("", "bash", "sh", "console"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            try:
                yield shlex.split(line, comments=True)
            except ValueError:  # an apostrophe in a message of the program
                continue


def known_keys() -> set[str]:
    groups = {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    keys = {key for key, _ in all_options()} | groups
    parents = {key[: match.start()] for key in keys for match in re.finditer(r"\.", key)}
    return keys | parents


def is_known(key: str, known: set[str]) -> bool:
    return key in known or key.startswith(("hydra.", "hydra/", "style_set.styles."))


@every_page
def test_keys_of_commands_exist(page: Path) -> None:
    known = known_keys()
    for words in commands(page):
        if not any(Path(word).name in SCRIPTS for word in words):
            continue
        for word in words:
            if match := OVERRIDE.fullmatch(word):
                assert is_known(match[1], known), f"{page_id(page)}: {match[1]} in {' '.join(words)}"


@every_page
def test_choices_of_commands_exist(page: Path) -> None:
    groups = {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    for words in commands(page):
        if not any(Path(word).name in SCRIPTS for word in words):
            continue
        for word in words:
            if (match := OVERRIDE.fullmatch(word)) and match[1] in groups:
                for choice in match[2].split(","):
                    assert (CONF / match[1] / f"{choice}.yaml").is_file(), f"{page_id(page)}: {word}"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in ("CHANGELOG.md", "RESULTS.md")], ids=page_id
)
def test_dotted_keys_in_the_text_exist(page: Path) -> None:
    """Keys such as `model.steps=4` or `strength.makeup` in the text; a changelog names old ones."""
    known = known_keys()
    groups = {key.partition(".")[0] for key in known if "." in key}
    for code in INLINE_CODE.findall(prose(page)):
        key = re.fullmatch(r"([a-z_]+(?:\.[a-z_]+)+)(?:=\S*)?", code)
        if key and key[1].partition(".")[0] in groups:
            assert is_known(key[1], known), f"{page_id(page)}: {code}"


@every_page
def test_modules_that_are_run_exist(page: Path) -> None:
    for module in re.findall(r"-m (dda[\w.]*\w)", page.read_text(encoding="utf-8")):
        if page.name == "CHANGELOG.md" and module == "dda.training.author":  # its old name
            continue
        spec = importlib.util.find_spec(module)
        assert spec is not None, f"{page_id(page)}: {module}"
        if spec.submodule_search_locations:
            assert importlib.util.find_spec(f"{module}.__main__") is not None, f"{page_id(page)}: {module}"


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "training.md"], ids=page_id)
def test_paths_in_backticks_exist(page: Path) -> None:
    for code in INLINE_CODE.findall(prose(page)):
        if code.startswith(DOCUMENTED_FOLDERS) and not PLACEHOLDERS.search(code):
            assert (ROOT / code).exists(), f"{page_id(page)}: {code}"


def test_every_folder_is_on_the_map() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for folder in (ROOT / "dda").iterdir():
        if folder.name == "assets" or list(folder.glob("*.py")):
            assert f"`dda/{folder.name}/`" in text, folder.name


def test_every_make_task_of_the_documentation_exists() -> None:
    tasks = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        used = [words[1] for words in commands(page) if len(words) > 1 and words[0] == "make"]
        used += re.findall(r"`make ([a-z]+)", prose(page))
        assert set(used) <= tasks, f"{page_id(page)}: {set(used) - tasks}"
