"""The compiled part that speaks while libfuse agrees with the kernel."""

import shutil
import sysconfig
from pathlib import Path

import pytest

from stowkenfs.errors import BadRequest
from stowkenfs.fs import agreement
from stowkenfs.fs.options import MountOptions


def test_compiled_where_it_can_be() -> None:
    has_headers = Path(sysconfig.get_path("include"), "Python.h").exists()
    if shutil.which("gcc") and has_headers:
        assert agreement._session is not None


def test_it_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "MODULE", "stowkenfs.fs._missing")
    assert agreement._load() is None
    monkeypatch.setattr(agreement, "_session", None)
    agreement.keep_pages()


def test_the_option() -> None:
    assert MountOptions.parse("").keep_pages
    assert MountOptions.parse("invalidate=explicit").keep_pages
    assert not MountOptions.parse("invalidate=auto").keep_pages
    with pytest.raises(BadRequest, match="explicit or auto"):
        MountOptions.parse("invalidate=never")
