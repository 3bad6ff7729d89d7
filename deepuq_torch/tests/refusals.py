"""The wording of refusals."""

import re

import pytest

WORDING = re.compile(r"^Expected .+; got .+\.$", re.DOTALL)


def refuses(error, name, call):
    with pytest.raises(error, match=name) as caught:
        call()
    assert type(caught.value) is error
    assert WORDING.match(str(caught.value)), caught.value
