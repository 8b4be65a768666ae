"""From one's own images and network to a smaller one and a page about it, as ordinary runs.

A preset of ``run``, no second algorithm: :mod:`.starting` says which options two ordinary runs get,
one that is the *original* (the network as given, or fine-tuned; no pruning) and one that prunes it
along its *curve*; :mod:`.fitting` fits their lengths into a budget, :mod:`.counts` looks at the
images of each class, :mod:`.outcome` compares the chosen round with the original,
:mod:`.shipping` exports and times it, and :mod:`.page` writes all that down.
"""
