"""Alerts to people: which conditions hold, what is told of them and when, and the ways that reach somebody."""
