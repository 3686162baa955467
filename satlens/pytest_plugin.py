"""What pytest finds where satlens is installed: the fixture ``claim`` (`satlens.claims.check`)."""

import pytest


@pytest.fixture(scope="session")
def claim():
    """Asks a claim of a paper of a model: ``claim("order").holds_on(model, texts)``."""
    from satlens.claims import check

    return check
