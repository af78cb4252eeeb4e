"""Random histories and random input, judged by what must always hold."""
