import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from dda.errors import UserError
from dda.pairs.run_files import SETTINGS
from dda.pairs.settings import check_settings, store_or_check_settings

BEGUN = {"seed": 0, "strength": {"makeup": 1.0, "eyes": 0.5}, "style": "은은한", "num": None, "sizes": (8, 8)}


def test_a_new_run_keeps_its_settings_as_json(tmp_path: Path) -> None:
    store_or_check_settings(tmp_path / "deep" / "run", BEGUN)
    text = (tmp_path / "deep" / "run" / SETTINGS).read_text(encoding="utf-8")
    assert json.loads(text) == BEGUN | {"sizes": [8, 8]}
    assert "은은한" in text  # a person can read it


def test_the_same_settings_in_another_order_are_the_same(tmp_path: Path) -> None:
    store_or_check_settings(tmp_path, BEGUN)
    before = (tmp_path / SETTINGS).stat()
    store_or_check_settings(tmp_path, dict(reversed(BEGUN.items())) | {"strength": {"eyes": 0.5, "makeup": 1.0}})
    after = (tmp_path / SETTINGS).stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 1}, "seed: is 1 now, but .* was begun with 0"),
        ({"strength": {"makeup": 1.0, "eyes": 0.6}}, r"strength\.eyes: is 0\.6 now, but .* begun with 0\.5"),
        ({"style": "짙은"}, 'style: is "짙은" now, but .* "은은한"'),
        ({"num": 4}, "num: is 4 now, but .* begun with null"),
        ({"added": True}, "added: is true now, but .* begun with null"),
    ],
)
def test_other_settings_are_refused_by_name_and_change_nothing(
    change: dict[str, object], says: str, tmp_path: Path, snapshot: Callable[[Path], dict[str, bytes | None]]
) -> None:
    store_or_check_settings(tmp_path, BEGUN)
    before = snapshot(tmp_path)
    for refuse in (store_or_check_settings, check_settings):
        with pytest.raises(UserError, match=says) as caught:
            refuse(tmp_path, BEGUN | change)
        assert "another run_name" in str(caught.value) and "\n" not in str(caught.value)
    assert snapshot(tmp_path) == before


def test_checking_a_run_that_is_not_begun_writes_nothing(tmp_path: Path) -> None:
    check_settings(tmp_path / "run", BEGUN)
    assert not list(tmp_path.iterdir())


def test_processes_that_begin_a_run_at_once_all_hold_it(tmp_path: Path) -> None:
    for trial in range(20):
        together = Barrier(8)

        def begin(run: Path, together: Barrier = together) -> None:
            together.wait()
            store_or_check_settings(run, BEGUN)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(begin, [tmp_path / str(trial)] * 8))
        assert [file.name for file in (tmp_path / str(trial)).glob("[!.]*")] == [SETTINGS]


def test_a_setting_that_is_gone_is_a_difference(tmp_path: Path) -> None:
    store_or_check_settings(tmp_path, BEGUN)
    with pytest.raises(UserError, match="seed: is null now"):
        store_or_check_settings(tmp_path, {key: value for key, value in BEGUN.items() if key != "seed"})


def test_a_run_and_a_sweep_do_not_share_a_folder(tmp_path: Path) -> None:
    """Either would hide the other from an evaluation."""
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "multirun.yaml").touch()
    with pytest.raises(UserError, match="run_name=sweep: is a sweep; go on with it by -m"):
        store_or_check_settings(tmp_path / "sweep", BEGUN)
    store_or_check_settings(tmp_path / "sweep" / "0_natural", BEGUN)
    store_or_check_settings(tmp_path / "run", BEGUN)
    with pytest.raises(UserError, match="run_name=run: is a single run; give the sweep another run_name"):
        store_or_check_settings(tmp_path / "run" / "0_natural", BEGUN)


def test_a_long_value_is_cut_in_the_message(tmp_path: Path) -> None:
    store_or_check_settings(tmp_path, {"styles": ["x" * 1000]})
    with pytest.raises(UserError) as caught:
        store_or_check_settings(tmp_path, {"styles": ["y" * 1000]})
    assert len(str(caught.value)) < 300 + len(str(tmp_path))
