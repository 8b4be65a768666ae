"""One self-contained HTML page about finished runs: readable without scripts, offline, printable.

:mod:`.subject` says what a page is about, :mod:`.document` assembles it from :mod:`.sections`;
:mod:`.markup` is the only place where HTML is written, so that all text is escaped. Equal runs give
equal bytes.
"""
