from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from torch.utils.flop_counter import FlopCounterMode

from dda.errors import UserError
from dda.faces.preparation import PreparedFace
from dda.images import to_tensor, to_uint8
from dda.models.residuals import Residuals, compose
from dda.models.stable_diffusion.pipeline import Sampling, StableDiffusionResidualPipeline
from dda.models.stable_diffusion.precision import precision_error
from dda.models.stable_diffusion.pretrained import load_stable_diffusion
from dda.models.stable_diffusion.schedulers import ALLOWED
from dda.models.stable_diffusion.text_conditions import BARE_PROMPT, PROMPT, TextConditions
from dda.regions import REGIONS
from dda.styles import Style

SIDE = 128
SD15 = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "skip_prk_steps": True,
        "steps_offset": 1, "set_alpha_to_one": False, "clip_sample": False, "timestep_spacing": "trailing"}  # fmt: skip
RED, SMOKEY, KOREAN = "Red lip makeup", "Smokey eyes", "Korean makeup"
Make = Callable[..., StableDiffusionResidualPipeline]


@pytest.fixture(scope="module")
def make(tiny_sd: Path) -> Make:
    """An amplifier of the tiny model; keywords are those of Sampling, and dtype and prompt."""
    loaded = {dtype: load_stable_diffusion(str(tiny_sd)) for dtype in (torch.float32, torch.bfloat16)}

    def build(
        dtype: torch.dtype = torch.float32, prompt: str = PROMPT, **sampling: Any
    ) -> StableDiffusionResidualPipeline:
        model = loaded[dtype]
        conditions = TextConditions(model.tokenizer, model.text_encoder, prompt, BARE_PROMPT)
        chosen = replace(Sampling(), **sampling)
        return StableDiffusionResidualPipeline(model, conditions, chosen, torch.ones(4), torch.device("cpu"), dtype)

    return build


@pytest.fixture(scope="module")
def pipeline(tiny_sd: Path) -> StableDiffusionImg2ImgPipeline:
    loaded = StableDiffusionImg2ImgPipeline.from_pretrained(tiny_sd)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def style(base: str, **regions: str) -> Style:
    return Style("any", dict.fromkeys(REGIONS, base) | regions, dict.fromkeys(REGIONS, 1.0))


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    """Smooth pictures, a coarse one enlarged."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear")


def face_masks(count: int) -> torch.Tensor:
    """Eyes above, lips below, skin between, a bare frame."""
    masks = torch.zeros(count, 4, SIDE, SIDE)
    masks[:, 0, 20:50, 20:108] = 0.9
    masks[:, 2, 50:80, 20:108] = 0.8
    masks[:, 1, 80:107, 20:108] = 1.0
    return masks


def whole(count: int) -> torch.Tensor:
    """Skin everywhere."""
    masks = torch.zeros(count, 4, SIDE, SIDE)
    masks[:, 2] = 1
    return masks


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def face_noise(seed: int, steps: int) -> torch.Tensor:
    """One face's noise (1 + steps, 4, h, w), drawn as a pipeline draws it."""
    source = generator(seed)
    return torch.cat([torch.randn(1, 4, SIDE // 8, SIDE // 8, generator=source) for _ in range(1 + steps)])


def noises(*seeds: int, steps: int = 3) -> torch.Tensor:
    return torch.stack([face_noise(seed, steps) for seed in seeds])


def amplify(
    amplifier: StableDiffusionResidualPipeline,
    source: torch.Tensor,
    masks: torch.Tensor,
    styles: Sequence[Style],
    seeds: Sequence[int] = (0, 1),
) -> Residuals:
    """One style for each face."""
    noise = noises(*seeds, steps=amplifier.sampling.steps)
    return amplifier.residuals(amplifier.encode_faces(source, masks, [], noise), range(len(styles)), styles)


# --- A pass is diffusers' own ---------------------------------------------------------------------------


def reference(
    pipeline: StableDiffusionImg2ImgPipeline,
    sampling: Sampling,
    source: torch.Tensor,
    prompt: str,
    algorithm: str = "dpmsolver++",
    **arguments: Any,
) -> torch.Tensor:
    """What diffusers makes of one picture, of the noise of seed 0; not clipped."""
    total = round(sampling.steps / sampling.strength)
    config = {**SD15, "algorithm_type": algorithm} if "DPM" in sampling.scheduler else SD15
    pipeline.scheduler = getattr(diffusers, sampling.scheduler).from_config(config)
    with torch.no_grad():
        clean = pipeline.vae.encode(2 * source - 1).latent_dist.mode() * pipeline.vae.config.scaling_factor
        latents = pipeline(
            prompt,
            clean,
            strength=(sampling.steps + 0.5) / total,
            num_inference_steps=total,
            guidance_scale=sampling.guidance,
            negative_prompt=BARE_PROMPT,
            generator=generator(0),
            output_type="latent",
            **arguments,
        ).images
        return pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample / 2 + 0.5


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("scheduler", ALLOWED)
def test_a_pass_is_image_to_image_on_the_same_noise(
    scheduler: str, guidance: float, make: Make, pipeline: StableDiffusionImg2ImgPipeline
) -> None:
    amplifier = make(scheduler=scheduler, guidance=guidance)
    source, masks = pictures(1), whole(1)
    shared = amplifier.encode_faces(source, masks, [], noises(0))
    made = amplifier.residuals(shared, [0], [style(RED)]).makeup + shared.reconstruction
    expected = reference(pipeline, amplifier.sampling, source, PROMPT.replace("{style}", RED))
    bare = reference(pipeline, replace(amplifier.sampling, guidance=1.0), source, BARE_PROMPT)
    assert (made - expected).abs().max() < 1e-5 * guidance  # it multiplies what rounding differs by
    assert (shared.reconstruction - bare).abs().max() < 1e-5
    assert (expected - bare).abs().max() > 1e-2  # the style paints at all


def test_a_stochastic_pass_is_image_to_image_on_the_same_noise(
    tiny_sd: Path, pipeline: StableDiffusionImg2ImgPipeline
) -> None:
    model = load_stable_diffusion(str(tiny_sd))
    model.scheduler["algorithm_type"] = "sde-dpmsolver++"
    sampling = Sampling(scheduler="DPMSolverMultistepScheduler")
    conditions = TextConditions(model.tokenizer, model.text_encoder, PROMPT, BARE_PROMPT)
    amplifier = StableDiffusionResidualPipeline(
        model, conditions, sampling, torch.ones(4), torch.device("cpu"), torch.float32
    )
    source, masks = pictures(1), whole(1)
    shared = amplifier.encode_faces(source, masks, [], noises(0))
    made = amplifier.residuals(shared, [0], [style(RED)]).makeup + shared.reconstruction
    prompt = PROMPT.replace("{style}", RED)
    expected = reference(pipeline, sampling, source, prompt, "sde-dpmsolver++")
    ode = reference(pipeline, sampling, source, prompt)
    assert (made - expected).abs().max() < 1e-5
    assert (expected - ode).abs().max() > 1e-2  # the noise of the steps matters


# --- The laws -------------------------------------------------------------------------------------------

SETTINGS = [
    {},
    {"guidance": 4.0},
    {"conditioning": "sum"},
    {"conditioning": "sum", "guidance": 4.0},
    {"start": "inversion"},
    {"scheduler": "UniPCMultistepScheduler"},
]


@pytest.mark.parametrize("sampling", SETTINGS)
def test_where_no_mask_is_the_targets_bytes_are_the_sources(sampling: dict[str, object], make: Make) -> None:
    source = torch.stack([to_tensor(to_uint8(picture)) for picture in pictures(2)])
    masks = face_masks(2)
    residuals = amplify(make(steps=2, **sampling), source, masks, [style(RED), style(SMOKEY, lips=KOREAN)])
    target = compose(source, masks, residuals, torch.full((2, 4), 3.0), detail_kept=0.0)
    bare = (masks.sum(1) == 0)[:, None].expand_as(source)
    assert torch.equal(target[bare], source[bare])
    assert not torch.equal(target[~bare], source[~bare])


def test_zero_strength_changes_nothing(make: Make) -> None:
    residuals = amplify(make(), pictures(2), face_masks(2), [style(RED), style(SMOKEY)])
    assert torch.equal(compose(pictures(2), face_masks(2), residuals, torch.zeros(2, 4), 1.0), pictures(2))


@pytest.mark.parametrize(
    "sampling", [*({"scheduler": name} for name in ALLOWED), {"conditioning": "sum"}, {"guidance": 4.0}]
)
def test_equal_conditions_give_no_makeup(sampling: dict[str, object], make: Make) -> None:
    amplifier = make(prompt=BARE_PROMPT, **sampling)
    residuals = amplify(amplifier, pictures(2), face_masks(2), [style(RED), style(SMOKEY, lips=KOREAN)])
    assert torch.equal(residuals.makeup, torch.zeros_like(residuals.makeup))


def test_equal_conditions_give_no_makeup_after_inversion_and_in_bf16(make: Make) -> None:
    for amplifier in (make(prompt=BARE_PROMPT, start="inversion"), make(torch.bfloat16, prompt=BARE_PROMPT)):
        residuals = amplify(amplifier, pictures(2), face_masks(2), [style(RED), style(SMOKEY, lips=KOREAN)])
        assert torch.equal(residuals.makeup, torch.zeros_like(residuals.makeup))


def test_the_target_is_affine_in_every_strength(make: Make) -> None:
    source, masks = pictures(1) * 0.2 + 0.4, face_masks(1)  # far from the clip
    residuals = amplify(make(), source, masks, [style(RED)], seeds=(0,))
    for region in range(4):
        gains = torch.zeros(3, 1, 4)
        gains[:, 0, region] = torch.tensor([0.0, 0.2, 0.4])
        none, half, full = (compose(source, masks, residuals, each) for each in gains)
        assert torch.allclose(half - none, full - half, atol=1e-6)
        assert torch.equal(full, none) == (masks[0, region].max() == 0)


@pytest.mark.parametrize("sampling", SETTINGS)
def test_neighbors_change_nothing(sampling: dict[str, object], make: Make) -> None:
    amplifier = make(steps=2, **sampling)
    faces, others = pictures(3), pictures(3, seed=9)
    first = amplify(amplifier, faces, face_masks(3), [style(RED)] * 3, seeds=(0, 1, 2))
    mixed = style(SMOKEY, lips=KOREAN, skin=RED)
    neighbors = torch.stack([others[0], faces[0], others[1]])
    masks = torch.stack([whole(1)[0], face_masks(1)[0], whole(1)[0]])
    second = amplify(amplifier, neighbors, masks, [mixed, style(RED), mixed], seeds=(7, 0, 8))
    assert torch.equal(first.makeup[0], second.makeup[1])
    assert isinstance(first.detail, torch.Tensor) and isinstance(second.detail, torch.Tensor)
    assert torch.equal(first.detail[0], second.detail[1])


def test_the_noise_is_the_faces_own(make: Make) -> None:
    amplifier, source = make(), pictures(1).expand(2, -1, -1, -1)
    same = amplify(amplifier, source, face_masks(2), [style(RED)] * 2, seeds=(5, 5)).makeup
    other = amplify(amplifier, source, face_masks(2), [style(RED)] * 2, seeds=(5, 6)).makeup
    assert torch.equal(same[0], same[1])
    assert torch.equal(other[0], same[0])
    assert not torch.equal(other[1], same[1])


# --- Latent lock and residuals --------------------------------------------------------------------------


def test_the_detail_residual_is_what_the_reconstruction_lost(make: Make) -> None:
    amplifier, source, masks = make(), pictures(2), face_masks(2)
    shared = amplifier.encode_faces(source, masks, [], noises(0, 1))
    residuals = amplifier.residuals(shared, [1, 0], [style(RED)] * 2)
    assert torch.equal(residuals.detail, (source - shared.reconstruction)[[1, 0]])


def test_latents_are_open_wherever_a_pixel_has_a_mask(make: Make) -> None:
    masks = torch.zeros(1, 4, SIDE, SIDE)
    masks[0, 1, 17, 40] = 1e-3  # one faint pixel
    shared = make().encode_faces(pictures(1), masks, [], noises(0))
    assert shared.open.nonzero().tolist() == [[0, 0, 17 // 8, 40 // 8]]


@pytest.mark.parametrize("conditioning", ["attention", "sum"])
def test_without_a_mask_there_is_no_makeup(conditioning: str, make: Make) -> None:
    amplifier = make(conditioning=conditioning, guidance=4.0)
    residuals = amplify(amplifier, pictures(1), torch.zeros(1, 4, SIDE, SIDE), [style(RED)], seeds=(0,))
    assert torch.equal(residuals.makeup, torch.zeros_like(residuals.makeup))


def test_locked_latents_are_those_of_the_bare_pass_at_every_step(
    make: Make, pipeline: StableDiffusionImg2ImgPipeline
) -> None:
    amplifier, source = make(conditioning="sum"), pictures(1)
    shared = amplifier.encode_faces(source, face_masks(1), [], noises(0))

    def lock(pipeline: object, step: int, timestep: int, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"latents": values["latents"].where(shared.open, shared.trajectory[step + 1])}

    made = amplifier.residuals(shared, [0], [style(RED)]).makeup + shared.reconstruction
    prompt = PROMPT.replace("{style}", RED)
    expected = reference(pipeline, amplifier.sampling, source, prompt, callback_on_step_end=lock)
    assert (made - expected).abs().max() < 1e-5
    assert (made - reference(pipeline, amplifier.sampling, source, prompt)).abs().max() > 1e-3


# --- Sharing between styles (law 6) ---------------------------------------------------------------------

LOOKS = [style(RED), style(SMOKEY), style(KOREAN)]


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_styles_made_together_have_the_pixels_of_styles_made_apart(guidance: float, make: Make) -> None:
    amplifier, source, masks = make(steps=2, guidance=guidance), pictures(2), face_masks(2)
    shared = amplifier.encode_faces(source, masks, [], noises(0, 1, steps=2))
    for looks in (LOOKS[:2], LOOKS[1:]):
        together = amplifier.residuals(shared, [0, 0], looks).makeup
        for row, look in enumerate(looks):
            apart = amplify(amplifier, source, masks, [look] * 2).makeup
            assert torch.equal(together[row], apart[0])


def unet_flops(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return sum(counter.get_flop_counts()["UNet2DConditionModel"].values())


@pytest.mark.parametrize(("guidance", "units_alone"), [(1.0, 2), (4.0, 3)])
def test_the_flops_of_styles_fall_as_law_6_says(guidance: float, units_alone: int, make: Make) -> None:
    amplifier, source, masks = make(steps=1, guidance=guidance), pictures(1), face_masks(1)

    def made(looks: Sequence[Style]) -> None:
        shared = amplifier.encode_faces(source, masks, [], noises(0, steps=1))
        for look in looks:
            amplifier.residuals(shared, [0], [look])

    together, alone = unet_flops(lambda: made(LOOKS)), unet_flops(lambda: made(LOOKS[:1]))
    count = len(LOOKS)
    law = (count * (units_alone - 1) + 1) / (count * units_alone)  # (S+1)/2S, and (2S+1)/3S with guidance
    assert together / (count * alone) == pytest.approx(law, rel=0.02)  # 2 %: gated attention costs a little itself


# --- RegionMasks --------------------------------------------------------------------------------------------


def inner(residuals: Residuals, rows: slice) -> torch.Tensor:
    return residuals.makeup[:, :, rows, 28:100]


# The gates of one layer are exact (test_region_attention.py). A whole U-Net also carries what it attended to past the
# border, by its convolutions and self-attention, and one of random weights, on so small a grid, carries a lot.
@pytest.mark.parametrize(("conditioning", "carried"), [("attention", 0.85), ("sum", 0.5)])
def test_a_region_wears_its_own_style(conditioning: str, carried: float, make: Make) -> None:
    amplifier, seeds = make(conditioning=conditioning), range(4)
    mixed, red, smokey = (
        amplify(amplifier, pictures(4), face_masks(4), [look] * 4, seeds)
        for look in (style(SMOKEY, lips=RED), style(RED), style(SMOKEY))
    )
    eyes, lips = slice(24, 40), slice(92, 104)
    for rows, own, other in ((eyes, smokey, red), (lips, red, smokey)):
        near = (inner(mixed, rows) - inner(own, rows)).abs().mean()
        far = (inner(mixed, rows) - inner(other, rows)).abs().mean()
        assert near < carried * far


def test_both_conditionings_agree_on_one_style_worn_everywhere(make: Make) -> None:
    gated, summed = (
        amplify(make(conditioning=conditioning), pictures(1), whole(1), [style(RED)], seeds=(0,)).makeup
        for conditioning in ("attention", "sum")
    )
    assert torch.allclose(gated, summed, atol=1e-5)


def test_a_sum_weighs_styles_by_their_share_of_the_masks(make: Make) -> None:
    full, faint = (
        amplify(make(conditioning="sum"), pictures(1), masks, [style(SMOKEY, lips=RED)], seeds=(0,)).makeup
        for masks in (face_masks(1), face_masks(1) / 4)
    )
    assert torch.allclose(full, faint, atol=1e-6)


# --- Start, precision, mistakes -------------------------------------------------------------------------


def test_inversion_reconstructs_better_than_noise(make: Make) -> None:
    source = pictures(1)

    def lost(start: str) -> float:
        amplifier = make(start=start)
        bare = amplifier.encode_faces(source, whole(1), [], noises(0))
        return float((bare.trajectory[-1] - amplifier._encode(source)).square().mean())

    assert lost("inversion") < 0.25 * lost("noise")


def test_inversion_needs_ddim(make: Make) -> None:
    with pytest.raises(UserError, match=r"model.scheduler=EulerDiscreteScheduler: model.start=inversion needs DDIM"):
        make(start="inversion", scheduler="EulerDiscreteScheduler")


def test_bf16_is_near_fp32(make: Make) -> None:
    exact = make()
    arguments = (pictures(2), face_masks(2), [], noises(0, 1), [style(RED), style(SMOKEY)])
    error = precision_error(make(torch.bfloat16), exact, *arguments)
    assert 0 < error.mean < 0.4 < error.worst < 10  # gray levels of 4; with the VAE in bf16 0.8
    assert precision_error(exact, exact, *arguments).worst == 0


def test_it_amplifies_a_face_of_the_size_that_runs_use(make: Make, portraits: list[PreparedFace]) -> None:
    amplifier, face = make(steps=1, strength=0.2), portraits[0]
    assert amplifier.noise_shape == (2, 4, 64, 64)
    source, masks = to_tensor(face.source)[None], torch.from_numpy(face.regions.masks)[None]
    noise = torch.randn(1, *amplifier.noise_shape, generator=generator(0))
    shared = amplifier.encode_faces(source, masks, [face.regions.face], noise)
    residuals = amplifier.residuals(shared, [0], [style(RED)])
    target = compose(source, masks, residuals, amplifier.gains()[None])
    bare = (masks.sum(1, keepdim=True) == 0).expand_as(source)
    assert residuals.makeup.shape == source.shape
    assert torch.equal(target[bare], source[bare])
    assert not torch.equal(target, source)
