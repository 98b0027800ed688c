"""The plan: every pair that a run can make, in order, known before the first is made.

It is a pure function of the relative paths, the style names, the way styles are assigned and the seed. The
randomness is taken from hashes, so that no version of Python or NumPy and no machine gives another plan.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

ASSIGNMENTS = ("random", "balanced", "all")


@dataclass(frozen=True, slots=True)
class PlannedPair:
    """One (face, style) to make; `place` is its number in the plan, and so in the file name."""

    place: int
    path: str
    style: str


class _Pairs(Sequence[PlannedPair]):
    """Some places of a plan, each turned into a `PlannedPair` only when it is asked for."""

    def __init__(self, plan: "Plan", places: Sequence[int] | np.ndarray) -> None:
        self._plan = plan
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> PlannedPair: ...
    @overload
    def __getitem__(self, index: slice) -> "_Pairs": ...
    def __getitem__(self, index: int | slice) -> "PlannedPair | _Pairs":
        if isinstance(index, slice):
            return _Pairs(self._plan, self._places[index])
        return self._plan.pair(int(self._places[index]))


@dataclass(frozen=True)
class ShardPlan:
    """What one shard has to do: finish `quota` of `pairs`, trying them in order."""

    pairs: Sequence[PlannedPair]
    quota: int


@dataclass(frozen=True, eq=False)
class Plan:
    """The seeded order over all (face, style) pairs, made by `make_plan`.

    Attributes:
        faces: relative paths in seeded order.
        styles: style names in the order of the style set.
        assignment: one of `ASSIGNMENTS`.
        deal: (faces, styles) indices of styles; row f lists the styles of face f in the order it gets them.
        fingerprint: 64 hex digits, equal exactly when the plans are.
    """

    faces: list[str]
    styles: list[str]
    assignment: str
    deal: np.ndarray
    fingerprint: str

    def __len__(self) -> int:
        return len(self.faces) * len(self.styles)

    @property
    def pairs(self) -> Sequence[PlannedPair]:
        """All pairs by place."""
        return _Pairs(self, range(len(self)))

    @property
    def first_round(self) -> int:
        """How many places a run covers when no number of pairs is asked for."""
        return len(self) if self.assignment == "all" else len(self.faces)

    def pair(self, place: int) -> PlannedPair:
        """Return the pair at `place`, 0 <= place < len(plan)."""
        if not 0 <= place < len(self):
            raise IndexError(f"place {place} is outside a plan of {len(self)} pairs")
        face, turn = self._face_and_turn(place)
        return PlannedPair(place, self.faces[face], self.styles[self.deal[face, turn]])

    def shard(self, index: int, count: int, num_pairs: int | None) -> ShardPlan:
        """Return the part of shard `index` of `count` in a run of `num_pairs` pairs.

        With a number of pairs the shard may go on beyond its first places, to replace rejected pairs; with
        None it tries each of its places of the first round once.
        """
        faces = np.arange(index, len(self.faces), count)
        turns = np.arange(len(self.styles))
        if self.assignment == "all":
            places = (faces[:, None] * len(turns) + turns).ravel()
        else:
            places = (turns[:, None] * len(self.faces) + faces).ravel()
        quota = int(np.searchsorted(places, self.first_round if num_pairs is None else num_pairs))
        return ShardPlan(_Pairs(self, places[:quota] if num_pairs is None else places), quota)

    def _face_and_turn(self, place: int) -> tuple[int, int]:
        if self.assignment == "all":
            return divmod(place, len(self.styles))
        turn, face = divmod(place, len(self.faces))
        return face, turn


def make_plan(paths: Sequence[str], styles: Sequence[str], assignment: str, seed: int) -> Plan:
    """Order all pairs of `paths` and `styles`.

    - "all": face by face in seeded order, the styles of a face next to each other in their own order.
    - "random": in rounds; in each every face gets one style more, drawn at random from those it lacks.
    - "balanced": in rounds too; after any number of pairs of a round the styles' counts differ by at most 1.

    The order of `paths` has no effect, that of `styles` has.
    """
    if assignment not in ASSIGNMENTS:
        raise ValueError(f"assignment is {assignment!r}, allowed are {', '.join(ASSIGNMENTS)}")
    if not paths or not styles or len(set(paths)) < len(paths) or len(set(styles)) < len(styles):
        raise ValueError("a plan needs at least one path and one style, and none of them twice")
    keys = _draw_keys(sorted(paths), len(styles), seed)
    order = np.argsort(keys[:, 0], kind="stable")
    faces = np.array(sorted(paths), dtype=object)[order].tolist()
    deal = _deal_styles(keys[order, 1:], assignment)
    return Plan(faces, list(styles), assignment, deal, _fingerprint(sorted(paths), styles, assignment, seed))


def _draw_keys(paths: Sequence[str], styles: int, seed: int) -> np.ndarray:
    """Draw random numbers, uint64 (paths, 1 + styles), that depend on the seed and the path alone."""
    prefix = hashlib.shake_256(f"plan {seed} ".encode())
    width = 8 * (1 + styles)
    digests = bytearray()
    for path in paths:
        stream = prefix.copy()
        stream.update(_encode_path(path))
        digests += stream.digest(width)
    return np.frombuffer(bytes(digests), dtype="<u8").reshape(len(paths), 1 + styles)


def _deal_styles(keys: np.ndarray, assignment: str) -> np.ndarray:
    """Turn keys (faces, styles) into indices of styles (faces, styles), every row a permutation."""
    faces, styles = keys.shape
    if assignment == "all":
        return np.broadcast_to(np.arange(styles), (faces, styles))
    permutations = np.argsort(keys, axis=1, kind="stable")
    if assignment == "random":
        return permutations
    # Faces sit at tables of as many as there are styles. Each table has one shuffled deck; in every round
    # its faces hold one card each, and pass it on to the next seat afterwards.
    face = np.arange(faces)
    table, seat = face - face % styles, face % styles
    return permutations[table[:, None], (seat[:, None] + np.arange(styles)) % styles]


def _fingerprint(paths: Sequence[str], styles: Sequence[str], assignment: str, seed: int) -> str:
    return hashlib.sha256(json.dumps([paths, list(styles), assignment, seed]).encode()).hexdigest()


def _encode_path(path: str) -> bytes:
    return path.encode("utf-8", "surrogatepass")  # names that are not UTF-8 reach us with lone surrogates
