"""All cases, by subject. A new one is an entry in the list of its file."""

from parity_tests.cases import closed_forms, low_precision, objectives, prediction, weighted
from parity_tests.harness import Case

ALL: list[Case] = [*closed_forms.CASES, *objectives.CASES, *prediction.CASES, *weighted.CASES, *low_precision.CASES]
