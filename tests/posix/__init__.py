"""The rules of POSIX, through a real mount: what the well-known suites ask, in our own words."""
