"""Runs the notebooks of the course in quick mode and keeps their outputs, as the site and the repository show them.

Usage: python tools/course.py [NAME ...]     names, or parts of names, of notebooks; all without any

What changes with every run and tells nobody anything is not kept: times of cells, counters, controls that only a live
notebook can draw, the text beside a picture. A notebook that fails is left as it was, and named.
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
SECONDS_MAX = 300
LIVE = "application/vnd.jupyter.widget-view+json"


def executed(path):
    """The notebook with fresh outputs."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=SECONDS_MAX, resources={"metadata": {"path": str(path.parent)}})
    client.store_widget_state = False
    client.execute(env={**os.environ, "FILAR_LAB_QUICK": "1"})
    return kept(notebook)


def kept(notebook):
    """Without what is of this run only."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    number = 0
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type != "code":
            continue
        number += 1
        cell.execution_count = number
        cell.outputs = [one for one in map(tidied, cell.outputs) if one is not None]
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
    return notebook


def tidied(output):
    """An output as it is kept; None for controls and for what went to stderr."""
    data = output.get("data", {})
    if LIVE in data or output.get("name") == "stderr":
        return None
    if "image/svg+xml" in data or "text/html" in data:
        data["text/plain"] = data["text/plain"].partition("(")[0]
    return output


def main(arguments):
    """Runs those that were asked for; 1 if one failed."""
    chosen = [
        path
        for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
        if not arguments or any(part in path.stem for part in arguments)
    ]
    failed = not chosen
    for path in chosen:
        try:
            notebook = executed(path)
        except CellExecutionError as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            failed = True
            continue
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size // 1024} KiB")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
