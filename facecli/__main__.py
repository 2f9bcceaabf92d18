"""`python -m facecli` is the same as `facecli`."""

from facecli.cli import main

if __name__ == "__main__":
    main()
