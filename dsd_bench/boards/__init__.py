"""Boards: row files made from finished runs, and the tables generated from nothing but them.

``leaderboards/<track>/rows/<method>.json`` is one method over its seeds (:mod:`.rows` makes it,
:mod:`.schema` says what it holds); every ``README.md`` under ``leaderboards/`` is generated
(:mod:`.check`). Nothing here imports torch.
"""
