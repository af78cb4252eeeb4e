"""Primary to mirror: the life of a message (ARCHITECTURE.md).

Agents find the differences; this room relays, counts and judges.
"""
