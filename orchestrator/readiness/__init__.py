"""Could the users be moved, now, without a person? What has to be so for that, asked of every host, and judged.

`gather` asks, with an end to every wait; `facts` is what came of it; `checks` judges it (pure), by `serving`,
`machines`, `copying` and `moving`. Nothing here moves anybody, and asking changes nothing.
"""
