"""The documentation: pages in Markdown, their figures, and what makes a site of them."""
