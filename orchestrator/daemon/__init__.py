"""The daemon: every pair attended to, the desk open, metrics served, until it is told to stop.

follower    a pair's thread: lock, connect, follow, begin again
order       work for that thread, and its result
watching    a pair's health: verdicts into log and history, the deletion permit told at once
connecting  from a pair of the inventory to a connected session
timer       reminds of audits and verifications (the only importer of APScheduler)
logs        one sentence a line
service     builds all of it, ticks, obeys signals
"""
