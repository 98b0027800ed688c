from pathlib import Path

import pytest
import torch

from dda.models.compact.network import CompactResidualModel
from dda.training.state import TrainingState

UPDATES = 12


def begin(seed: int = 0) -> TrainingState:
    torch.manual_seed(seed)
    model = CompactResidualModel(styles=("A",), crop_size=16, channels=(8, 8), style_dim=4)
    return TrainingState.create(model, UPDATES, learning_rate=1e-2, ema=0.9, seed=seed)


def train(state: TrainingState, until: int) -> TrainingState:
    """Make updates as a trainer does, on noise."""
    while state.updates_done < until:
        noisy, target = torch.randn(2, 1, 3, 16, 16, generator=state.generator)
        masks = torch.full((1, 4, 16, 16), 0.25)
        prediction = state.model(noisy, 10, target, masks, torch.zeros(1, 4, dtype=torch.int64))
        loss = (prediction * state.model.gains().mean() - target).square().mean()
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        state.lr_scheduler.step()
        state.ema.step(state.trained_parameters.values())
        state.updates_done += 1
    return state


def weights(state: TrainingState) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in state.model.state_dict().items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("stop", [1, 7])
def test_a_stopped_training_resumes_exactly(stop: int, tmp_path: Path) -> None:
    straight = train(begin(), UPDATES)
    train(begin(), stop).save(tmp_path / "state.pt")
    resumed = begin(seed=5)  # everything comes from the file
    resumed.load(tmp_path / "state.pt")
    assert resumed.updates_done == stop
    train(resumed, UPDATES)
    assert equal(weights(resumed), weights(straight))
    with straight.averaged_weights(), resumed.averaged_weights():
        assert equal(weights(resumed), weights(straight))
    assert torch.equal(resumed.generator.get_state(), straight.generator.get_state())


def test_saving_changes_nothing(tmp_path: Path) -> None:
    state = train(begin(), 5)
    before = weights(state)
    state.save(tmp_path / "state.pt")
    assert equal(weights(state), before)
    assert equal(weights(train(state, UPDATES)), weights(train(begin(), UPDATES)))


def test_saving_leaves_no_other_file(tmp_path: Path) -> None:
    for update in (2, 4):
        train(begin(), update).save(tmp_path / "state.pt")
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]
    resumed = begin()
    resumed.load(tmp_path / "state.pt")
    assert resumed.updates_done == 4


def test_a_half_written_file_is_ignored(tmp_path: Path) -> None:
    train(begin(), 3).save(tmp_path / "state.pt")
    half = tmp_path / ".state.pt.new.tmp"
    half.write_bytes((tmp_path / "state.pt").read_bytes()[:1000])
    resumed = begin()
    resumed.load(tmp_path / "state.pt")
    assert resumed.updates_done == 3
    train(resumed, 6).save(tmp_path / "state.pt")
    assert not half.exists()


def test_averaged_weights_are_restored_after_the_block() -> None:
    state = train(begin(), UPDATES)
    state.model.train()
    live = weights(state)
    with state.averaged_weights():
        assert not equal(weights(state), live) and not state.model.training
    assert equal(weights(state), live) and state.model.training
    with pytest.raises(ZeroDivisionError), state.averaged_weights():
        raise ZeroDivisionError
    assert equal(weights(state), live) and state.model.training


def test_averaged_weights_lie_between_old_and_new() -> None:
    state = begin()
    start = state.model.alpha.item()
    train(state, UPDATES)
    end = state.model.alpha.item()
    with state.averaged_weights():
        assert min(start, end) < state.model.alpha.item() < max(start, end)


def test_the_learning_rate_rises_and_falls_to_zero() -> None:
    state = begin()
    rates = [train(state, update).lr_scheduler.get_last_lr()[0] for update in range(UPDATES + 1)]
    assert rates[0] == 0 and max(rates) == pytest.approx(1e-2) and rates[-1] == pytest.approx(0, abs=1e-9)
    assert rates[1:] == sorted(rates[1:], reverse=True)


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"update": Trap()}, tmp_path / "state.pt")
    with pytest.raises(Exception, match=r"[Ww]eights"):
        begin().load(tmp_path / "state.pt")
    assert not (tmp_path / "sprung").exists()


def test_only_parameters_with_a_gradient_are_optimized_and_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = CompactResidualModel(styles=("A",), crop_size=16, channels=(8, 8), style_dim=4)
    model.unet.requires_grad_(False)
    frozen = {name: value.clone() for name, value in model.unet.state_dict().items()}
    state = train(TrainingState.create(model, UPDATES, learning_rate=1e-2, ema=0.9, seed=0), 3)
    assert all(torch.equal(value, frozen[name]) for name, value in model.unet.state_dict().items())
    state.save(tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)["model"]
    assert saved.keys() == {name for name, _ in model.named_parameters() if not name.startswith("unet.")}
