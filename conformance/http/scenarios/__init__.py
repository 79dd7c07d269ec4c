"""What is asked of both servers: by name, steps in their order.

A step is `METHOD path body`, sent with the token of the task `one` in `r1` unless it names another one. The path is that of
an XCom of the run `r1` of the scenario's own DAG, `task/key`; or begins with `entries`, for the list in the REST API of the
XComs of `one`; or with a slash. `{dag}` is the name of the scenario, and of its DAG; `{ti}` the id of
the task `one` in `r1`. The rest of the line is the body, as it
is.
"""

from .assets import ASSETS
from .connections import CONNECTIONS
from .entries import REST
from .runs import RUNS
from .variables import REST_VARIABLES, VARIABLES
from .waits import WAITS
from .xcoms import TOKENS, XCOMS

SCENARIOS = XCOMS | TOKENS | RUNS | ASSETS | VARIABLES | CONNECTIONS | REST | WAITS | REST_VARIABLES
