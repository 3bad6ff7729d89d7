"""All cases, by subject.

To add a case, add an entry to the list `CASES` in one of the files.
"""

from parity_tests.cases import closed_forms, low_precision, objectives, prediction, second_derivatives, weighted
from parity_tests.harness import Case

GROUPS: dict[str, list[Case]] = {
    "closed forms": closed_forms.CASES,
    "second derivatives": second_derivatives.CASES,
    "layers, networks and objectives": objectives.CASES,
    "prediction": prediction.CASES,
    "weighted objectives": weighted.CASES,
    "bfloat16": low_precision.CASES,
}
ALL: list[Case] = [case for group in GROUPS.values() for case in group]
