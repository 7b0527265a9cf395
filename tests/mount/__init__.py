"""A real mount, used as anybody would."""
