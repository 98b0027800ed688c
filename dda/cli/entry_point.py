"""The entry point of a command: arguments as typed, a checked configuration, user errors in one line.

An entry point is `launch(hydra.main(...)(job(function)))`.
"""

import functools
import io
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import get_type_hints

from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from dda.cli.arguments import quote_argv
from dda.cli.help import print_help
from dda.config.check import Config, check
from dda.config.hydra_errors import describe_command_error
from dda.config.run_folder import last_written
from dda.config.store import register_configs
from dda.errors import UserError, first_line
from dda.pairs.run_files import DATA_FOLDER, STATE
from dda.sweep.jobs import FAILURE
from dda.sweep.summary import SweepSummary
from dda.system.memory import raise_malloc_thresholds


def launch(main: Callable[[], None]) -> None:
    """Run a `hydra.main` function; describe what ends it early in one line.

    Raises:
        SystemExit: with the line, for a user error or a failed job of a sweep; with 130 after Ctrl-C.
    """
    # Threads that wait for work must not spin on the cores that decode and write.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    raise_malloc_thresholds()
    # Hydra then raises its exceptions instead of printing them over many lines.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        sys.argv[1:] = quote_argv(sys.argv[1:])
        register_configs(reserves_run_names=True)
        if _check_flags(sys.argv[1:]):
            print_help(Path(sys.argv[0]).name, [argument for argument in sys.argv[1:] if not argument.startswith("-")])
            return
        main()
    except KeyboardInterrupt as stop:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends it at once
        _print_error("; ".join(("stopped by ctrl-C", *stop.args)))
        raise SystemExit(130) from None
    except Exception as error:
        _summarize_sweep()
        line = describe_command_error(error)
        if line is None:
            raise
        raise SystemExit(f"dda: {line}") from None


def job(function: Callable[[Config], None]) -> Callable[[DictConfig], None]:
    """Check the configuration, then call `function` with it, typed as `function` annotates it.

    A start without a result (a user error, a dry run) removes its own Hydra files, so that a run folder stays as it
    was and a new, empty one is gone. A failed job of a sweep prints its reason when it ends, since Hydra goes on with
    the other jobs; where the job made nothing, the record of its start stays as the only trace.
    """
    (schema,) = (kind for name, kind in get_type_hints(function).items() if name != "return")

    @functools.wraps(function)
    def run(cfg: DictConfig) -> None:
        try:
            function(check(cfg, schema))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(*_describe_finished_work()) from None
        except Exception as error:
            if _is_multirun():
                raise _record_failure(error) from error
            if line := describe_command_error(error):  # Hydra would add a line of its own
                raise SystemExit(f"dda: {line}") from None
            raise
        finally:
            _remove_start_without_result()

    return run


def _summarize_sweep() -> None:
    """Summarize a sweep that a failed job has ended; an error of that must not hide why the job failed."""
    try:
        SweepSummary.close()
    except OSError as error:
        _print_error(f"the sweep could not be summarized: {describe_command_error(error) or error}")


def _print_error(line: str) -> None:
    print(f"dda: {line}", file=sys.stderr)


def _is_multirun() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _find_start_folders() -> tuple[Path, Path]:
    """Return the folder of the job that Hydra launched, and in it Hydra's record of this start."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    return folder, folder / str(hydra.output_subdir)


def _record_failure(error: Exception) -> UserError:
    """Print and record why a job of a sweep failed; return what Hydra raises when all jobs have ended."""
    folder, start = _find_start_folders()
    reason = describe_command_error(error)
    if reason is None:
        traceback.print_exception(error)
        reason = f"{type(error).__name__}: {first_line(error)}"
    _print_error(f"job {folder.name}: {reason}")
    with suppress(OSError):  # on a full disk the record stays empty, which marks a failure too
        (start / FAILURE).write_text(reason, encoding="utf-8")
    return UserError(f"job {folder.name} failed: {reason}")


def _describe_finished_work() -> list[str]:
    """Return where the finished work of an interrupted job is, in a line; empty where there is none."""
    if not HydraConfig.initialized():
        return []
    folder, _ = _find_start_folders()
    has_work = any((folder / name).exists() for name in (DATA_FOLDER, STATE))
    return [f"what was finished is in {os.path.relpath(folder)}"] if has_work else []


def _remove_start_without_result() -> None:
    if not HydraConfig.initialized():
        return
    folder, start = _find_start_folders()
    record = start / "config.yaml"
    written = last_written(folder)
    is_only_trace = not written and (start / FAILURE).exists()
    if not record.is_file() or written >= record.stat().st_mtime_ns or is_only_trace:
        return
    shutil.rmtree(start)
    with suppress(OSError):  # not empty: it holds another start's record, or pairs
        start.parent.rmdir()
        folder.rmdir()


def _check_flags(arguments: Sequence[str]) -> bool:
    """Refuse options that Hydra does not know, which it would answer with its usage; return whether help is asked for.

    Raises:
        UserError: an unknown option.
    """
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
    return bool(flags.help)


def _end_with_reader() -> None:
    """End quietly where the reader of the output does (`--help | head`)."""
    if hasattr(signal, "SIGPIPE"):  # not on Windows
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
