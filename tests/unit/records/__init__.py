"""Pure tests: no network, no processes, milliseconds each."""
