import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from dda.pairs.plan import ASSIGNMENTS, PlannedPair, make_plan

STYLES = ["Natural makeup", "Glamorous makeup", "Smokey eyes", "Red lip makeup", "Korean makeup"]
PATHS = [f"{i // 10:02d}/얼굴 {i}.png" for i in range(37)]


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_every_face_meets_every_style_once(assignment: str) -> None:
    plan = make_plan(PATHS, STYLES, assignment, seed=3)
    assert len(plan) == len(plan.pairs) == 37 * 5
    assert Counter((pair.path, pair.style) for pair in plan.pairs) == Counter(
        (path, style) for path in PATHS for style in STYLES
    )
    assert [pair.place for pair in plan.pairs] == list(range(len(plan)))


@pytest.mark.parametrize(
    ("assignment", "golden"),
    [
        ("random", "dz cy ax by dx cz az bz dy cx ay bx"),
        ("balanced", "dz cx ay by dx cy az bz dy cz ax bx"),
    ],
)
def test_golden_plan(assignment: str, golden: str) -> None:
    """A change here breaks the resume of every run that exists."""
    plan = make_plan(["a.png", "b.png", "c.png", "d.png"], ["x", "y", "z"], assignment, seed=0)
    assert " ".join(pair.path[0] + pair.style for pair in plan.pairs) == golden


def test_golden_fingerprint() -> None:
    plan = make_plan(["a.png", "b.png", "c.png", "d.png"], ["x", "y", "z"], "balanced", seed=0)
    assert plan.fingerprint == "56eebc77e353936cb3058deb3ac75b4a93a5a3a44f565e337163c89aa0681407"


def test_another_process_makes_the_same_plan() -> None:
    program = (
        "from dda.pairs.plan import make_plan\n"
        f"plan = make_plan({PATHS!r}, {STYLES!r}, 'random', 7)\n"
        "print(ascii([(pair.path, pair.style) for pair in plan.pairs]))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    plan = make_plan(PATHS, STYLES, "random", 7)
    assert run.stdout.strip() == ascii([(pair.path, pair.style) for pair in plan.pairs])


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_the_order_of_the_paths_has_no_effect(assignment: str) -> None:
    plan, other = (make_plan(paths, STYLES, assignment, 1) for paths in (PATHS, PATHS[::-1]))
    assert list(plan.pairs) == list(other.pairs) and plan.fingerprint == other.fingerprint


def test_the_fingerprint_depends_on_everything_that_the_plan_does() -> None:
    plans = [
        make_plan(PATHS, STYLES, "random", 0),
        make_plan(PATHS, STYLES, "random", 1),
        make_plan(PATHS, STYLES, "balanced", 0),
        make_plan(PATHS, STYLES[::-1], "random", 0),
        make_plan(PATHS, STYLES[1:], "random", 0),
        make_plan(PATHS[1:], STYLES, "random", 0),
        make_plan(["ab", "c"], STYLES, "random", 0),
        make_plan(["a", "bc"], STYLES, "random", 0),
    ]
    assert len({plan.fingerprint for plan in plans}) == len(plans)


def test_all_keeps_the_styles_of_a_face_together_and_in_order() -> None:
    plan = make_plan(PATHS, STYLES, "all", 0)
    for first in range(0, len(plan), 5):
        pairs = plan.pairs[first : first + 5]
        assert len({pair.path for pair in pairs}) == 1
        assert [pair.style for pair in pairs] == STYLES
    assert plan.first_round == len(plan)


@pytest.mark.parametrize("assignment", ["random", "balanced"])
def test_a_round_has_each_face_once_in_the_same_order(assignment: str) -> None:
    plan = make_plan(PATHS, STYLES, assignment, 0)
    assert plan.first_round == len(PATHS)
    for turn in range(5):
        assert [pair.path for pair in plan.pairs[turn * 37 : (turn + 1) * 37]] == plan.faces
    assert set(plan.faces) == set(PATHS) and plan.faces != PATHS


@pytest.mark.parametrize("styles", [1, 2, 3, 5])
def test_balanced_counts_differ_by_at_most_one_in_every_prefix_of_every_round(styles: int) -> None:
    plan = make_plan(PATHS, STYLES[:styles], "balanced", 4)
    for turn in range(styles):
        counts = Counter(dict.fromkeys(STYLES[:styles], 0))
        for pair in plan.pairs[turn * 37 : (turn + 1) * 37]:
            counts[pair.style] += 1
            assert max(counts.values()) - min(counts.values()) <= 1


def test_random_styles_are_uniform_and_independent_of_the_place() -> None:
    paths = [f"{i}.png" for i in range(5000)]
    plan = make_plan(paths, STYLES, "random", 0)
    for turn in range(5):
        counts = Counter(pair.style for pair in plan.pairs[turn * 5000 : (turn + 1) * 5000])
        assert all(abs(count - 1000) < 150 for count in counts.values())
    first = [STYLES.index(pair.style) for pair in plan.pairs[:5000]]
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.06


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 50])
def test_shards_divide_the_plan_by_face(assignment: str, count: int) -> None:
    plan = make_plan(PATHS, STYLES, assignment, 2)
    shards = [plan.shard(index, count, num_pairs=60) for index in range(count)]
    places = [[pair.place for pair in shard.pairs] for shard in shards]
    assert sorted(place for own in places for place in own) == list(range(len(plan)))
    assert all(own == sorted(own) for own in places)
    assert sum(shard.quota for shard in shards) == 60
    assert all(shard.quota == sum(place < 60 for place in own) for shard, own in zip(shards, places, strict=True))
    faces = [{pair.path for pair in shard.pairs} for shard in shards]
    assert sum(map(len, faces)) == len(set.union(*faces))


@pytest.mark.parametrize(("assignment", "extent"), [("all", 37 * 5), ("random", 37), ("balanced", 37)])
def test_without_a_number_each_shard_tries_its_part_of_the_first_round(assignment: str, extent: int) -> None:
    plan = make_plan(PATHS, STYLES, assignment, 2)
    shards = [plan.shard(index, 3, None) for index in range(3)]
    assert all(shard.quota == len(shard.pairs) for shard in shards)
    assert sorted(pair.place for shard in shards for pair in shard.pairs) == list(range(extent))


def test_a_larger_number_extends_the_same_plan() -> None:
    plan = make_plan(PATHS, STYLES, "random", 2)
    few, many = plan.shard(0, 1, 10), plan.shard(0, 1, 1000)
    assert list(few.pairs) == list(many.pairs)
    assert (few.quota, many.quota) == (10, len(plan))


def test_pairs_behave_as_a_sequence() -> None:
    plan = make_plan(PATHS, STYLES, "all", 0)
    assert plan.pairs[0] == PlannedPair(0, plan.faces[0], STYLES[0]) == plan.pair(0)
    assert plan.pairs[-1].place == len(plan) - 1
    assert [pair.place for pair in plan.pairs[3:6]] == [3, 4, 5]
    with pytest.raises(IndexError):
        plan.pair(len(plan))
    with pytest.raises(IndexError):
        plan.pair(-1)


def test_names_that_are_not_utf8_have_a_place() -> None:
    plan = make_plan(["\udcbb.png", "a.png"], STYLES, "random", 0)
    assert {pair.path for pair in plan.pairs} == {"\udcbb.png", "a.png"}


def test_the_size_of_ffhq_keeps_memory_modest() -> None:
    plan = make_plan([f"{i // 1000 * 1000:05d}/{i:05d}.png" for i in range(70_000)], STYLES, "random", 0)
    assert len(plan) == 350_000 and plan.deal.nbytes <= 350_000 * 8
    assert plan.shard(3, 8, 4000).quota == 500


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="allowed are random, balanced, all"):
        make_plan(PATHS, STYLES, "none", 0)
    for paths, styles in (([], STYLES), (PATHS, []), (["a", "a"], STYLES), (PATHS, ["x", "x"])):
        with pytest.raises(ValueError, match="at least one path and one style"):
            make_plan(paths, styles, "all", 0)
