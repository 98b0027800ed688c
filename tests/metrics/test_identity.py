import importlib.util
import sys
from dataclasses import replace

import pytest
import torch

from dda.metrics.identity import Identity
from dda.metrics.metric import MissingWeights, PairBatch


def test_makeup_leaves_the_person_and_a_shuffle_does_not(glamorous: PairBatch, spoiled: dict[str, PairBatch]) -> None:
    pytest.importorskip("dlib", reason='needs pip install -e ".[identity]"')
    identity = Identity()
    assert (identity(glamorous)["identity"] > 0.96).all()
    assert (identity(spoiled["shuffled"])["identity"] < 0.92).all()
    assert identity(spoiled["untouched"])["identity"].tolist() == pytest.approx([1, 1], abs=1e-5)
    half = identity(replace(glamorous, has_face=torch.tensor([False, True])))["identity"]
    assert half[0].isnan() and float(half[1]) > 0.96


def test_without_dlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(MissingWeights, match=r"pip install .*identity"):
        Identity()
