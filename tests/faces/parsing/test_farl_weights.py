import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dda.errors import OptionError
from dda.faces.parsing.farl import FaRLParser
from dda.faces.parsing.farl_weights import (
    InvalidWeightsError,
    WeightsFile,
    check_state_file,
    check_torchscript,
    find_weights,
    locate_cached_file,
)

CPU = torch.device("cpu")


def find_one(url: str, given: str | None = None) -> Path:
    (file,) = find_weights(WeightsFile("weights", given, url, check_torchscript))
    return file


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch hub, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def make_damaged(tmp_path: Path, parser_files: dict[str, Path], detector_file: Path) -> Callable[[str], Path]:
    def make(kind: str) -> Path:
        file = tmp_path / f"{kind}.pt"
        whole = parser_files["lapa"].read_bytes()
        with zipfile.ZipFile(parser_files["lapa"]) as archive:
            weights = next(entry for entry in archive.infolist() if entry.filename.endswith("data/0"))
            middle = whole.index(archive.read(weights), weights.header_offset)
        contents = {
            "empty": b"",
            "text": b"Not Found",
            "cut short": whole[: len(whole) // 2],
            "flipped bit": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "state": detector_file.read_bytes(),
        }
        file.write_bytes(contents[kind])
        return file

    return make


@pytest.mark.parametrize("kind", ["empty", "text", "cut short", "flipped bit", "state"])
def test_an_incomplete_torchscript_file_is_rejected(kind: str, make_damaged: Callable[[str], Path]) -> None:
    with pytest.raises(InvalidWeightsError):
        check_torchscript(make_damaged(kind))


def test_complete_files_pass(parser_files: dict[str, Path], detector_file: Path) -> None:
    check_torchscript(parser_files["lapa"])
    state = torch.load(detector_file, weights_only=True)
    check_state_file(detector_file, {name.removeprefix("module."): value for name, value in state.items()})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state.pop("b"), "lacks b"),
        (lambda state: state.update(b=torch.zeros(3)), r"has b in the shape \(3,\) instead of \(2,\)"),
        (lambda state: state.update(b=torch.tensor([1.0, torch.nan])), "has values in b that are not finite"),
    ],
    ids=["missing", "wrong shape", "not finite"],
)
def test_a_state_that_does_not_fit_is_rejected(
    change: Callable[[dict[str, torch.Tensor]], object], reason: str, tmp_path: Path
) -> None:
    expected = {"a": torch.zeros(1), "b": torch.zeros(2), "bn.num_batches_tracked": torch.tensor(0)}
    state = {"a": torch.ones(1), "b": torch.ones(2)}
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "whole.pth")
    check_state_file(tmp_path / "whole.pth", expected)
    change(state)
    torch.save(state, tmp_path / "changed.pth")
    with pytest.raises(InvalidWeightsError, match=reason):
        check_state_file(tmp_path / "changed.pth", expected)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_state_file_is_not_run(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "trace"),)

    file = tmp_path / "detector.pth"
    for write in (lambda: torch.save(Malicious(), file), lambda: file.write_bytes(pickle.dumps(Malicious()))):
        write()
        with pytest.raises(InvalidWeightsError, match="cannot be read"):
            check_state_file(file, {"a": torch.zeros(1)})
    assert not (tmp_path / "trace").exists()


def test_a_download_is_cached(cache: Path, parser_files: dict[str, Path], tmp_path: Path) -> None:
    published = tmp_path / "published.pt"
    published.write_bytes(parser_files["lapa"].read_bytes())
    url = published.as_uri()
    for _ in range(2):  # the second time from the cache: the published file is deleted
        file = find_one(url)
        assert file == cache / "published.pt" and file.read_bytes() == parser_files["lapa"].read_bytes()
        published.unlink(missing_ok=True)
    assert list(cache.iterdir()) == [file]


def test_an_incomplete_download_is_not_cached(cache: Path, make_damaged: Callable[[str], Path]) -> None:
    published = make_damaged("cut short")
    with pytest.raises(OptionError, match="cut short"):
        find_one(published.as_uri())
    assert list(cache.iterdir()) == []


def test_a_damaged_file_in_the_cache_is_named(cache: Path, make_damaged: Callable[[str], Path]) -> None:
    published = make_damaged("flipped bit")
    cache.mkdir(parents=True)
    (cache / published.name).write_bytes(published.read_bytes())
    with pytest.raises(
        OptionError, match=r"^weights: .*checksum.*delete it if it exists.*give weights; or use the mesh parser$"
    ):
        find_one(published.as_uri())


def test_the_message_without_network_names_all_missing_files_and_the_remedy(cache: Path, detector_file: Path) -> None:
    with pytest.raises(
        OptionError, match=r"FaRL's weights are missing.*mesh parser, which needs no weights$"
    ) as caught:
        FaRLParser("lapa", None, None, CPU)
    message = str(caught.value)
    for word in ("mobilenet0.25_Final.pth", "farl.lapa", "detector_weights and weights", str(cache)):
        assert word in message
    assert message.count("https://github.com/") == 2 and "\n" not in message
    with pytest.raises(OptionError, match=r"save https://\S*celebm\S* in .* give weights;"):
        FaRLParser("celebm", None, str(detector_file), CPU)
    assert list(cache.iterdir()) == []


def test_cached_files_need_no_network(
    cache: Path,
    parser_files: dict[str, Path],
    detector_file: Path,
    lapa: FaRLParser,
    marked_portraits: list[np.ndarray],
) -> None:
    from facer.face_detection.retinaface import pretrained_urls
    from facer.face_parsing.farl import pretrain_settings

    cache.mkdir(parents=True)
    locate_cached_file(pretrained_urls["mobilenet"]).write_bytes(detector_file.read_bytes())
    locate_cached_file(pretrain_settings["lapa/448"]["url"][0]).write_bytes(parser_files["lapa"].read_bytes())
    faces, expected = (parser.detect(marked_portraits[0]) for parser in (FaRLParser("lapa", None, None, CPU), lapa))
    assert len(faces) == len(expected) > 0
    assert all(np.array_equal(one.key_points, two.key_points) for one, two in zip(faces, expected, strict=True))


def test_a_given_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"^weights=.*nothing\.pt: cannot be read: No such file"):
        find_one("https://example.org/a.pt", str(tmp_path / "nothing.pt"))
