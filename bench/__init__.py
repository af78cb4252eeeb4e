"""The benchmark behind `make bench`: mailmirror and its peers on the same tree, over a real sshd.

`python -m bench --help` tells the options; docs/bench.md tells what is measured and why it is arranged so. The package
is no part of what is installed: it drives the product only through its command line and an inventory file.
"""
