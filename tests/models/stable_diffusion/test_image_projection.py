import torch
from diffusers.models import embeddings

from dda.models.stable_diffusion.image_projection import ImageProjection


def test_the_shapes_of_the_release() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in ImageProjection(1024, 32, 768).state_dict().items()}
    assert shapes == {
        "proj.weight": (24576, 1024), "proj.bias": (24576,), "norm.weight": (768,), "norm.bias": (768,),
    }  # fmt: skip


@torch.no_grad()
def test_embeddings_are_those_of_diffusers() -> None:
    torch.manual_seed(1)
    reference = embeddings.ImageProjection(image_embed_dim=16, cross_attention_dim=32, num_image_text_embeds=3)
    projection = ImageProjection(16, 3, 32)
    projection.load_state_dict({k.replace("image_embeds", "proj"): v for k, v in reference.state_dict().items()})
    image_embeds = torch.randn(2, 16)
    assert torch.equal(projection(image_embeds), reference(image_embeds))
