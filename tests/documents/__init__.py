"""Tests of stowkenfs.documents."""
