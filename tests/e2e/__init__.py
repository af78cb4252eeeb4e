"""The product against real sshd and real Dovecot."""
