"""Builds the extension module `filar._filar` from csrc/ with cffi (API mode).

The declarations are the marked blocks of the C headers themselves, so there is nothing to keep in step. Paths
are relative to the project's root, where setuptools runs this file.
"""

import os
import re
import shlex
import subprocess
import sysconfig
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


def build_flags() -> str:
    """The flags that change the code, Python's own first; without warnings, and without paths of this machine."""
    everything = shlex.split(f"{sysconfig.get_config_var('CFLAGS') or ''} {os.environ.get('CFLAGS', '')}")
    kept = [
        flag
        for flag in [*everything, *COMPILE_FLAGS]
        if re.match(r"-(O|f|m|g|std|D)", flag) and not re.search(r"[/\"\\]", flag)
    ]
    return " ".join(dict.fromkeys(kept))


def commit() -> str:
    """The commit that is built, with "+" if files of it were changed; "" outside a git clone of this project."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        # An sdist that is unpacked inside somebody else's clone is not at that clone's commit.
        if Path(git("rev-parse", "--show-toplevel")).resolve() != Path.cwd().resolve():
            return ""
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def version() -> str:
    """The version that pyproject.toml states."""
    found = re.search(r'^version = "([^"]+)"', Path("pyproject.toml").read_text(), re.MULTILINE)
    return found.group(1) if found else ""


# cffi keeps the errno of C calls in a place of its own for each kernel thread; green threads that take turns on
# one must not see each other's. Only this generated file can reach it.
ERRNO = """
static void restore_errno(void) { _cffi_restore_errno(); }
static void save_errno(void) { _cffi_save_errno(); }
__attribute__((constructor)) static void offer_errno(void)
{
	border_set_errno_functions(restore_errno, save_errno);
}
"""

# cffi says of each module of its making that it needs no GIL. Locks, queues and channels (csrc/py) need it: on a
# free-threaded build the interpreter switches it on when it imports the module, and says so. PyInit__filar() follows.
GIL = """
#ifdef Py_GIL_DISABLED
static PyObject *init_with_gil(const char *name, Py_ssize_t version, const struct _cffi_type_context_s *context)
{
	PyObject *module = _cffi_init(name, version, context);

	if (module != NULL && PyUnstable_Module_SetGIL(module, Py_MOD_GIL_USED) < 0)
		Py_CLEAR(module);
	return module;
}
#define _cffi_init init_with_gil
#endif
"""

ffibuilder = FFI()
for header in HEADERS:
    ffibuilder.cdef(declarations(header))
ffibuilder.set_source(
    "filar._filar",
    "\n".join(
        f'#include "{Path(header).relative_to("csrc").as_posix().removeprefix("include/")}"' for header in HEADERS
    )
    + ERRNO
    + GIL,
    sources=sorted(path.as_posix() for pattern in ("*/*.c", "*/*.S") for path in Path("csrc").glob(pattern)),
    depends=sorted(path.as_posix() for path in Path("csrc").glob("*/*.h")),
    include_dirs=["csrc", "csrc/include"],
    define_macros=[
        ("_GNU_SOURCE", None),
        ("FILAR_BUILD_VERSION", f'"{version()}"'),
        ("FILAR_BUILD_FLAGS", f'"{build_flags()}"'),
        ("FILAR_BUILD_COMMIT", f'"{commit()}"'),
    ],
    extra_compile_args=COMPILE_FLAGS,
    extra_link_args=["-pthread"],
    libraries=["m", "dl"],
    # The border needs thread-state fields that the limited API hides; ARCHITECTURE.md, "Wheels".
    py_limited_api=False,
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
