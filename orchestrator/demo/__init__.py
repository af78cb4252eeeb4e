"""The embedded site: two mail hosts on loopback, mail that arrives, and the product that mirrors it.

Everything here is real but small: an SSH server (paramiko's server side), an SMTP front (aiosmtpd), a name server and
Maildirs as a mail server writes them, each host in a directory of its own, with no system package needed.

Invariant: the product is driven only through its command line and the inventory that the site writes; this room
imports nothing of the house but `errors`. So what the demo shows is what an operator gets. One module is excepted until
a verb does what it does: `flip` moves the name of the service by calling `traffic`.
"""
