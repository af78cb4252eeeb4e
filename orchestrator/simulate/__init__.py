"""A pair in virtual time: the real guards, conductor, steps and journal, on hosts and a network that a seed breaks."""
