"""A page of the docs that is followed on the lab's hosts, by the comment that says where a command is typed."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.support.image import CHECKOUT


class Guide:
    """`table`: the page's addresses and names, and the lab's."""

    def __init__(self, page: str, table: Mapping[str, str]) -> None:
        self.text = (CHECKOUT / page).read_text(encoding="utf-8")
        self._table = table
        self._known = re.compile("|".join(re.escape(each) for each in sorted(table, key=len, reverse=True)))

    def here(self, text: str) -> str:
        return self._known.sub(lambda match: self._table[match[0]], text)

    def blocks(self, where: str) -> list[str]:
        """The commands below comments such as `# on mail1`, in their order."""
        return [self.here(each) for each in self._found("sh", rf"# {re.escape(where)}\n")]

    def files(self, kind: str) -> list[str]:
        """The blocks of another kind."""
        return [self.here(each) for each in self._found(kind, "")]

    def places(self) -> list[str]:
        """Every comment that says where a block is typed."""
        return re.findall(r"^```sh\n# (.*)$", self.text, re.MULTILINE)

    def _found(self, kind: str, head: str) -> list[str]:
        return re.findall(rf"^```{kind}\n{head}(.*?)^```", self.text, re.MULTILINE | re.DOTALL)
