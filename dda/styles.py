"""Styles: the looks a run paints, each made of a checkpoint's styles, one a region."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from dda.errors import UserError
from dda.regions import REGIONS


@dataclass(frozen=True)
class Style:
    """A look. Both mappings hold every region of `REGIONS`."""

    name: str
    regions: Mapping[str, str]  # region -> the checkpoint's style painted there
    strength: Mapping[str, float]  # region -> s_{style,r}: 0 nothing, 1 as trained


def resolve_styles(style_set: Mapping[str, Any], checkpoint_styles: Sequence[str] | None) -> list[Style]:
    """The styles of `style_set` (`cfg.style_set`), in its order; an empty set means all the checkpoint's.

    Args:
        style_set: the looks asked for.
        checkpoint_styles: those the checkpoint was trained on; None: it takes any, in words.

    Raises:
        UserError: a style that the checkpoint was not trained on, two styles of one name, or none at all.
    """
    entries = style_set["styles"]
    if not entries:
        if checkpoint_styles is None:
            raise UserError(
                "style_set=checkpoint: model.checkpoint does not say which styles it was trained on; "
                "choose another style_set, such as style_set=all"
            )
        return [_make_style(f"checkpoint.{name}", {"name": name}, checkpoint_styles) for name in checkpoint_styles]
    styles = [_make_style(slug, entry, checkpoint_styles) for slug, entry in entries.items()]
    names = [style.name for style in styles]
    for slug, name in zip(entries, names, strict=True):
        if names.count(name) > 1:
            raise UserError(f"style_set.styles.{slug}.name={name}: two styles have this name; rename one of them")
    return styles


def _make_style(slug: str, entry: Mapping[str, Any], checkpoint_styles: Sequence[str] | None) -> Style:
    base = entry.get("base") or entry["name"]
    mixed = entry.get("regions") or {}
    strength = entry.get("strength") or {}
    regions = {region: mixed.get(region) or base for region in REGIONS}
    for region, painted in regions.items():
        if checkpoint_styles is not None and painted not in checkpoint_styles:
            key = f"regions.{region}" if mixed.get(region) else "base" if entry.get("base") else "name"
            raise UserError(
                f"style_set.styles.{slug}.{key}={painted}: to paint the {region} the checkpoint must have "
                f"this style; it has: {', '.join(checkpoint_styles)}"
            )
    return Style(
        name=entry["name"],
        regions=MappingProxyType(regions),
        strength=MappingProxyType({region: float(strength.get(region, 1.0)) for region in REGIONS}),
    )
