from pathlib import Path

import torch
from safetensors.torch import load_file

from dda.models.compact.checkpoint import WEIGHTS_NAME, load_compact_model
from dda.training.compact.initial_model import make_initial_model


def test_a_known_style_keeps_its_condition_and_a_new_one_starts_from_the_mean(tiny_checkpoint: Path) -> None:
    known = load_compact_model(tiny_checkpoint)
    model = make_initial_model(str(tiny_checkpoint), ["은은한", "Smokey eyes"])
    conditions = load_file(tiny_checkpoint / WEIGHTS_NAME)["fgmm.styles"]
    assert list(model.config.styles) == ["은은한", "Smokey eyes"]
    assert torch.allclose(model.fgmm.styles[0], conditions.mean(0))
    assert torch.equal(model.fgmm.styles[1], conditions[list(known.config.styles).index("Smokey eyes")])
    for name, value in model.unet.state_dict().items():
        assert torch.equal(value, known.unet.state_dict()[name])


def test_from_scratch_the_weights_are_random() -> None:
    torch.manual_seed(0)
    first = make_initial_model("scratch", ["A"])
    torch.manual_seed(1)
    assert not torch.equal(first.unet.conv_in.weight, make_initial_model("scratch", ["A"]).unet.conv_in.weight)
