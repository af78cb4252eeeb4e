"""Making sure that a place can't be active, and proving it: a fence is proven before a promotion, never assumed.

`proof` says what counts (pure), `device` and `program` drive fence devices, `levels` cuts a host off by all that it
has, `attest` takes an operator's word. Nothing here decides that a host is to be fenced, and nothing promotes.
"""
