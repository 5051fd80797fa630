"""How the contract suites open each backend: one file each, with its fixtures."""
