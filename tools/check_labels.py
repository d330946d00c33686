"""Checks labelled edges: a label defined as `X1:` in a comment is named as a partner, and the other way round.

A comment that says "pairs with X2" needs a comment "X2:" in the same layer (its files or README.md),
and README sections cited as `README.md, "Title"` must exist.
"""

import re
import sys
from pathlib import Path


def check_folder(folder: Path) -> list[str]:
    """Complaints about one folder of csrc/."""
    texts = {path: path.read_text() for path in sorted(folder.glob("*.[chS]"))}
    readme = folder / "README.md"
    readme_text = readme.read_text() if readme.exists() else ""
    everything = "\n".join(texts.values()) + readme_text
    defined = set(re.findall(r"\b([A-Z]\d+)\b[:,]", everything))
    complaints = []
    for path, text in texts.items():
        for partner in re.findall(r"[Pp]airs\s+(?:\*\s+)?with\s+(?:\*\s+)?([A-Z]\d+)\b", text):
            if partner not in defined:
                complaints.append(f"{path}: pairs with {partner}, which is nowhere in {folder}")
        for owner, title in re.findall(r'((?:\w+/)?)README\.md,\s+(?:\*\s+)?"([^"]+)"', text):
            cited = folder.parent / owner / "README.md" if owner else readme
            found = cited.exists() and re.search(rf"^#+ {re.escape(title)}$", cited.read_text(), re.MULTILINE)
            if not found:
                complaints.append(f'{path}: cites {cited}, "{title}", which does not exist')
    return complaints


def main() -> int:
    """Checks every folder of csrc/."""
    root = Path(__file__).parent.parent / "csrc"
    complaints = [line for folder in sorted(root.iterdir()) if folder.is_dir() for line in check_folder(folder)]
    print("\n".join(complaints) or "labels: each edge has its partner, each cited section exists")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
