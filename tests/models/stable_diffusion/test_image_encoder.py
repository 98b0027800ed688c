from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as TF
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from dda.errors import OptionError
from dda.images import to_tensor
from dda.models.stable_diffusion.image_encoder import (
    IMAGE_ENCODER_FILES,
    ImageEncoder,
    fingerprint_image_encoder,
    load_image_encoder,
)


@pytest.fixture(scope="module")
def vision() -> CLIPVisionModelWithProjection:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4, patch_size=32,
        projection_dim=16,
    )  # fmt: skip
    return CLIPVisionModelWithProjection(config).eval()


@torch.no_grad()
def test_embeddings_are_those_of_the_picture_resized_and_cropped_by_pillow(
    vision: CLIPVisionModelWithProjection, astronaut: np.ndarray
) -> None:
    wide = astronaut[:400]
    small = Image.fromarray(wide).resize((286, 224), Image.Resampling.BICUBIC).crop((31, 0, 255, 224))
    pixels = TF.normalize(
        TF.to_tensor(small), (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    )
    expected = vision(pixels[None]).image_embeds
    embeds = ImageEncoder(vision)(to_tensor(wide)[None])
    assert embeds.shape == (1, 16) and embeds.dtype == torch.float32
    assert torch.allclose(embeds, expected, atol=2e-2 * float(expected.abs().max()))


def test_an_embedding_does_not_depend_on_the_others(vision: CLIPVisionModelWithProjection) -> None:
    encoder, pictures = ImageEncoder(vision), torch.rand(3, 3, 256, 256)
    assert torch.equal(encoder(pictures)[:2], encoder(torch.cat([pictures[:2], torch.zeros(1, 3, 256, 256)]))[:2])


def test_the_encoder_of_a_local_folder(vision: CLIPVisionModelWithProjection, tmp_path: Path) -> None:
    vision.save_pretrained(tmp_path / "models" / "image_encoder")
    pictures = torch.rand(1, 3, 64, 64)
    assert torch.allclose(load_image_encoder(str(tmp_path))(pictures), ImageEncoder(vision)(pictures), atol=1e-5)


def test_the_fingerprint_of_a_folder_depends_on_its_files(
    vision: CLIPVisionModelWithProjection, tmp_path: Path
) -> None:
    for place in ("one", "other"):
        vision.save_pretrained(tmp_path / place / "models" / "image_encoder")
    one, other = (str(tmp_path / place) for place in ("one", "other"))
    assert (
        fingerprint_image_encoder(one) == fingerprint_image_encoder(other) and len(fingerprint_image_encoder(one)) == 64
    )
    for name in IMAGE_ENCODER_FILES:
        before = fingerprint_image_encoder(other)
        (tmp_path / "other" / name).write_bytes((tmp_path / "other" / name).read_bytes() + b" ")
        assert fingerprint_image_encoder(other) != before
    assert fingerprint_image_encoder("h94/IP-Adapter") == "h94/IP-Adapter"


def test_pickled_weights_are_not_read(vision: CLIPVisionModelWithProjection, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "image_encoder"
    vision.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(vision.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(OptionError, match="CLIP image encoder"):
        load_image_encoder(str(tmp_path))


def test_an_incomplete_encoder_is_refused(vision: CLIPVisionModelWithProjection, tmp_path: Path) -> None:
    weights = {name: value for name, value in vision.state_dict().items() if name != "visual_projection.weight"}
    vision.save_pretrained(tmp_path / "models" / "image_encoder", state_dict=weights)
    with pytest.raises(OptionError, match=r"its weights lack visual_projection\.weight; download it again"):
        load_image_encoder(str(tmp_path))


def test_a_truncated_encoder_is_refused_in_one_line(vision: CLIPVisionModelWithProjection, tmp_path: Path) -> None:
    vision.save_pretrained(tmp_path / "models" / "image_encoder")
    file = tmp_path / IMAGE_ENCODER_FILES[1]
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(OptionError, match="CLIP image encoder") as caught:
        load_image_encoder(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_missing_encoder_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="CLIP image encoder") as caught:
        load_image_encoder(str(tmp_path))
    assert "\n" not in str(caught.value)
