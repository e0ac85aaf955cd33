"""`python -m differ` is the command `differ`."""

from differ.cli.main import main

if __name__ == "__main__":
    main()
