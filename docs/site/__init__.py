"""The site: ``python -m docs.site`` stages the pages, writes the generated ones, runs Sphinx.

Hand-written pages are plain Markdown under ``docs/`` that reads well without the site; whatever
the code already says (components, options, hooks, the public API) is written by these modules
from the code itself, so it cannot be forgotten or go stale.
"""
