"""The pairs that metrics are tested on, and the ways to spoil them, for what verdicts say of them."""

from tests.metrics.conftest import glamorous, measured, spoiled  # noqa: F401  # fixtures
