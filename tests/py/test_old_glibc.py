"""What a library asks of glibc that an older one lacks."""

import old_glibc

HAD = [("sem_wait", (2, 34)), ("sem_wait", (2, 2, 5)), ("gettid", (2, 30)), ("log", (2, 29)), ("log", (2, 2, 5))]


def test_only_what_has_no_old_version_is_missing():
    asked = [("sem_wait", (2, 34)), ("gettid", (2, 30)), ("log", (2, 29)), ("of_another_library", (1, 0))]
    assert old_glibc.missing(asked, HAD, (2, 28)) == ["gettid (2.30)"]
    assert old_glibc.missing(asked, HAD, (2, 30)) == []
    assert old_glibc.missing([], HAD, (2, 28)) == []


def test_the_c_library_of_this_machine_is_read():
    libraries = old_glibc.c_libraries()
    names = {name for path in libraries for name, _ in old_glibc.versions(path, "--defined-only")}
    assert not libraries or {"malloc", "log"} <= names
