"""The command line: values taken as typed, and every mistake of the user's answered in one line.

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
    """Run a `hydra.main` function; what ends it early is told in one line.

    Raises:
        SystemExit: with the line, for a mistake of the user's or a failed job of a sweep; with 130 after ctrl-C.
    """
    # Threads that wait for work must not spin on the cores that decode and write.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    raise_malloc_thresholds()
    # With it Hydra hands its exceptions on, instead of printing them over many lines.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        sys.argv[1:] = quote_argv(sys.argv[1:])
        _check_flags(sys.argv[1:])
        register_configs(reserves_run_names=True)
        main()
    except KeyboardInterrupt as stop:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # once more ends it at once
        _tell("; ".join(("stopped by ctrl-C", *stop.args)))
        raise SystemExit(130) from None
    except Exception as error:
        _summarize_sweep()
        line = describe_command_error(error)
        if line is None:
            raise
        raise SystemExit(f"dda: {line}") from None


def job(function: Callable[[Config], None]) -> Callable[[DictConfig], None]:
    """Check the configuration, then call `function` with it, typed as `function` takes it.

    A start that came to nothing (a mistake, a dry run) takes its own Hydra files away again, so a run folder
    is left as it was and a folder made for nothing is gone. A failed job of a sweep tells why when it ends, since
    Hydra goes on with the other jobs; where it made nothing, the record of its start stays as the only trace.
    """

    (schema,) = (kind for name, kind in get_type_hints(function).items() if name != "return")

    @functools.wraps(function)
    def checked(cfg: DictConfig) -> None:
        try:
            function(check(cfg, schema))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(*_kept()) from None
        except Exception as error:
            if _in_sweep():
                raise _failed(error) from error
            if line := describe_command_error(error):  # Hydra would add a line of its own
                raise SystemExit(f"dda: {line}") from None
            raise
        finally:
            _forget_idle_start()

    return checked


def _summarize_sweep() -> None:
    """Summarize a sweep that a failed job has ended; what stands against it must not hide why the job failed."""
    try:
        SweepSummary.close()
    except OSError as error:
        _tell(f"the sweep could not be summarized: {describe_command_error(error) or error}")


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
    reason = describe_command_error(error)
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
    finished = any((folder / name).exists() for name in (DATA_FOLDER, STATE))
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
