"""The jobs of a sweep, side by side: `python -m dda.sweep outputs/amplify/RUN`.

A multirun of run_amplify.py ends with it; this makes it again, for a sweep that was stopped or went on later.
"""

import argparse
from pathlib import Path

from dda.console import exit_on_user_error
from dda.sweep.summary import summarize


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m dda.sweep", description="Summarize the jobs of a sweep.")
    parser.add_argument("sweep", type=Path, help="folder of the sweep, outputs/amplify/RUN")
    with exit_on_user_error():
        summarize(parser.parse_args().sweep)


if __name__ == "__main__":
    main()
