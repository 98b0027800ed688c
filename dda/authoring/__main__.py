"""Author seed pairs: ``python -m dda.authoring PORTRAITS_DIR OUT_DIR``.

Finds the largest face of each portrait, cuts its FFHQ crop, paints recipes onto it, those of the package or your own,
and writes ``OUT_DIR/<recipe>/{source,target}/<portrait>.png``, the folders that training reads.
"""

import argparse
from pathlib import Path

from rich.progress import track

from dda.authoring.seed_pair_author import SeedPairAuthor, find_portraits, load_recipes
from dda.console import CONSOLE, exit_on_user_error, print_line
from dda.errors import OptionError, SourceError, UserError


def main(arguments: list[str] | None = None) -> None:
    """Run the command; an error of the user ends it with one line."""
    parser = argparse.ArgumentParser(prog="python -m dda.authoring", description=__doc__)
    parser.add_argument("portraits", type=Path, metavar="PORTRAITS_DIR")
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument(
        "--recipe", nargs="+", type=Path, default=[], metavar="FILE", help="recipes to paint (default: the package's)"
    )
    parser.add_argument(
        "--lipstick",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the sources that wear a lipstick of a random color, which the looks remove (default: 0)",
    )
    parser.add_argument("--exclude", nargs="+", default=[], metavar="NAME", help="stems of portraits to leave out")
    options = parser.parse_args(arguments)
    with exit_on_user_error():
        _run(options)


def _run(options: argparse.Namespace) -> None:
    try:
        recipes = load_recipes(options.recipe)
        author = SeedPairAuthor(recipes, options.out, options.lipstick)
        portraits = find_portraits(options.portraits, set(options.exclude))
    except OptionError as error:
        raise UserError(f"--{error.option} {error.value}: {error.reason}") from error
    rejected: dict[str, str] = {}
    for portrait in track(portraits, "Painting", console=CONSOLE):
        try:
            author.author(portrait)
        except SourceError as error:
            rejected[portrait.name] = error.reason
    for name, reason in rejected.items():
        print_line(f"{name}: {reason}")
    if len(rejected) == len(portraits):
        raise UserError(f"{options.portraits}: none of {len(portraits)} portraits could be used")
    print_line(f"{len(portraits) - len(rejected)} portraits in {len(recipes)} styles: {options.out}")


if __name__ == "__main__":
    main()
