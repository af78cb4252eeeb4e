"""How the running daemon is asked: the desk that answers, the control socket, the metrics."""
