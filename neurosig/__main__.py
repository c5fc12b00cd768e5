"""``python -m neurosig`` is the command line."""

from neurosig.cli.app import main

if __name__ == "__main__":
    main()
