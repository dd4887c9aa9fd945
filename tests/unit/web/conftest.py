from collections.abc import Iterator

import pytest

from tests.unit.web.site import Site


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()
