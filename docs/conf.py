"""How Sphinx builds the site: `python -m sphinx -W -b html docs build/site`."""

import json
import re
import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

from generated import filled  # noqa: E402

from swingup import __version__  # noqa: E402

project, author, release = "swingup", "the authors of swingup", __version__
html_title = f"swingup {__version__}"
extensions = ["myst_nb", "sphinx.ext.autodoc"]
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = html_show_copyright = False
exclude_patterns = ["build"]
nb_execution_mode = "off"  # it is committed with its outputs; the notebook's own tests execute it
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
smartquotes = False  # `--flag` is not a dash
default_role = "code"  # docstrings have single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "none"
python_maximum_signature_line_length = 80
html_math_renderer = "mathml"


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Put what the program says into a page."""
    source[0] = filled(source[0])


def describe_pictures(app: Sphinx, page: str, source: list[str]) -> None:
    """Give a notebook's pictures the alternative text of their outputs, where myst-nb looks for it."""
    if Path(app.env.doc2path(page)).suffix != ".ipynb":
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if alt:
                cell["metadata"]["mystnb"] = {"image": {"alt": alt}}
    source[0] = json.dumps(notebook)


def shorten(app: Sphinx, what: str, name: str, found: object, options: object, lines: list[str]) -> None:
    """Docstrings as reStructuredText: stars are stars, and the settings have a page of their own."""
    for i, line in enumerate(lines):
        if line.startswith("Settings, with their defaults"):
            lines[i:] = ["Every setting: :doc:`settings`."]
            break
    lines[:] = [re.sub(r"(?<!\\)\*", r"\\*", line) for line in lines]


def own_arguments(
    app: Sphinx, what: str, name: str, found: object, options: object, signature: str, returns: str
) -> tuple[str, str] | None:
    """Signatures without the hundred settings, which the settings page lists."""
    if name == "swingup.Config":
        return "(**settings)", returns
    if name == "swingup.train":
        return signature.partition(", env_preset=")[0] + ", **settings)", returns
    return None


def mathml(text: str, as_block: bool) -> str:
    """LaTeX as MathML, which browsers draw without a script from elsewhere; brackets keep one size."""
    return tex2mathml(re.sub(r"\\(big|Big|bigg|Bigg)[lr]?(?![a-z])", "", text), as_block=as_block)


def inline(self, node: nodes.math) -> None:
    self.body.append(mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def block(self, node: nodes.math_block) -> None:
    self.body.append(mathml(node.astext(), as_block=True))
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    app.connect("source-read", fill)
    app.connect("source-read", describe_pictures)
    app.connect("autodoc-process-docstring", shorten)
    app.connect("autodoc-process-signature", own_arguments)
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
