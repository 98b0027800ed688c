import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from dda.errors import UserError
from dda.models.stable_diffusion.image_conditions import ImageConditions
from dda.models.stable_diffusion.image_tokens import ImageEncoder, ImageTokens
from dda.models.stable_diffusion.text_conditions import condition


@pytest.fixture(scope="module")
def encoder() -> ImageEncoder:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4, patch_size=32,
        projection_dim=16,
    )  # fmt: skip
    return ImageEncoder(CLIPVisionModelWithProjection(config))


@pytest.fixture(scope="module")
def image_tokens() -> ImageTokens:
    torch.manual_seed(1)
    return ImageTokens(16, 4, 32).requires_grad_(False)


def picture(seed: int) -> torch.Tensor:
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def test_the_face_comes_first_then_its_style(encoder: ImageEncoder, image_tokens: ImageTokens) -> None:
    conditions = ImageConditions(image_tokens, encoder, {"Red": picture(1), "Smokey": picture(2)})
    faces = torch.cat([picture(3), picture(4)])
    face_tokens = conditions.face_tokens(faces)
    worn = condition(conditions, face_tokens, ["Smokey", "Red"])
    faces_then_styles = [image_tokens(encoder(faces)), image_tokens(encoder(torch.cat([picture(2), picture(1)])))]
    assert worn.shape == (2, 8, 32)
    assert torch.allclose(worn, torch.cat(faces_then_styles, dim=1), atol=1e-5)
    no_style = image_tokens(torch.zeros(2, 16))
    assert torch.allclose(condition(conditions, face_tokens), torch.cat([face_tokens, no_style], dim=1), atol=1e-5)


def test_a_style_without_a_picture(encoder: ImageEncoder, image_tokens: ImageTokens) -> None:
    conditions = ImageConditions(image_tokens, encoder, {"Red": picture(1)})
    with pytest.raises(UserError, match=r"^model.style_images: no picture shows Smokey"):
        conditions.tokens("Smokey")
