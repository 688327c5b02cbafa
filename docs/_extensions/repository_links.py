# SPDX-License-Identifier: Apache-2.0
"""Links of Markdown pages to what lies outside of docs/. They work on the repository's pages, and here."""

from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform

ROOT = Path(__file__).resolve().parents[2]
# Files that are pages here as well.
PAGES = {ROOT / "centertrack_ros" / "weights" / "README.md": "model_cards", ROOT / "CHANGELOG.rst": "changelog"}


class RepositoryLinks(SphinxPostTransform):
    """Links to files that are pages here lead to these; links to folders become code. Other files are downloads."""

    default_priority = 1  # before MyST resolves its links

    def run(self, **_: object) -> None:
        """Replaces such links in a page."""
        folder = Path(self.env.doc2path(self.env.docname)).parent
        for node in list(self.document.findall(addnodes.pending_xref)):
            target = str(node.get("reftarget", ""))
            suffix = ".md" if node.get("refdoc") and not Path(target).suffix else ""
            place = (folder / target.partition("#")[0]).resolve()
            with_suffix = place.with_name(place.name + suffix)
            if page := PAGES.get(place) or PAGES.get(with_suffix):
                uri = self.app.builder.get_relative_uri(self.env.docname, page)
                link = nodes.reference("", "", *node.children, internal=True, refuri=uri)
                node.replace_self(link)
            elif target and place.is_dir() and ROOT in place.parents:
                text = node.astext()
                node.replace_self(nodes.literal(text, text))


def setup(app) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_post_transform(RepositoryLinks)
    return {"parallel_read_safe": True}
