"""Is a host well? What observers saw of it, and what follows from that."""
