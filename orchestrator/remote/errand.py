"""Has the agent's code do one errand on a host, and leaves nothing of that code behind.

Its text goes over SSH, or to a child process, as an argument of `python3 -c`; what to do comes on standard input as one
line of JSON {errand, job, files}; another, after MARK, says what came of it (`agent/laying`).
"""

import importlib
import json
import os
import shutil
import sys
import tempfile

MARK = b"\n\x00mailmirror-install\x00 "


def do() -> None:
    os.umask(0o077)
    asked = json.loads(sys.stdin.readline())
    home = tempfile.mkdtemp(prefix="mailmirror-")
    try:
        package = os.path.join(home, "orchestrator", "agent")
        os.makedirs(package)
        for name in asked["files"]:
            with open(os.path.join(package, os.path.basename(name)), "w", encoding="utf-8") as file:
                file.write(asked["files"][name])
        sys.dont_write_bytecode = True
        sys.path.insert(0, home)
        said = importlib.import_module("orchestrator.agent.laying").main(asked)
    finally:
        shutil.rmtree(home)
    os.write(1, MARK + json.dumps(said).encode() + b"\n")


if __name__ == "__main__":
    do()
