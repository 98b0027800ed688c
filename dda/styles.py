"""Styles: the looks a run paints, each made of a checkpoint's styles, one in each region."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from dda.errors import OptionError
from dda.options import STRENGTH, option
from dda.regions import REGIONS

OWN_STRENGTHS = {
    "Smokey eyes": {"lips": 0.5},  # nude: at full strength it turns a lipstick that the face wears olive
}
"""s_{style,r} of the named styles where it is not 1, by style and region."""


@dataclass(frozen=True)
class Style:
    """A look.

    Attributes:
        name: what it is called in rows and figures.
        regions: the checkpoint's style painted in each region of `REGIONS`.
        strength: s_{style,r} of each region: 0 nothing, 1 as trained.
    """

    name: str
    regions: Mapping[str, str]
    strength: Mapping[str, float]


def make_style(
    name: str, regions: Mapping[str, str] | None = None, strength: Mapping[str, float | None] | None = None
) -> Style:
    """Make a look of one style, or of others in some regions.

    Args:
        name: name of the look, and of the style of every region that ``regions`` leaves out.
        regions: other styles by region.
        strength: s_{style,r} by region; where it is left out or None, the style's own (`OWN_STRENGTHS`).
    """
    regions, strength = regions or {}, strength or {}
    painted = {region: regions.get(region) or name for region in REGIONS}
    own = {region: OWN_STRENGTHS.get(style, {}).get(region, 1.0) for region, style in painted.items()}
    given = {region: value for region, value in strength.items() if value is not None}
    return Style(name, MappingProxyType(painted), MappingProxyType(own | given))


@dataclass(kw_only=True)
class RegionStyles:
    """The checkpoint's style of each region; null: the look's base."""

    eyes: str | None = option("Style of the eyes; null: the look's base.", None)
    lips: str | None = option("Style of the lips; null: the look's base.", None)
    skin: str | None = option("Style of the skin; null: the look's base.", None)
    brows: str | None = option("Style of the brows; null: the look's base.", None)


@dataclass(kw_only=True)
class RegionStrengths:
    """The look's strength in each region; null: the style's own."""

    eyes: float | None = option("Strength of the eyes; null: the style's own.", None, limit=STRENGTH)
    lips: float | None = option("Strength of the lips; null: the style's own.", None, limit=STRENGTH)
    skin: float | None = option("Strength of the skin; null: the style's own.", None, limit=STRENGTH)
    brows: float | None = option("Strength of the brows; null: the style's own.", None, limit=STRENGTH)


@dataclass(kw_only=True)
class StyleOptions:
    """One look of a style set."""

    name: str = option("Name of the look.")
    base: str | None = option("The checkpoint's style it is made of; null: the one of the look's name.", None)
    regions: RegionStyles = field(default_factory=RegionStyles)
    strength: RegionStrengths = field(default_factory=RegionStrengths)


def resolve_styles(looks: Mapping[str, StyleOptions], checkpoint_styles: Sequence[str] | None) -> list[Style]:
    """Return the looks in their order; without any, all styles of the checkpoint.

    Args:
        looks: the looks asked for, by a short name.
        checkpoint_styles: the styles the checkpoint was trained on; None: it takes any style, as a prompt.

    Raises:
        OptionError: a style that the checkpoint was not trained on, two looks of one name, or no style at all.
    """
    if not looks:
        if checkpoint_styles is None:
            raise OptionError(
                "styles",
                "must be given: the checkpoint does not say which styles it was trained on; choose another style_set, "
                "such as style_set=all",
            )
        return [make_style(name) for name in checkpoint_styles]
    names = [look.name for look in looks.values()]
    for key, look in looks.items():
        _check_known(key, look, checkpoint_styles)
        if names.count(look.name) > 1:
            raise OptionError(f"styles.{key}.name", "two styles have this name; rename one of them", look.name)
    return [_resolve(look) for look in looks.values()]


def _resolve(look: StyleOptions) -> Style:
    base = look.base or look.name
    regions = {region: getattr(look.regions, region) or base for region in REGIONS}
    return make_style(look.name, regions, {region: getattr(look.strength, region) for region in REGIONS})


def _check_known(key: str, look: StyleOptions, checkpoint_styles: Sequence[str] | None) -> None:
    for region in REGIONS:
        own = getattr(look.regions, region)
        style = own or look.base or look.name
        if checkpoint_styles is not None and style not in checkpoint_styles:
            option_name = f"regions.{region}" if own else "base" if look.base else "name"
            raise OptionError(
                f"styles.{key}.{option_name}",
                f"to paint the {region} the checkpoint must have this style; it has: {', '.join(checkpoint_styles)}",
                style,
            )
