"""Keys: where an option of the library stands in the configuration."""

from collections.abc import Iterator
from contextlib import contextmanager

from dda.errors import OptionError


@contextmanager
def keys_of(group: str, **renamed: str) -> Iterator[None]:
    """Name the options at fault in a ``with`` block by their keys: ``checkpoint`` is ``model.checkpoint`` there.

    Args:
        group: where the options stand: "model", "dataset"; "" for the root.
        renamed: options that have another name in that group: ``checkpoint="init"``.

    Raises:
        OptionError: the one of the block, with the whole key.
    """
    try:
        yield
    except OptionError as error:
        name = renamed.get(error.option, error.option)
        raise OptionError(f"{group}.{name}" if group else name, error.reason, error.value) from error
