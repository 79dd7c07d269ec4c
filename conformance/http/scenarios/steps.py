"""One step of a scenario, and those that several have."""


def step(text, **how):
    """A step with another token, or with headers."""
    return text, how


def as_(token, text):
    return step(text, token=token)


MAPPED = [f"POST many/k?map_index={index} {index * 10}" for index in range(3)]
