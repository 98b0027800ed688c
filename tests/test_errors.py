import errno

import pytest
import torch
from safetensors import SafetensorError

from dda.console import exit_on_user_error
from dda.errors import UserError, describe_error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM])
def test_what_the_system_refuses_is_told_with_the_file(number: int) -> None:
    line = describe_error(OSError(number, "not now", "outputs/amplify"))
    assert line is not None and line.startswith("outputs/amplify: not now; ") and "\n" not in line


def test_a_full_disk_under_safetensors_is_a_full_disk() -> None:
    line = describe_error(SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"))
    assert line is not None and line.startswith("No space left on device; make room and start again")
    assert describe_error(SafetensorError("Error while deserializing header: header too large")) is None


def test_a_machine_without_the_memory_is_told_what_to_do() -> None:
    with pytest.raises(RuntimeError) as found:
        torch.empty(2**60)
    line = describe_error(found.value)
    assert line is not None and "give a smaller batch_size" in line and "\n" not in line
    assert describe_error(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")) == line
    assert describe_error(RuntimeError("shapes do not match")) is None


def test_a_command_ends_a_mistake_with_one_line_and_a_bug_with_its_own_error() -> None:
    with pytest.raises(SystemExit, match=r"^dda: no such folder$"), exit_on_user_error():
        raise UserError("no such folder")
    with pytest.raises(ZeroDivisionError), exit_on_user_error():
        raise ZeroDivisionError
