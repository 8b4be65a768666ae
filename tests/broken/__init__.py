"""Components that each break one check of the conformance kit, and are as they should be else.

``broken.plugin`` registers them: the one of a kind that breaks the check ``same-seed`` is called
``same-seed``, and ``good`` breaks none. ``broken.heavy`` and ``broken.noisy`` break what concerns a
whole module.
"""
