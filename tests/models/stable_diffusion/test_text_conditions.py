from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from dda.errors import UserError
from dda.models.stable_diffusion.pretrained import StableDiffusion, load_stable_diffusion
from dda.models.stable_diffusion.text_conditions import TextConditions, condition


@pytest.fixture(scope="module")
def model(tiny_sd: Path) -> StableDiffusion:
    return load_stable_diffusion(str(tiny_sd))


def make(model: StableDiffusion, prompt: str = "face, {style}", bare_prompt: str = "face") -> TextConditions:
    return TextConditions(model.tokenizer, model.text_encoder, prompt, bare_prompt)


def test_tokens_are_those_of_diffusers(model: StableDiffusion, tiny_sd: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd)
    with torch.no_grad():
        styled, bare = pipeline.encode_prompt("face, Red lips", "cpu", 1, True, negative_prompt="face")
    conditions = make(model)
    assert torch.allclose(conditions.tokens("Red lips"), styled, atol=1e-6)
    assert torch.allclose(conditions.bare(), bare, atol=1e-6)
    assert conditions.bare().shape == (1, 77, 32)
    assert not torch.allclose(styled, bare, atol=1e-2)


def test_a_prompt_is_encoded_once(model: StableDiffusion) -> None:
    conditions = make(model)
    assert conditions.tokens("Red lips") is conditions.tokens("Red lips")


def test_other_braces_of_a_prompt_are_left_alone(model: StableDiffusion) -> None:
    assert torch.equal(make(model, "{a} {style}").tokens("b"), make(model, "{style} b").tokens("{a}"))


@pytest.mark.parametrize("letters", [75, 76])
def test_a_prompt_longer_than_clip_reads_is_refused(letters: int, model: StableDiffusion) -> None:
    conditions = make(model, "{style}")
    if letters == 75:
        assert conditions.tokens("x" * letters).shape == (1, 77, 32)
        return
    with pytest.raises(UserError, match=r"^model.prompt: 'x+' has 76 tokens, CLIP reads 75"):
        conditions.tokens("x" * letters)
    with pytest.raises(UserError, match=r"^model.bare_prompt: "):
        make(model, bare_prompt="x" * letters).bare()


def test_rows_wear_their_own_styles(model: StableDiffusion) -> None:
    conditions = make(model)
    face_tokens = conditions.face_tokens(torch.rand(2, 3, 64, 64))
    worn = condition(conditions, face_tokens, ["Red lips", "Smokey eyes"])
    assert face_tokens.shape == (2, 0, 32)
    assert torch.equal(worn, torch.cat([conditions.tokens("Red lips"), conditions.tokens("Smokey eyes")]))
    assert torch.equal(condition(conditions, face_tokens), torch.cat([conditions.bare()] * 2))
