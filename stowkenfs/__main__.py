"""``python -m stowkenfs``. Worker processes import this again, so importing does nothing."""

from stowkenfs.cli.main import main

if __name__ == "__main__":
    main()
