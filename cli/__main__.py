"""``python -m skelkit.cli``: the `skelkit` command where only a Python is at hand."""

from . import main

main()
