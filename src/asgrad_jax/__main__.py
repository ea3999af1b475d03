"""`python -m asgrad_jax`: the command line, where its script is not on the path."""

from asgrad_jax.cli.cli import main

if __name__ == "__main__":
    main()
