"""Files of the repository that lie outside docs/, as pages of the site.

A page of the site that consists of an ``{include}`` of such a file shows its text. Links between files of the
repository work on GitHub; here they lead to the pages.
"""

import os
import re
from pathlib import Path

DOCS = Path(__file__).parents[1]
INCLUDE = re.compile(r"^```\{include\} (\S+)\n```$", re.MULTILINE)
LINK = re.compile(r"\]\(([^()\s#]+)((?:#[^()\s]*)?)\)")


def included(page):
    """Return the file that a page shows, or the page."""
    found = INCLUDE.search(page.read_text(encoding="utf-8"))
    return page if found is None else (page.parent / found[1]).resolve()


def pages():
    """Map each Markdown file with a place in the site to its page."""
    return {included(page): page for page in DOCS.rglob("*.md") if "_build" not in page.parts}


def with_links_to_pages(text, file, page, place):
    """Rewrite the links of a file's text for its page: to other pages, and to files as seen from the page."""

    def link(found):
        target = (file.parent / found[1]).resolve()
        if target in place:
            return f"](/{place[target].relative_to(DOCS).as_posix()}{found[2]})"
        if target.is_file():
            return f"]({os.path.relpath(target, page.parent)}{found[2]})"
        return found[0]

    return LINK.sub(link, text)


def expand(app, docname, source):
    """Put the text of an included file into its page, and mend all links."""
    page = Path(app.env.doc2path(docname))
    if page.suffix != ".md":
        return
    file = included(page)
    if file != page:
        app.env.note_dependency(str(file))
        source[0] = INCLUDE.sub(lambda _: file.read_text(encoding="utf-8"), source[0])
    source[0] = with_links_to_pages(source[0], file, page, pages())


def setup(app):
    """Read such pages before they are parsed."""
    app.connect("source-read", expand)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
