"""Sphinx builds the pages of this folder into a site: `python -m sphinx -W --keep-going -b html docs BUILD`.

The pages are plain Markdown, with links that also work where the repository shows them.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parent
FOLDER_LINK = re.compile(r"\[([^\]]+)\]\((\.\.[^)#\s]*)\)")
SECTION = re.compile(r"^## (.+)\n\n((?:\* .*\n|  .*\n)+)", re.MULTILINE)
PAGE_LINK = re.compile(r"^\* \[.+?\]\((.+?)\.md\)", re.MULTILINE)

project = "nbarec"
author = "The nbarec maintainers"
release = version = metadata.version("nbarec")
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
highlight_language = "none"

myst_heading_anchors = 4  # `page.md#some-heading`, spelt as the repository's own pages spell it

html_theme = "furo"
html_title = "nbarec"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_copy_source = False


def plain_markdown(_app: Sphinx, docname: str, source: list[str]) -> None:
    """What only the site needs is added here, so that the pages stay plain."""
    source[0] = without_folder_links(source[0], (DOCS / docname).parent)
    if docname == "index":
        source[0] += contents(source[0])


def without_folder_links(page: str, folder: Path) -> str:
    """A link to a folder of the repository leads nowhere on the site; its text, which names the folder, stays."""
    return FOLDER_LINK.sub(lambda link: link[1] if (folder / link[2]).is_dir() else link[0], page)


def contents(index: str) -> str:
    """The site's navigation: the lists of links on the first page, each under its heading."""
    trees = []
    for title, listed in SECTION.findall(index):
        pages = "\n".join(PAGE_LINK.findall(listed))
        trees.append(f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{pages}\n```\n")
    return "".join(trees)


def setup(app: Sphinx) -> None:
    """Sphinx calls this when it starts."""
    app.connect("source-read", plain_markdown)
