"""The `centertrack` command: one file per verb (see `main`)."""
