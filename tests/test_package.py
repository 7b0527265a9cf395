"""What library users import from the package itself."""

import subprocess
import sys

import stowkenfs


def test_every_name_of_the_package_is_there() -> None:
    assert stowkenfs.__all__ == sorted(stowkenfs._HOMES)
    for name in stowkenfs.__all__:
        assert getattr(stowkenfs, name).__name__ == name


def test_the_package_loads_nothing_until_it_is_asked() -> None:
    """``stowkenfs --help`` answers at once."""
    loaded = "import sys, stowkenfs; sys.exit('numpy' in sys.modules or 'trio' in sys.modules)"
    subprocess.run([sys.executable, "-c", loaded], check=True)
