"""Pages, tables and comparisons of results.

    report.write(lab.run_all(quick=True), "out")     # out/report.html and out/report.json

Layers, lowest first: words and markup (how things are said and escaped), machine (the head), tables (terminals),
files (whole or not at all), result_html (one experiment), html (the page), compare_text and compare_html.
"""

from __future__ import annotations

import os
from pathlib import Path

from filar.lab.report import Report
from filar.report.compare_html import comparison_page
from filar.report.compare_text import comparison_text
from filar.report.files import check_writable, write_whole
from filar.report.html import page

__all__ = ["HTML_NAME", "JSON_NAME", "check_writable", "comparison_page", "comparison_text", "page", "write"]

HTML_NAME = "report.html"
JSON_NAME = "report.json"


def write(report: Report, out_dir: str | os.PathLike[str]) -> Path:
    """Writes report.json and then report.html into a folder, made if need be; returns the path of the page.

    Each file is written whole or not at all. OSError if that is impossible.
    """
    folder = Path(out_dir)
    check_writable(folder)
    report.save(folder / JSON_NAME)
    path = folder / HTML_NAME
    write_whole(path, page(report, JSON_NAME))
    return path
