"""Builds the extension module `filar._filar` from csrc/ with cffi (API mode).

The declarations are the marked blocks of the C headers themselves, so there is nothing to keep in step. Paths
are relative to the project's root, where setuptools runs this file.
"""

import re
from pathlib import Path

from cffi import FFI

HEADERS = ["csrc/include/filar.h", "csrc/py/border.h"]
COMPILE_FLAGS = [
    "-std=gnu11",
    "-O2",
    "-fvisibility=hidden",
    # One thread-local pointer, never through __tls_get_addr: STYLE 3.1, csrc/base/self.h.
    "-ftls-model=initial-exec",
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
    "-Wno-missing-field-initializers",
    "-Wno-cast-function-type",
]


def declarations(header: str) -> str:
    """The part of a header between `cffi: begin` and `cffi: end`."""
    found = re.search(r"/\* cffi: begin \*/(.*)/\* cffi: end \*/", Path(header).read_text(), re.DOTALL)
    if found is None:
        raise RuntimeError(f"{header} has no cffi block")
    return found.group(1)


ffibuilder = FFI()
for header in HEADERS:
    ffibuilder.cdef(declarations(header))
ffibuilder.set_source(
    "filar._filar",
    "\n".join(
        f'#include "{Path(header).relative_to("csrc").as_posix().removeprefix("include/")}"' for header in HEADERS
    ),
    sources=sorted(path.as_posix() for pattern in ("*/*.c", "*/*.S") for path in Path("csrc").glob(pattern)),
    depends=sorted(path.as_posix() for path in Path("csrc").glob("*/*.h")),
    include_dirs=["csrc", "csrc/include"],
    define_macros=[("_GNU_SOURCE", None)],
    extra_compile_args=COMPILE_FLAGS,
    extra_link_args=["-pthread"],
    libraries=["m", "dl"],
    # The border needs thread-state fields that the limited API hides; ARCHITECTURE.md, "Wheels".
    py_limited_api=False,
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
