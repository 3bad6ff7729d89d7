"""Docstrings as this project writes them, for Sphinx: formulas, sources, signatures, and links to public names."""

import inspect
import re

from docutils import nodes
from flax import nnx
from sphinx.util.inspect import signature, stringify_signature
from sphinx.util.nodes import make_refnode

FORMULA = re.compile(r"[^.]*? (=|<-) .*[^.:;!?]", re.DOTALL)
SECTION = re.compile(r"(Args|Attributes|Example|Raises|Returns|Source|Warns|Yields):")
ARXIV = re.compile(r"arXiv (\d{4}\.\d{5})")
PACKAGES = ("deepuq_jax", "deepuq_torch")


def is_formula(paragraph):
    """Whether a paragraph is a formula: an equation that no full stop ends."""
    return bool(FORMULA.fullmatch(paragraph.strip())) and not paragraph.lstrip().startswith((">>>", ".. "))


def as_code(paragraph):
    """Indent a formula as a block of code, and undo the escapes of reStructuredText."""
    plain = paragraph.strip("\n").replace("\\|", "|").replace("``", "")
    first = plain.splitlines()[0]
    indent = len(first) - len(first.lstrip())
    lines = [f"   {line[indent:]}" for line in plain.splitlines()]
    return "\n".join([".. code-block:: text", "   :class: equation", "", *lines])


def as_text(paragraph):
    """Escape, outside of backticks, signs that reStructuredText would read as markup."""
    parts = paragraph.split("`")
    parts[::2] = [re.sub(r"(?<!\\)[|*]", r"\\\g<0>", part) for part in parts[::2]]
    parts[2::2] = [re.sub(r"^(?=\w)", r"\\ ", part) for part in parts[2::2]]  # a plural: `Param`s
    return ARXIV.sub(r"`arXiv \1 <https://arxiv.org/abs/\1>`__", "`".join(parts))


def rewrite(app, what, name, obj, options, lines):
    """Mark formulas and sources, before napoleon reads the sections."""
    text = re.sub(r"^( *)Source: ", r"\n\1SOURCE ", "\n".join(lines), flags=re.MULTILINE)
    paragraphs = re.split(r"\n[ \t]*\n", text)
    in_sections = False
    for i, paragraph in enumerate(paragraphs):
        in_sections = in_sections or bool(SECTION.match(paragraph))
        if i and paragraphs[i - 1].endswith("::"):
            continue
        is_indented = i and paragraph.startswith("    ") and paragraphs[i - 1].endswith(":")
        if i and not in_sections and (is_indented or is_formula(paragraph)):
            paragraphs[i] = as_code(paragraph)
        elif ">>>" not in paragraph:
            paragraphs[i] = as_text(paragraph).replace("SOURCE ", "*Source:* ")
    lines[:] = "\n\n".join(paragraphs).splitlines()


def skip(app, what, name, obj, skipped, options):
    """Leave out the fields of named tuples, which the docstring of the class lists, and scikit-learn's routing."""
    is_routing = name.startswith("set_") and name.endswith("_request")
    return True if is_routing or type(obj).__name__ == "_tuplegetter" else None


def sign(app, what, name, obj, options, args, returns):
    """Show the arguments of an NNX module's constructor, which its metaclass hides, and the values of constants."""
    if inspect.isclass(obj) and issubclass(obj, nnx.Module):
        args = stringify_signature(signature(obj.__init__, bound_method=True), show_annotation=False)
    if inspect.isfunction(obj) and args:
        constants = inspect.unwrap(obj).__globals__
        args = re.sub(r"(?<==)_?[A-Z][A-Z_]+\b", lambda found: repr(constants[found[0]]), args)
    return args, returns


def link(app, env, node, contnode):
    """Find a public name that a docstring or a page calls by its last part, or as ``dq.name``."""
    if node.get("refdomain") != "py":
        return None
    target = re.sub(r"\(.*\)$", "", node["reftarget"].removeprefix("dq."))
    if not re.fullmatch(r"[\w.]+", target):
        return None
    objects = env.get_domain("py").objects
    first = node.get("py:module") or PACKAGES[0]
    for package in sorted(PACKAGES, key=lambda package: not first.startswith(package)):
        entry = objects.get(f"{package}.{target}")
        if entry is not None:
            text = nodes.literal(node["reftarget"], node["reftarget"], classes=["xref", "py", "py-obj"])
            return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, text)
    return None


def setup(app):
    """Connect to autodoc, ahead of napoleon."""
    app.connect("autodoc-process-docstring", rewrite, priority=400)
    app.connect("autodoc-process-signature", sign)
    app.connect("autodoc-skip-member", skip)
    app.connect("missing-reference", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
