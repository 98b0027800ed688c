import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from dda.models.stable_diffusion.checkpoints import apply_checkpoint
from tests.models.stable_diffusion.checkpoints.tiny import (
    State,
    are_same,
    layer_keys,
    legacy_lora,
    make_unet,
    merge_by_hand,
    output,
    peft_keys,
)

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
RENAMED = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"


def prefixed(state: State) -> State:
    return {f"unet.{key}": tensor for key, tensor in state.items()}


def short_keys(state: State) -> State:
    """The keys of `save_lora_weights` of diffusers 0.22 to 0.25."""
    return prefixed({key.replace(".lora_layer.", ".lora."): tensor for key, tensor in layer_keys(state).items()})


KEY_FORMATS = {
    "processor": lambda state: state,
    "prefixed processor": prefixed,
    "layer": layer_keys,
    "short": short_keys,
    "peft": peft_keys,
}


NAMES = {"short": "diffusers", "peft": "peft"}


@pytest.mark.parametrize("key_format", KEY_FORMATS)
@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pt"])
def test_every_key_format_adds_up_times_down_to_the_weights(
    key_format: str, suffix: str, unet: UNet2DConditionModel, lora: State, tmp_path: Path
) -> None:
    expected, keys = merge_by_hand(unet, lora), list(unet.state_dict())
    file = tmp_path / f"lora{suffix}"
    save_file(KEY_FORMATS[key_format](lora), file) if suffix == ".safetensors" else torch.save(
        KEY_FORMATS[key_format](lora), file
    )
    applied = apply_checkpoint(file, unet)
    assert list(unet.state_dict()) == keys
    assert are_same(unet.state_dict(), expected, 1e-6)
    assert applied.summary.startswith(f"LoRA: {len(lora) // 2} LoRA layers") and "rank 4" in applied.summary
    assert f"({NAMES.get(key_format, 'legacy')} keys)" in applied.summary and "ignored nothing" in applied.summary
    assert applied.alpha == 0.5 and applied.region_weights.tolist() == [1, 1, 1, 1] and "no alpha" in applied.summary


def test_the_output_of_the_u_net_changes(unet: UNet2DConditionModel, lora: State, tmp_path: Path) -> None:
    before = output(unet)
    save_file(lora, tmp_path / "lora.safetensors")
    apply_checkpoint(tmp_path / "lora.safetensors", unet)
    assert (output(unet) - before).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["alpha", "network_alpha"])
def test_an_alpha_in_the_file_scales_by_alpha_over_rank(
    name: str, unet: UNet2DConditionModel, lora: State, tmp_path: Path
) -> None:
    expected = merge_by_hand(unet, lora, 6 / 4)
    alphas = {key.replace("down.weight", name): torch.tensor(6.0) for key in lora if ".down." in key}
    save_file(lora | alphas, tmp_path / "lora.safetensors")
    apply_checkpoint(tmp_path / "lora.safetensors", unet)
    assert are_same(unet.state_dict(), expected, 1e-6)


def test_half_precision_is_merged_in_float32(lora: State, tmp_path: Path) -> None:
    save_file({key: tensor.bfloat16() for key, tensor in lora.items()}, tmp_path / "lora.safetensors")
    unet = make_unet().half()
    expected = merge_by_hand(
        make_unet().half().float(), {key: tensor.bfloat16().float() for key, tensor in lora.items()}
    )
    apply_checkpoint(tmp_path / "lora.safetensors", unet)
    assert {tensor.dtype for tensor in unet.state_dict().values()} == {torch.float16}
    assert are_same({key: tensor.float() for key, tensor in unet.state_dict().items()}, expected, 2e-3)


# --- Against plain diffusers ------------------------------------------------------------------------------


CONFIGS = {
    "alpha is rank": LoraConfig(r=4, lora_alpha=4, target_modules=ATTENTION),
    "alpha is not rank": LoraConfig(r=4, lora_alpha=10, target_modules=ATTENTION),
    "rank-stabilized": LoraConfig(r=4, lora_alpha=3, use_rslora=True, target_modules=ATTENTION),
    "patterns": LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=ATTENTION,
        rank_pattern={"to_q": 2},
        alpha_pattern={"attn2.to_k": 1, "to_v": 6},
    ),
    "convolutions": LoraConfig(
        r=4, lora_alpha=2, target_modules=["conv1", "proj_in", "conv_shortcut", "ff.net.0.proj", "conv_in"]
    ),
}


def make_adapted_unet(config: LoraConfig) -> UNet2DConditionModel:
    """A U-Net with a peft adapter of random weights in all layers."""
    unet = make_unet()
    unet.add_adapter(config)
    generator = torch.Generator().manual_seed(3)
    for name, parameter in unet.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    return unet


def output_by_diffusers(folder: Path) -> torch.Tensor:
    """Output of a U-Net after `StableDiffusionPipeline.load_lora_weights`, which does not merge the weights."""
    pipe = StableDiffusionPipeline(
        unet=make_unet(), vae=None, text_encoder=None, tokenizer=None, scheduler=None, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.load_lora_weights(folder)
    return output(pipe.unet)


@pytest.mark.parametrize("names", ["peft's", "diffusers'"])
@pytest.mark.parametrize("config", CONFIGS)
def test_a_file_of_save_lora_weights_gives_the_output_of_diffusers(config: str, names: str, tmp_path: Path) -> None:
    unet = make_adapted_unet(CONFIGS[config])
    state = get_peft_model_state_dict(unet)
    StableDiffusionPipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers=state if names == "peft's" else convert_state_dict_to_diffusers(state),
        unet_lora_adapter_metadata=unet.peft_config["default"].to_dict(),
    )
    ours = make_unet()
    keys = list(ours.state_dict())
    apply_checkpoint(tmp_path, ours)
    assert list(ours.state_dict()) == keys
    assert torch.allclose(output(ours), output(unet), atol=2e-5)
    assert torch.allclose(output(ours), output_by_diffusers(tmp_path), atol=2e-5)
    assert (output(ours) - output(make_unet())).abs().max() > 1e-2


def test_without_metadata_the_scale_is_1_as_in_diffusers(tmp_path: Path) -> None:
    unet = make_adapted_unet(CONFIGS["alpha is not rank"])
    StableDiffusionPipeline.save_lora_weights(tmp_path, unet_lora_layers=get_peft_model_state_dict(unet))
    ours = make_unet()
    apply_checkpoint(tmp_path, ours)
    assert torch.allclose(output(ours), output_by_diffusers(tmp_path), atol=2e-5)
    assert not torch.allclose(output(ours), output(unet), atol=1e-2)


def test_a_file_with_keys_of_two_formats_is_loaded_whole(tmp_path: Path) -> None:
    """`convert_state_dict_to_diffusers` renames attention alone; diffusers 0.42 then ignores it with a warning."""
    unet = make_adapted_unet(LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "conv1"]))
    state = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    StableDiffusionPipeline.save_lora_weights(tmp_path, unet_lora_layers=state)
    ours = make_unet()
    assert "(diffusers and peft keys)" in apply_checkpoint(tmp_path, ours).summary
    assert torch.allclose(output(ours), output(unet), atol=2e-5)


def test_save_lora_adapter_of_the_u_net(tmp_path: Path) -> None:
    unet = make_adapted_unet(CONFIGS["patterns"])
    unet.save_lora_adapter(tmp_path)
    ours = make_unet()
    apply_checkpoint(tmp_path, ours)
    assert torch.allclose(output(ours), output(unet), atol=2e-5)


def save_by_peft(folder: Path) -> UNet2DConditionModel:
    unet = make_unet()
    model = get_peft_model(unet, LoraConfig(r=4, lora_alpha=10, target_modules=ATTENTION, init_lora_weights=False))
    model.save_pretrained(folder)
    return unet


def test_a_folder_of_peft_is_scaled_by_its_config(tmp_path: Path) -> None:
    unet = save_by_peft(tmp_path)
    ours = make_unet()
    apply_checkpoint(tmp_path, ours)
    assert torch.allclose(output(ours), output(unet.eval()), atol=2e-5)


def test_a_file_of_peft_without_its_config_is_refused(refusal: Callable[[Path], str], tmp_path: Path) -> None:
    save_by_peft(tmp_path)
    (tmp_path / "adapter_config.json").unlink()
    assert "adapter_config.json" in refusal(tmp_path)


# --- Ignored and refused ----------------------------------------------------------------------------------


def test_text_encoder_layers_are_ignored_and_the_log_says_so(
    unet: UNet2DConditionModel, lora: State, tmp_path: Path
) -> None:
    text = {"text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(4, 32)}
    expected = merge_by_hand(unet, lora)
    save_file(peft_keys(lora) | text, tmp_path / "lora.safetensors")
    assert "ignored 1 text encoder tensors" in apply_checkpoint(tmp_path / "lora.safetensors", unet).summary
    assert are_same(unet.state_dict(), expected, 1e-6)


def test_a_file_of_text_encoder_layers_only_is_refused(refusal: Callable[[Path], str], tmp_path: Path) -> None:
    text = {"text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(4, 32)}
    save_file(text, tmp_path / "lora.safetensors")
    assert "no LoRA weight of a U-Net" in refusal(tmp_path / "lora.safetensors")


QUERY = f"{RENAMED}.processor.to_q_lora"

CHANGES: dict[str, tuple[Callable[[State], State], str]] = {
    "half a layer": (lambda state: {k: v for k, v in state.items() if k != f"{QUERY}.up.weight"}, f"{RENAMED}.to_q"),
    "two keys": (
        lambda state: state | {f"{RENAMED}.to_q.lora_A.weight": torch.ones(4, 32)},
        "twice, under two keys",
    ),
    "DoRA": (lambda state: state | {f"{RENAMED}.to_q.lora_magnitude_vector": torch.ones(32)}, "lora_magnitude_vector"),
    "another rank": (lambda state: state | {f"{QUERY}.up.weight": torch.ones(32, 3)}, "do not fit each other"),
    "no rank": (lambda state: state | {f"{QUERY}.down.weight": torch.ones(0, 32)}, "do not fit each other"),
    "a scalar": (lambda state: state | {f"{QUERY}.down.weight": torch.ones(())}, "do not fit each other"),
    "another width": (lambda state: state | {f"{QUERY}.down.weight": torch.ones(4, 33)}, "another model"),
    "another module": (
        lambda state: {k.replace("down_blocks.0", "down_blocks.7"): v for k, v in state.items()},
        "down_blocks.7",
    ),
    "a long alpha": (lambda state: state | {f"{QUERY}.alpha": torch.ones(2)}, "one number"),
    "not a number": (lambda state: state | {f"{QUERY}.up.weight": torch.full((32, 4), torch.nan)}, "not finite"),
    "infinite": (lambda state: state | {f"{QUERY}.up.weight": torch.full((32, 4), torch.inf)}, "not finite"),
    "infinite alpha": (lambda state: state | {f"{QUERY}.alpha": torch.tensor(torch.inf)}, "not finite"),
    "overflow": (lambda state: {key: torch.full_like(tensor, 1e30) for key, tensor in state.items()}, "not finite"),
    "whole numbers": (lambda state: state | {f"{QUERY}.up.weight": torch.ones(32, 4).long()}, "floating-point"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_content_that_does_not_fit_is_refused(
    change: str, refusal: Callable[[Path], str], lora: State, tmp_path: Path
) -> None:
    make, reason = CHANGES[change]
    save_file(make(lora), tmp_path / "lora.safetensors")
    message = refusal(tmp_path / "lora.safetensors")
    assert "lora.safetensors" in message and reason in message


def test_lora_of_a_wider_model_is_refused(refusal: Callable[[Path], str], tmp_path: Path) -> None:
    save_file(legacy_lora(make_unet(width=48)), tmp_path / "lora.safetensors")
    assert "another model" in refusal(tmp_path / "lora.safetensors")


@pytest.mark.parametrize("text", ["{", "[]", '{"unet.r": 4}', '{"unet.lora_alpha": NaN}', '{"unet.lora_alpha": "8"}'])
def test_metadata_that_is_not_a_lora_config_is_refused(
    text: str, refusal: Callable[[Path], str], lora: State, tmp_path: Path
) -> None:
    save_file(peft_keys(lora), tmp_path / "lora.safetensors", metadata={"lora_adapter_metadata": text})
    assert "metadata" in refusal(tmp_path / "lora.safetensors")


def test_the_scale_is_read_from_the_metadata_of_the_file(tmp_path: Path) -> None:
    unet = make_adapted_unet(CONFIGS["alpha is not rank"])
    unet.save_lora_adapter(tmp_path)
    file = tmp_path / "pytorch_lora_weights.safetensors"
    save_file(load_file(file), file, metadata={"lora_adapter_metadata": json.dumps({"lora_alpha": 0})})
    ours = make_unet()
    apply_checkpoint(tmp_path, ours)
    assert are_same(ours.state_dict(), make_unet().state_dict())
