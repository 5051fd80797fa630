"""``python -m recsys_cli`` is ``recsys``."""

from recsys_cli.cli.main import main

main()
