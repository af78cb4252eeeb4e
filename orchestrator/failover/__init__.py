"""The journeys: what is done in which order, and how far it has come."""
