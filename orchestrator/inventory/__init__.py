"""What the operator wrote down: which hosts make a pair, where their stores lie, how they are to be kept.

`load.load(path)` reads inventory.yaml whole or not at all: it raises one error with every problem and its
place, or returns an `Inventory` that obeys every law. Importing this package alone is cheap (no YAML, no
pydantic), so that a command that only asks the daemon pays for neither: `find` tells which file is meant.
This room opens no connection and looks up no name.
"""

from orchestrator.inventory.find import fingerprint, locate
from orchestrator.inventory.model import DeleteBudget, Host, Inventory, Pair, Store

__all__ = ["DeleteBudget", "Host", "Inventory", "Pair", "Store", "fingerprint", "locate"]
