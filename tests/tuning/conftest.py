"""The same study on a desk that the tests of `search` drive."""

from tests.search.conftest import desk, left  # noqa: F401 - fixtures
