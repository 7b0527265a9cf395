"""Pure bytes to records and back: no I/O, no clock, no store."""
