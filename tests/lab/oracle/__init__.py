"""The outside client, called the oracle: it uses a site as the world does, and knows what it was promised.

`python -m tests.lab.oracle --site site.json --seed N --seconds S --rate R --out verdict.json` sends, reads, changes and
probes for S seconds, reads everything once more and gives its verdict: a table, a JSON file, and exit code 1 when a
promise was broken. As a library: `run.Oracle`. `verdict.judge` is pure and can be fed by anybody.

Invariant: it knows the site only from outside (site.json), never from a host's files, and it needs nothing but Python's
standard library. It doesn't decide whether a loss was allowed: its caller knows which journeys may lose what.
"""
