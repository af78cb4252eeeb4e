"""One suite that every implementation of a store passes."""
