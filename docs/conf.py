"""The documentation site, built by `make docs`."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from deepuq_jax import __version__  # noqa: E402

project = "deepuq-jax"
author = "The deepuq-jax developers"
copyright = author
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    # Those in `_ext`.
    "docstrings",
    "mathml",
    "repository_pages",
]
root_doc = "index"
exclude_patterns = ["_build", "_ext", "**.ipynb_checkpoints"]
nitpicky = True

# Pages in Markdown. Links go to headings of two and three hashes, as on GitHub.
myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 4

highlight_language = "none"

# Tutorials run once, and again when their code changes.
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True

# The reference. Docstrings put code in single backticks: what is a public name becomes a link, and the rest is code.
default_role = "py:obj"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_preserve_defaults = True
# Docstrings state shapes and units, which annotations of arrays do not.
autodoc_typehints = "none"
napoleon_numpy_docstring = False
napoleon_use_param = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]
add_module_names = False
python_maximum_signature_line_length = 90
python_trailing_comma_in_multi_line_signatures = False
toc_object_entries_show_parents = "hide"
# Backticks also quote expressions, arguments and names of other libraries, which are not on this site.
nitpick_ignore_regex = [
    ("py:obj", ".*"),
    ("py:class", r"(jax|flax|numpy|optax|torch)\..*"),
]

html_theme = "sphinx_book_theme"
html_title = "deepuq-jax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navigation_with_keys": False,
}
html_math_renderer = "mathml"
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
