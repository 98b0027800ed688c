import pytest
import torch

from dda.errors import OptionError
from dda.models.stable_diffusion.precision import pick_dtype, pick_vae_dtype


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("auto", torch.float32), ("fp32", torch.float32), ("bf16", torch.bfloat16)],
)
def test_the_precision_on_a_cpu(precision: str, dtype: torch.dtype) -> None:
    assert pick_dtype(precision, torch.device("cpu")) == dtype


def test_fp16_is_refused_on_a_cpu() -> None:
    with pytest.raises(OptionError, match=r"^precision=fp16: needs an NVIDIA GPU.*device=cpu is none"):
        pick_dtype("fp16", torch.device("cpu"))


@pytest.mark.parametrize(
    ("dtype", "device", "expected"),
    [
        (torch.bfloat16, "cuda", torch.float16),
        (torch.bfloat16, "cpu", torch.float32),
        (torch.float16, "cuda", torch.float16),
        (torch.float32, "cuda", torch.float32),
        (torch.float32, "cpu", torch.float32),
    ],
)
def test_the_vae_is_never_in_bf16(dtype: torch.dtype, device: str, expected: torch.dtype) -> None:
    assert pick_vae_dtype(dtype, torch.device(device)) == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_auto_is_half_precision_on_a_gpu() -> None:
    assert pick_dtype("auto", torch.device("cuda")) in (torch.bfloat16, torch.float16)
    assert pick_dtype("fp32", torch.device("cuda")) == torch.float32
