"""The documentation site, from a copy of the pages that docs/build makes."""

project = "grouphead"
extensions = ["myst_parser", "breathe", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "grouphead"
exclude_patterns = ["r/**", "python/**", "tests/**"]

breathe_projects = {"grouphead": "../xml"}
breathe_default_project = "grouphead"
breathe_default_members = ("members",)

suppress_warnings = ["duplicate_declaration.cpp"]  # constructors that differ in what they require
myst_heading_anchors = 4  # pages link to headings as repositories do

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say shapes and types
