"""What the controller keeps on its own disk: who holds a pair, how each stood last, who ordered
what, and which fence device answered when.

Nothing here knows mail; every file lies in the pair's `mm_state_dir`.
"""
