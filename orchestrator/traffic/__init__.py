"""Where the users are sent: names and addresses that follow the active place."""
