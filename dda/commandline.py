"""The command line: values taken as typed, and every mistake of the user's answered in one line.

An entry point is `launch(hydra.main(...)(job(function)))`.
"""

import functools
import io
import os
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from dda.config.check import check
from dda.config.run_folder import STATE_NAME, last_written
from dda.config.schema import PATHS
from dda.config.store import register_configs
from dda.machine.memory import keep_freed_memory
from dda.mistakes import UserError, explain, first_line
from dda.pairs.writer import DATA_FOLDER
from dda.sweep.jobs import FAILURE
from dda.sweep.summary import SweepSummary

GROUPS = frozenset(
    ("batch", "model", "trainer", "style_set", "dataset", "parser", "engine", "launch", "logger", "paths", "experiment")
)
TEXTS = PATHS | {"run_name", "logger.project", "logger.entity", "model.prompt", "model.bare_prompt"}

_OVERRIDE = re.compile(r"([+~]{0,2}[A-Za-z_][\w./@:-]*)=(.*)", re.DOTALL)
_REFUSED = object()
_FUNCTION = re.compile(r"\w+\(.*\)", re.DOTALL)


def launch(main: Callable[[], None]) -> None:
    """Run a `hydra.main` function; what ends it early is told in one line.

    Raises:
        SystemExit: with the line, for a mistake of the user's or a failed job of a sweep; with 130 after ctrl-C.
    """
    # Threads that wait for work must not spin on the cores that decode and write.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()
    # With it Hydra hands its exceptions on, instead of printing them over many lines.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        sys.argv[1:] = quote_argv(sys.argv[1:])
        _check_flags(sys.argv[1:])
        register_configs()
        main()
    except KeyboardInterrupt as stop:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # once more ends it at once
        _tell("; ".join(("stopped by ctrl-C", *stop.args)))
        raise SystemExit(130) from None
    except Exception as error:
        _summarize_sweep()
        line = explain(error)
        if line is None:
            raise
        raise SystemExit(f"dda: {line}") from None


def job(function: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """Check the configuration, then call `function`.

    A start that came to nothing (a mistake, a dry run) takes its own Hydra files away again, so a run folder
    is left as it was and a folder made for nothing is gone. A failed job of a sweep tells why when it ends, since
    Hydra goes on with the other jobs; where it made nothing, the record of its start stays as the only trace.
    """

    @functools.wraps(function)
    def checked(cfg: DictConfig) -> None:
        try:
            check(cfg)
            function(cfg)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(*_kept()) from None
        except Exception as error:
            if _in_sweep():
                raise _failed(error) from error
            if line := explain(error):  # Hydra would add a line of its own
                raise SystemExit(f"dda: {line}") from None
            raise
        finally:
            _forget_idle_start()

    return checked


def _summarize_sweep() -> None:
    """Summarise a sweep that a failed job has ended; what stands against it must not hide why the job failed."""
    try:
        SweepSummary.close()
    except OSError as error:
        _tell(f"the sweep could not be summarised: {explain(error) or error}")


def _tell(line: str) -> None:
    print(f"dda: {line}", file=sys.stderr)


def _in_sweep() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _start() -> tuple[Path, Path]:
    """The folder of the job that Hydra started, and in it Hydra's record of this start."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    return folder, folder / str(hydra.output_subdir)


def _failed(error: Exception) -> UserError:
    """Tell why a job of a sweep failed and put it on record; returns what Hydra raises when all jobs have ended."""
    folder, start = _start()
    reason = explain(error)
    if reason is None:
        traceback.print_exception(error)
        reason = f"{type(error).__name__}: {first_line(error)}"
    _tell(f"job {folder.name}: {reason}")
    with suppress(OSError):  # on a full disk the record stays empty, which says as much
        (start / FAILURE).write_text(reason, encoding="utf-8")
    return UserError(f"job {folder.name} failed: {reason}")


def _kept() -> list[str]:
    """What to tell of a job that was stopped after it finished something that the next start need not do again."""
    if not HydraConfig.initialized():
        return []
    folder, _ = _start()
    finished = any((folder / name).exists() for name in (DATA_FOLDER, STATE_NAME))
    return [f"what was finished is in {os.path.relpath(folder)}"] if finished else []


def _forget_idle_start() -> None:
    if not HydraConfig.initialized():
        return
    folder, start = _start()
    record = start / "config.yaml"
    written = last_written(folder)
    only_trace = not written and (start / FAILURE).exists()
    if not record.is_file() or written >= record.stat().st_mtime_ns or only_trace:
        return
    shutil.rmtree(start)
    with suppress(OSError):  # not empty: another start's record, or its pairs
        start.parent.rmdir()
        folder.rmdir()


def _check_flags(arguments: Sequence[str]) -> None:
    """Refuse options that Hydra does not know, which it would answer with its usage."""
    refusal = io.StringIO()
    try:
        with redirect_stderr(refusal):
            flags, unknown = get_args_parser().parse_known_args(arguments)
    except SystemExit as stop:
        if stop.code:
            raise UserError(
                f"{refusal.getvalue().rpartition('error: ')[2].strip()}; --hydra-help lists all options"
            ) from None
        raise
    if unknown:
        name = unknown[0].lstrip("-").partition("=")[0].replace("-", "_")
        raise UserError(
            f"{unknown[0]}: there is no such option; a setting has no dashes, {name}=VALUE; "
            "--help lists all settings, --hydra-help all options"
        )
    if flags.help or flags.hydra_help or flags.cfg or flags.info or flags.shell_completion:
        _end_with_reader()


def _end_with_reader() -> None:
    """What only prints ends quietly when its reader does (`--help | head`)."""
    if hasattr(signal, "SIGPIPE"):  # not on Windows
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


# --- Values as typed --------------------------------------------------------------------------------------


def quote_argv(arguments: Sequence[str]) -> list[str]:
    """The arguments, with quotes around the values that Hydra's grammar would refuse or read otherwise.

    Paths and names are taken letter by letter (`dataset.root=/home/사진 (1)`, `run_name=007`), but for `~/`,
    the home folder. Values already in quotes, `null`, interpolations, lists and, with `-m`, sweeps (`a,b`,
    `glob(*)`, `range(4)`) keep their meaning; with `-m` a path with a comma is one value where it exists.
    `-m` itself comes first, since Hydra takes no setting on both sides of it.
    """
    flags = [argument for argument in arguments if argument in ("-m", "--multirun")]
    settings = [argument for argument in arguments if argument not in flags]
    return flags + [_quote_argument(argument, bool(flags)) for argument in settings]


def _quote_argument(argument: str, sweeping: bool) -> str:
    override = _OVERRIDE.fullmatch(argument)
    if override is None:
        return argument
    key, value = override.groups()
    name = key.lstrip("+~")
    if sweeping and _FUNCTION.fullmatch(value) and _parses(value):
        return argument
    quote = _quoting(name)
    if sweeping and "," in value and not _is_one_value(name, value):
        return f"{key}={','.join(quote(piece) for piece in value.split(','))}"
    return f"{key}={quote(value)}"


def _quoting(name: str) -> Callable[[str], str]:
    if name in PATHS:
        return _quote_path
    if name in TEXTS:
        return _quote_text
    if name == "experiment":
        return _quote_option
    return _quote_choice if name in GROUPS else _quote_refused


def _is_one_value(name: str, value: str) -> bool:
    """Whether a value with a comma is one value, or one that Hydra splits by itself: not to be split here."""
    if name in TEXTS:
        return _is_quoted(value) or (name in PATHS and os.path.exists(value))
    return value.startswith("[") or (name not in GROUPS and _parses(value))


def _quote_path(value: str) -> str:
    return _quote_text(str(Path(value).expanduser()) if value.startswith("~/") else value)


def _quote_text(value: str) -> str:
    return value if value in ("", "null") or _is_quoted(value) else quoted(value)


def _quote_option(value: str) -> str:
    """Hydra stumbles over a group's option that reads as a number (`batch=16`)."""
    return quoted(value) if isinstance(_parse(value), bool | int | float) else _quote_refused(value)


def _quote_choice(value: str) -> str:
    """And over none (`logger=null`) for a group that, unlike `experiment`, may not be left out."""
    return quoted(value) if _parse(value) is None else _quote_option(value)


def _quote_refused(value: str) -> str:
    if _parses(value):
        return value
    if value.startswith("[") and value.endswith("]"):
        return f"[{','.join(_quote_refused(piece.strip()) for piece in value[1:-1].split(','))}]"
    if value.startswith("{") and value.endswith("}"):
        items = (piece.partition(":") for piece in value[1:-1].split(","))
        return f"{{{','.join(f'{key.strip()}:{_quote_refused(item.strip())}' for key, _, item in items)}}}"
    return quoted(value)


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" and _parses(value)


def quoted(value: str) -> str:
    """In single quotes, where Hydra asks for backslashes to be doubled only before a quote."""
    doubled = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"'{doubled}'"


def _parses(value: str) -> bool:
    return _parse(value) is not _REFUSED


def _parse(value: str) -> Any:
    """What Hydra reads, `_REFUSED` where its grammar has no reading."""
    try:
        return OverridesParser.create().parse_override(f"key={value}").value()
    except HydraException:
        return _REFUSED
