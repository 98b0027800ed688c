import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from dda.errors import OptionError
from dda.models.stable_diffusion.conditions import make_encoder_hidden_states
from dda.models.stable_diffusion.image_conditions import ImageConditions
from dda.models.stable_diffusion.image_encoder import ImageEncoder
from dda.models.stable_diffusion.image_projection import ImageProjection


@pytest.fixture(scope="module")
def encoder() -> ImageEncoder:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4, patch_size=32,
        projection_dim=16,
    )  # fmt: skip
    return ImageEncoder(CLIPVisionModelWithProjection(config))


@pytest.fixture(scope="module")
def projection() -> ImageProjection:
    torch.manual_seed(1)
    return ImageProjection(16, 4, 32).requires_grad_(False)


def picture(seed: int) -> torch.Tensor:
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def test_embeddings_of_the_face_come_before_those_of_the_style(
    encoder: ImageEncoder, projection: ImageProjection
) -> None:
    conditions = ImageConditions(projection, encoder, {"Red": picture(1), "Smokey": picture(2)})
    faces = torch.cat([picture(3), picture(4)])
    face_embeds = conditions.encode_faces(faces)
    hidden_states = make_encoder_hidden_states(conditions, face_embeds, ["Smokey", "Red"])
    faces_then_styles = [projection(encoder(faces)), projection(encoder(torch.cat([picture(2), picture(1)])))]
    assert hidden_states.shape == (2, 8, 32)
    assert torch.allclose(hidden_states, torch.cat(faces_then_styles, dim=1), atol=1e-5)
    no_style = projection(torch.zeros(2, 16))
    assert torch.allclose(
        make_encoder_hidden_states(conditions, face_embeds), torch.cat([face_embeds, no_style], dim=1), atol=1e-5
    )


def test_a_style_without_a_picture_is_refused(encoder: ImageEncoder, projection: ImageProjection) -> None:
    conditions = ImageConditions(projection, encoder, {"Red": picture(1)})
    with pytest.raises(OptionError, match=r"^style_images: no picture shows Smokey"):
        conditions.encode_style("Smokey")
