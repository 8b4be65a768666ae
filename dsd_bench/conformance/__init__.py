"""The conformance kit: what every component must keep to, as checks that its author can run.

``dsd-bench plugins test [NAME]`` runs the checks and shows a table of them; where pytest is at
hand, ``pytest --pyargs dsd_bench.conformance`` runs the same ones as tests, of all installed
plugins or of ``--dsd-plugin NAME``. Checks of all kinds lie in :mod:`dsd_bench.conformance.every`,
those of one kind in ``dsd_bench/conformance/kinds/KIND.py``, whole runs in
:mod:`dsd_bench.conformance.runs`.

A component that cannot keep to a check says so, and why, where it is implemented::

    class Mine(Pruner):
        expected_failed_checks = {"any-dtype": "its solver works in float32 alone"}

That is strict: a check that passes though it was expected to fail is a failure too. Where its
defaults do not fit the kit's small runs, or it needs other components beside it, it says with what
it is checked::

    class Mine(Pruner):
        checked_params = {"every": 2}  # its own parameters, instead of the defaults
        checked_beside = {"reg": ["gathers"]}  # options of a run, by their names in Python
"""
