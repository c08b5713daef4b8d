"""How Sphinx builds this documentation; warnings are errors."""

import fietsupdate

project = "fietsupdate"
copyright = "2026, the fietsupdate developers"  # noqa: A001  # Sphinx's name for it
version = release = fietsupdate.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "sphinx_design"]
exclude_patterns = ["_build", "example"]
copybutton_prompt_text = "$ "  # of a session, what is typed is copied, and not what is printed
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
smartquotes = False  # options begin with two hyphens

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "separated"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_default_options = {"exclude-members": "__init__, __new__"}
add_module_names = False

html_theme = "furo"
html_title = f"fietsupdate {version}"
html_theme_options = {
    # What the commands print is up to 100 characters wide.
    "light_css_variables": {"code-font-size": "78%"},
}
html_static_path = ["_static"]
html_css_files = ["fietsupdate.css"]
html_show_sphinx = False
