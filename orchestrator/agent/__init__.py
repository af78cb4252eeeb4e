"""The part of mailmirror that runs on mail hosts.

It ships alone: standard library only, Python 3.9 or newer, importing nothing of the
house. The controller sends this folder over SSH, or finds it installed, and both
greet one another with the two versions below before anything else is said.
"""

VERSION = "0.1.0"
PROTOCOL = 2
"""Raised with every change that an older peer would misunderstand."""
