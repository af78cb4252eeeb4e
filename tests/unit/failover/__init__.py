"""The journeys' own parts: playbooks, what comes next, and the conductor."""
