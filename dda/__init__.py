"""DDA: amplify a handful of retouched pairs into thousands of (face, same face with makeup) pairs.

    >>> import dda
    >>> amplifier = dda.Amplifier.from_pretrained()
    >>> amplifier.styles[:2]
    ['Glamorous makeup', 'Korean makeup']

Names are imported when they are first used: `import dda` itself loads neither torch nor Hydra.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dda.api.amplifier import Amplifier as Amplifier
    from dda.api.dataset import PairDataset as PairDataset
    from dda.api.evaluation import Evaluation as Evaluation
    from dda.api.evaluation import evaluate as evaluate
    from dda.api.pair import Pair as Pair
    from dda.api.transform import AmplifyTransform as AmplifyTransform
    from dda.api.transform import collate_pairs as collate_pairs
    from dda.errors import OptionError as OptionError
    from dda.errors import SourceError as SourceError
    from dda.errors import UserError as UserError

__version__ = "0.1.0"

_MODULES = {
    "Amplifier": "dda.api.amplifier",
    "AmplifyTransform": "dda.api.transform",
    "Evaluation": "dda.api.evaluation",
    "OptionError": "dda.errors",
    "Pair": "dda.api.pair",
    "PairDataset": "dda.api.dataset",
    "SourceError": "dda.errors",
    "UserError": "dda.errors",
    "collate_pairs": "dda.api.transform",
    "evaluate": "dda.api.evaluation",
}

__all__ = [  # defined when first used
    "Amplifier",
    "AmplifyTransform",
    "Evaluation",
    "OptionError",
    "Pair",
    "PairDataset",
    "SourceError",
    "UserError",
    "__version__",
    "collate_pairs",
    "evaluate",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'dda' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
