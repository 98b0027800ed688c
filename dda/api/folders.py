"""Folders of pairs, as users name them."""

from pathlib import Path

from dda.errors import OptionError, UserError
from dda.pairs.folder import PairFiles, find_pairs, find_run_pairs
from dda.pairs.run_files import DATA_FOLDER, MANIFEST


def find_folder_pairs(folder: Path, oracle: Path | None = None) -> list[PairFiles]:
    """Return the pairs of a run, of the jobs of a multirun, or of a plain folder with ``source/`` and ``target/``.

    Args:
        folder: the folder of a run, or any folder of pairs.
        oracle: a folder of true targets, see :func:`dda.pairs.folder.find_pairs`.

    Raises:
        OptionError: the folder is missing, or has no pairs.
    """
    if not folder.is_dir():
        raise OptionError("folder", "there is no such folder", folder)
    is_run = (folder / MANIFEST).is_file() or any(folder.glob(f"*/{MANIFEST}"))
    try:
        if is_run:
            return find_run_pairs(folder, oracle)
        data = folder / DATA_FOLDER
        return find_pairs(data if (data / "source").is_dir() else folder, oracle)
    except OptionError:
        raise
    except UserError as error:
        raise OptionError("folder", str(error), folder) from error
