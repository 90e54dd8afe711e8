"""`python -m bistill_hub` is the `bistill` command."""

from .cli import main

main(prog_name="bistill")
