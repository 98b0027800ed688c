from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from dda.errors import OptionError
from dda.models.stable_diffusion.conditions import make_encoder_hidden_states
from dda.models.stable_diffusion.pretrained import StableDiffusionComponents, load_stable_diffusion
from dda.models.stable_diffusion.text_conditions import TextConditions


@pytest.fixture(scope="module")
def components(tiny_sd: Path) -> StableDiffusionComponents:
    return load_stable_diffusion(str(tiny_sd))


def make(
    components: StableDiffusionComponents, prompt: str = "face, {style}", bare_prompt: str = "face"
) -> TextConditions:
    return TextConditions(components.tokenizer, components.text_encoder, prompt, bare_prompt)


def test_embeddings_are_those_of_diffusers(components: StableDiffusionComponents, tiny_sd: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd)
    with torch.no_grad():
        styled, bare = pipeline.encode_prompt("face, Red lips", "cpu", 1, True, negative_prompt="face")
    conditions = make(components)
    assert torch.allclose(conditions.encode_style("Red lips"), styled, atol=1e-6)
    assert torch.allclose(conditions.encode_bare_condition(), bare, atol=1e-6)
    assert conditions.encode_bare_condition().shape == (1, 77, 32)
    assert not torch.allclose(styled, bare, atol=1e-2)


def test_a_prompt_is_encoded_once(components: StableDiffusionComponents) -> None:
    conditions = make(components)
    assert conditions.encode_style("Red lips") is conditions.encode_style("Red lips")


def test_other_braces_of_a_prompt_are_kept(components: StableDiffusionComponents) -> None:
    assert torch.equal(
        make(components, "{a} {style}").encode_style("b"), make(components, "{style} b").encode_style("{a}")
    )


@pytest.mark.parametrize("letters", [75, 76])
def test_a_prompt_longer_than_clip_reads_is_refused(letters: int, components: StableDiffusionComponents) -> None:
    conditions = make(components, "{style}")
    if letters == 75:
        assert conditions.encode_style("x" * letters).shape == (1, 77, 32)
        return
    with pytest.raises(OptionError, match=r"^prompt: 'x+' has 76 tokens, CLIP reads 75"):
        conditions.encode_style("x" * letters)
    with pytest.raises(OptionError, match=r"^bare_prompt: "):
        make(components, bare_prompt="x" * letters).encode_bare_condition()


def test_each_row_has_its_own_style(components: StableDiffusionComponents) -> None:
    conditions = make(components)
    face_embeds = conditions.encode_faces(torch.rand(2, 3, 64, 64))
    hidden_states = make_encoder_hidden_states(conditions, face_embeds, ["Red lips", "Smokey eyes"])
    assert face_embeds.shape == (2, 0, 32)
    assert torch.equal(
        hidden_states, torch.cat([conditions.encode_style("Red lips"), conditions.encode_style("Smokey eyes")])
    )
    assert torch.equal(
        make_encoder_hidden_states(conditions, face_embeds), torch.cat([conditions.encode_bare_condition()] * 2)
    )
