"""The journeys: switchover, failover, rejoin and failback, decided purely and carried out step by step."""
