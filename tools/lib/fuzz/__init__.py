"""Fuzzing the decoders for longer than tests do; what they are is in tests/fuzz."""
