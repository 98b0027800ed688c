"""Put the shards of a run together: `python -m dda.merge outputs/amplify/RUN`.

The last shard to finish does it by itself; this is for a run whose last shard could not.
"""

import argparse
from pathlib import Path

from dda.console import exit_on_user_error
from dda.errors import UserError
from dda.pairs.journal import find_journals, read_journal
from dda.pairs.manifest import write_manifest
from dda.pairs.run_files import MANIFEST


def check_complete(run_dir: Path) -> None:
    """Check that every shard of a run has finished.

    Raises:
        UserError: a journal is missing, a shard has not reached its end, or the shards were asked for
            different numbers of pairs.
    """
    journals, count = find_journals(run_dir)
    if not journals:
        raise UserError(f"{run_dir}: no journal here: give the folder of a run, outputs/amplify/RUN")
    missing = [index for index in range(count) if index not in journals]
    if missing:
        run = "run it" if len(missing) == 1 else "run them"
        raise UserError(f"{run_dir}: no journal of {_shards(missing, count)}: {run} first")
    contents = {index: read_journal(file) for index, file in journals.items()}
    unfinished = [index for index, journal in contents.items() if not journal.finished]
    if unfinished:
        raise UserError(f"{run_dir}: {_shards(unfinished, count)} not finished: run them again")
    asked = {journal.num_pairs for journal in contents.values()}
    if len(asked) > 1:
        numbers = ", ".join(f"{index}: {journal.num_pairs}" for index, journal in contents.items())
        raise UserError(f"{run_dir}: shards finished with different num_pairs ({numbers}): run them with one")


def merge(run_dir: Path) -> Path:
    """Write the one manifest of a finished run and return its path.

    Raises:
        UserError: a shard is missing or not finished.
    """
    check_complete(run_dir)
    write_manifest(run_dir)
    return run_dir / MANIFEST


def _shards(indices: list[int], count: int) -> str:
    return f"shard {', '.join(map(str, indices))} of {count}"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m dda.merge", description="Write the one manifest of a run.")
    parser.add_argument("run", type=Path, help="folder of the run, outputs/amplify/RUN")
    with exit_on_user_error():
        print(merge(parser.parse_args().run))


if __name__ == "__main__":
    main()
