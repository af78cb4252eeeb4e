"""Conversations with agents on hosts: what carries them, and how they begin and end.

`host` holds a conversation over any stream of bytes, `lines` has the local streams,
`ssh` the remote ones (the only importer of paramiko), `bootstrap` ships the agent and
`opening` picks among them. No room above this one knows how a host is reached.
"""
