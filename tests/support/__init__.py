"""Builders for the tests: a cached image of packages, power cuts, networks. Nothing here knows the product."""
