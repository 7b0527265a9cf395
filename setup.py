"""The compiled part of stowkenfs; pyproject.toml has all else.

It is optional: where there is no compiler nothing is compiled, and stowkenfs runs all the
same, slower. setuptools does read extensions from pyproject.toml, and says not to rely on it.
"""

from pathlib import Path

from setuptools import Extension, setup

SOURCES = Path("stowkenfs/csrc")  # must be relative

setup(
    ext_modules=[
        Extension(
            "stowkenfs._kernels",
            sources=sorted(map(str, SOURCES.glob("*.c"))),
            depends=sorted(map(str, SOURCES.glob("*.h"))),
            extra_compile_args=["-std=c11", "-O3", "-fvisibility=hidden"],
            optional=True,
        ),
        Extension(
            "stowkenfs.fs._session",
            sources=["stowkenfs/fs/csrc/session.c"],
            extra_compile_args=["-std=c11", "-O2", "-fvisibility=hidden"],
            libraries=["dl"],  # a part of libc since glibc 2.34
            optional=True,
        ),
    ]
)
