"""The check of layers: of this tree, and of trees that are not as they should be."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tools"))

import check_layers  # noqa: E402 - a program of the tree, not of the package


@pytest.fixture
def tree(tmp_path):
    """The smallest tree of these layers."""
    for names in check_layers.C_LAYERS:
        for name in names.split():
            (tmp_path / "csrc" / name).mkdir(parents=True)
            (tmp_path / "csrc" / name / f"{name}.c").touch()
    package = tmp_path / "python" / "filar"
    package.mkdir(parents=True)
    for names in check_layers.PYTHON_LAYERS:
        for name in names.split():
            (package / f"{name}.py").touch()
    shown = [" | ".join(check_layers.C_LAYERS), " | ".join(check_layers.PYTHON_LAYERS)]
    (tmp_path / "ARCHITECTURE.md").write_text("\n".join(["```", *(f"{one}   folder/" for one in shown), "```"]))
    return tmp_path


def said_of(tree, capsys):
    failed = check_layers.main(["check_layers.py", str(tree)])
    told = capsys.readouterr().out
    assert bool(failed) == (told != "layers: every include points down\n")
    return told


def test_this_tree_has_the_layers_it_says(capsys):
    assert "every include points down" in said_of(ROOT, capsys)


def test_the_smallest_tree_is_right(tree, capsys):
    assert "every include points down" in said_of(tree, capsys)


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("csrc/os/os.c", '#include "sched/sched.h"', "os includes from sched, which is not below it"),
        ("csrc/extra/extra.c", "", "extra is in no list"),
        ("python/filar/green.py", "from filar.lab import run", "green includes from lab"),
        ("python/filar/green.py", "    from filar import errors, lab", "green includes from lab"),
        ("python/filar/green.py", "from filar import (\n    lab,\n)", "green includes from lab"),
        ("python/filar/green.py", "import filar._filar", "only _lib.py imports the extension module"),
        ("python/filar/extra.py", "", "extra is in no list"),
        ("ARCHITECTURE.md", "```\nbase | arch   csrc/\n```", "ARCHITECTURE.md: does not show the layers as base"),
    ],
)
def test_what_is_wrong_is_named(tree, capsys, file, text, told):
    (tree / file).parent.mkdir(exist_ok=True)
    (tree / file).write_text(text)
    assert told in said_of(tree, capsys)


@pytest.mark.parametrize(("file", "name"), [("csrc/pool/pool.c", "pool"), ("python/filar/waiting.py", "waiting")])
def test_a_layer_that_is_not_there_is_named(tree, capsys, file, name):
    (tree / file).unlink()
    assert f"has no {name}" in said_of(tree, capsys)
