"""The amplifier: pictures of faces in, pairs out."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, overload

from PIL import Image

from dda.api.pair import Pair
from dda.api.pictures import PictureLike, PictureList, as_list, is_single
from dda.errors import OptionError, SourceError
from dda.faces.parsing.options import FaRLOptions, MeshOptions
from dda.faces.parsing.parser import FaceParser
from dda.faces.preparation import prepare_faces
from dda.models.painting import Strength
from dda.models.pretrained import model_options
from dda.models.residual_pipeline import ResidualPipeline
from dda.options import STRENGTH, check_limit, one_of
from dda.pairs.generator import PairGenerator, PairOutcome
from dda.pairs.plan import PlannedPair
from dda.regions import REGIONS
from dda.styles import Style, make_style
from dda.system.device import pick_device

StyleLike = str | Mapping[str, str]
"""A style by its name, or a mapping of regions to the styles worn there; regions that it leaves out stay bare."""

PARSERS = {"mesh": MeshOptions, "farl": FaRLOptions}


class Amplifier:
    """Paints makeup onto faces, and returns each as a pair of the bare and the made-up face.

    Args:
        pipeline: the model.
        parser: finds faces and their regions.
        styles: names of the styles that the model was trained on; None: it takes any style, as a prompt.
        batch_size: faces, and pairs, in one pass of the model. A pass is padded to it, so that a pair's pixels do not
            depend on its neighbors; between batch sizes single values differ by one gray level at most.
        workers: threads that decode and parse beside the model.

    Example:
        >>> import dda
        >>> from skimage import data
        >>> amplifier = dda.Amplifier.from_pretrained(batch_size=1)
        >>> pair = amplifier(data.astronaut(), style="Smokey eyes", strength={"eyes": 1.2, "lips": 0})
        >>> pair.target.size
        (512, 512)
        >>> [pair.style for pair in amplifier([data.astronaut()], style=["Natural makeup", "Red lip makeup"])]
        ['Natural makeup', 'Red lip makeup']
    """

    def __init__(
        self,
        pipeline: ResidualPipeline[Any],
        parser: FaceParser[Any],
        styles: Sequence[str] | None,
        batch_size: int = 8,
        workers: int = 2,
    ) -> None:
        self.pipeline = pipeline
        self.parser = parser
        self.styles = None if styles is None else list(styles)
        self.batch_size = batch_size
        self.workers = workers

    @classmethod
    def from_pretrained(
        cls,
        path_or_hub_id: str | Path | None = None,
        *,
        device: str = "auto",
        parser: str = "mesh",
        batch_size: int = 8,
        workers: int = 2,
        **options: Any,
    ) -> Self:
        """Load an amplifier.

        Args:
            path_or_hub_id: None: the weights that come with the package; a checkpoint folder that `run_train.py` wrote
                (of the compact model or of Stable Diffusion), on disk or on the hub; or a Stable Diffusion base model
                (a folder in diffusers' form or a hub id), with ``checkpoint=`` for what adapts it.
            device: auto (a GPU where there is one) | cpu | cuda | cuda:N | mps.
            parser: mesh (MediaPipe's face mesh; comes with the package) | farl (through facer; downloads weights).
            batch_size, workers: as for the class.
            options: options of the model, such as ``steps=4`` (:class:`dda.models.compact.options.CompactOptions`,
                :class:`dda.models.stable_diffusion.options.StableDiffusionOptions`).

        Raises:
            OptionError: there is no such model, it is damaged or cannot be downloaded, or an option does not fit.
        """
        check_limit("parser", parser, one_of(*PARSERS))
        model = model_options(path_or_hub_id, options)
        where = pick_device(device)
        styles = model.styles()
        return cls(model.open(where), PARSERS[parser]().open(where), styles, batch_size, workers)

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a str is a sequence of str too
        self,
        images: PictureLike,
        style: StyleLike,
        *,
        strength: float | Mapping[str, float] = ...,
        seed: int = ...,
        align: str = ...,
        faces: str = ...,
    ) -> Pair: ...

    @overload
    def __call__(
        self,
        images: PictureLike | Sequence[PictureLike],
        style: StyleLike | Sequence[StyleLike],
        *,
        strength: float | Mapping[str, float] = ...,
        seed: int = ...,
        align: str = ...,
        faces: str = ...,
        return_errors: bool = ...,
    ) -> "AmplifiedPairs": ...

    def __call__(
        self,
        images: PictureLike | Sequence[PictureLike],
        style: StyleLike | Sequence[StyleLike],
        *,
        strength: float | Mapping[str, float] = 1.0,
        seed: int = 0,
        align: str = "ffhq",
        faces: str = "largest",
        return_errors: bool = False,
    ) -> "Pair | AmplifiedPairs":
        """Paint a picture in a style; or several, in one or several styles.

        Args:
            images: a picture (a path, a PIL image, a uint8 array (H, W, 3) RGB, or a tensor (3, H, W) of uint8 or of
                floats in [0, 1]), or a sequence, array or tensor of them.
            style: a style, as a name or as a mapping of regions to names, or a sequence of them, which share all work
                that does not depend on the style.
            strength: 0 nothing, 1 as trained, for all regions or by region; a region that is left out has 1.
            seed: root seed of the noise.
            align: ffhq: crop and turn by landmarks as FFHQ does | none: the middle square, resized to 512.
            faces: of several in a picture: largest | reject (the picture).
            return_errors: of several pictures, return the SourceError of one that cannot be used in its place,
                instead of raising it.

        Returns:
            one pair for one picture in one style; otherwise an iterable of pairs with a length, picture by picture and
            style by style, which paints while it is iterated over.

        Raises:
            SourceError: the picture cannot be used, with the stage and the reason.
            OptionError: an unknown style, or a value that is not allowed.
        """
        is_one = is_single(images) and isinstance(style, str | Mapping)
        pairs = AmplifiedPairs(
            self,
            PictureList(as_list(images), aligned=align == "none"),
            [style] if isinstance(style, str | Mapping) else list(style),
            _as_strength(strength),
            seed,
            faces,
            return_errors,
        )
        check_limit("align", align, one_of("ffhq", "none"))
        check_limit("faces", faces, one_of("largest", "reject"))
        if not is_one:
            return pairs
        (pair,) = pairs
        assert isinstance(pair, Pair)  # an error is raised
        return pair

    def resolve_style(self, style: StyleLike) -> Style:
        """Return a style as the model paints it.

        Raises:
            OptionError: the model was not trained on it, or there is no such region.
        """
        if isinstance(style, str):
            resolved = make_style(style)
        else:
            if unknown := sorted(set(style) - set(REGIONS)):
                raise OptionError("style", f"there is no region {unknown[0]}; allowed: {', '.join(REGIONS)}")
            if not style:
                raise OptionError("style", "must name a style for at least one region")
            name = ", ".join(f"{region}: {style[region]}" for region in REGIONS if region in style)
            worn = dict.fromkeys(REGIONS, next(iter(style.values()))) | dict(style)
            resolved = make_style(name, worn, {region: 0.0 for region in REGIONS if region not in style})
        for painted in resolved.regions.values():
            if self.styles is not None and painted not in self.styles:
                raise OptionError("style", f"must be one of {', '.join(self.styles)}", painted)
        self.pipeline.check_styles([resolved])
        return resolved


class AmplifiedPairs:
    """The pairs of several pictures or styles: an iterable with a length, which paints while it is iterated over."""

    def __init__(
        self,
        amplifier: Amplifier,
        pictures: PictureList,
        styles: Sequence[StyleLike],
        strength: Strength,
        seed: int,
        faces: str,
        return_errors: bool,
    ) -> None:
        self._amplifier = amplifier
        self._pictures = pictures
        self._styles = styles
        self._resolved = [amplifier.resolve_style(style) for style in styles]
        self._strength = strength
        self._seed = seed
        self._faces = faces
        self._return_errors = return_errors

    def __len__(self) -> int:
        return len(self._pictures) * len(self._styles)

    def __iter__(self) -> Iterator[Pair | SourceError]:
        amplifier = self._amplifier
        names = [str(number) for number in range(len(self._styles))]
        plan = [
            PlannedPair(place, path, name)
            for place, (path, name) in enumerate((path, name) for path in self._pictures.paths for name in names)
        ]
        generator = PairGenerator(
            plan,
            None,
            functools.partial(prepare_faces, self._pictures, parser=amplifier.parser, faces=self._faces),
            amplifier.pipeline,
            dict(zip(names, self._resolved, strict=True)),
            self._strength,
            amplifier.batch_size,
            self._seed,
            amplifier.workers,
        )
        for outcome in generator:
            result = self._result(outcome)
            if isinstance(result, SourceError) and not self._return_errors:
                raise result
            yield result

    def _result(self, outcome: PairOutcome) -> Pair | SourceError:
        if outcome.face is None or outcome.target is None:
            row = outcome.row
            return SourceError(row.status, row.stage, row.reason)
        masks = {region: outcome.face.regions[region] for region in REGIONS}
        return Pair(
            Image.fromarray(outcome.face.source),
            Image.fromarray(outcome.target),
            masks,
            self._styles[int(outcome.row.style)],
            outcome.face.content_hash,
        )


def _as_strength(strength: float | Mapping[str, float]) -> Strength:
    """Return the strength of a run, from a number or a mapping by region."""
    if isinstance(strength, Mapping):
        if unknown := sorted(set(strength) - set(REGIONS)):
            raise OptionError("strength", f"there is no region {unknown[0]}; allowed: {', '.join(REGIONS)}")
        regions = {region: float(strength.get(region, 1.0)) for region in REGIONS}
        makeup = 1.0
    else:
        regions, makeup = dict.fromkeys(REGIONS, 1.0), float(strength)
    for value in (makeup, *regions.values()):
        check_limit("strength", value, STRENGTH)
    return Strength(makeup, 1.0, regions)
