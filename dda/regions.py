"""The regions of a face that makeup is applied to, in the order of every mask, weight and strength."""

REGIONS = ("eyes", "lips", "skin", "brows")
