"""What curves over seeds say; docs/analysis.md has every definition with a figure.

Pure functions of the rows of finished or unfinished runs. Accuracies and sparsities are in 0..1
throughout; importing it loads nothing heavy.
"""

from dsd_bench.analysis.curves import (
    Point,
    Spread,
    crossing,
    mean_curve,
    shared_part,
    spread,
)
from dsd_bench.analysis.descent import Descent, depth_threshold, descent
from dsd_bench.analysis.dodging import Dodge, dodge
from dsd_bench.analysis.evidence import (
    CANNOT_TELL,
    DOUBLE_DESCENT,
    NO_DOUBLE_DESCENT,
    Evidence,
    judge,
    unimodal,
)
from dsd_bench.analysis.fairness import INTERPOLATES, Fairness, dense_key, fairness, stopped_early
from dsd_bench.analysis.measures import Compression, area, compression, peak
from dsd_bench.analysis.memorisation import Memorisation, memorisation
from dsd_bench.analysis.phases import Phase, phase_of, phases
from dsd_bench.analysis.power import MoreSeeds
from dsd_bench.analysis.study import Study, study
from dsd_bench.analysis.summary import (
    Selected,
    Stopped,
    Summary,
    accuracy_column,
    images_tested,
    selected_round,
    summarise,
)

__all__ = [
    "CANNOT_TELL",
    "DOUBLE_DESCENT",
    "INTERPOLATES",
    "NO_DOUBLE_DESCENT",
    "Compression",
    "Descent",
    "Dodge",
    "Evidence",
    "Fairness",
    "Memorisation",
    "MoreSeeds",
    "Phase",
    "Point",
    "Selected",
    "Spread",
    "Stopped",
    "Study",
    "Summary",
    "accuracy_column",
    "area",
    "compression",
    "crossing",
    "dense_key",
    "depth_threshold",
    "descent",
    "dodge",
    "fairness",
    "images_tested",
    "judge",
    "mean_curve",
    "memorisation",
    "peak",
    "phase_of",
    "phases",
    "selected_round",
    "shared_part",
    "spread",
    "stopped_early",
    "study",
    "summarise",
    "unimodal",
]
