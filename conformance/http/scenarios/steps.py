"""One step of a scenario, and those that several have."""


def step(text, **how):
    """A step with another token, or with headers."""
    return text, how


def as_(token, text):
    return step(text, token=token)


MAPPED = [f"POST many/k?map_index={index} {index * 10}" for index in range(3)]

VERSIONS = (
    "2025-04-11", "2025-04-28", "2025-05-20", "2025-08-10", "2025-09-23", "2025-10-27", "2025-11-05", "2026-04-06", "2026-06-30",
)
