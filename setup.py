"""Builds the extension module; everything that can be said as data is said in pyproject.toml."""

from setuptools import setup
from setuptools.command.build_ext import build_ext


class BuildExtWithAssembly(build_ext):
    """setuptools knows no `.S`; the C compiler driver does (STYLE: assembly stays in csrc/arch)."""

    def build_extensions(self) -> None:
        """Builds as ever, with one more kind of source."""
        self.compiler.src_extensions.append(".S")
        super().build_extensions()


setup(
    cffi_modules=["python/filar/_ffi_build.py:ffibuilder"],
    cmdclass={"build_ext": BuildExtWithAssembly},
)
