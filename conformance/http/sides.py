"""The two servers: how each comes to its runs, task instances and tokens.

Both have the same for every scenario: a DAG with its name and the tasks `one`, `two` and `many`, the last with three map
indexes; in Airflow, where steps name assets, the asset `rows` of its own; the run `r1`, and those that its steps name, of which `r4` has ended; in `r1` the task instances `one` and `many[1]` have started.
"""

import datetime
import json
import time
from http.client import HTTPConnection
from urllib.parse import urlsplit

import jwt

TASKS = [("one", -1), ("two", -1), ("many", 0), ("many", 1), ("many", 2)]
RUNS = {f"r{day}": datetime.datetime(2026, 11, day, tzinfo=datetime.timezone.utc) for day in (1, 2, 3, 4)}
ENDED = {"r4": "success"}
STARTED = {"task": ("r1", "one", -1), "many[1]": ("r1", "many", 1)}

START = {"state": "running", "hostname": "here", "unixname": "me", "pid": 1, "start_date": "2026-11-21T10:00:00Z"}


def runs(steps):
    """The runs of a scenario."""
    return {run_id: when for run_id, when in RUNS.items() if run_id == "r1" or f"/{run_id}/" in str(steps)}


def date(when):
    return when.isoformat().replace("+00:00", "Z")


def subject(token):
    """Whom a token is for."""
    return jwt.decode(token, options={"verify_signature": False})["sub"]


class Server:
    """A server behind an address, and the secret that signs its tokens."""

    def __init__(self, address, secret):
        self.place, self.secret = urlsplit(address).netloc, secret

    def send(self, method, path, body=None, headers=()):
        """A path as it is, and an answer: its status, its headers in lower case, and its body."""
        connection = HTTPConnection(self.place, timeout=60)
        connection.request(method, path, None if body is None else body.encode(), dict(headers))
        answer = connection.getresponse()
        return answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()

    def call(self, method, path, token, body):
        """What must be done before scenarios, and the answer to it."""
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        status, head, text = self.send(method, path, json.dumps(body), headers)
        assert status < 300, (method, path, status, text)
        return head, json.loads(text)

    def start(self, queued):
        """Starts a task instance with the token that waited in a queue, as a worker does."""
        head, _ = self.call("PATCH", f"/execution/task-instances/{subject(queued)}/run", queued, START)
        return head["refreshed-api-token"]

    def signed(self, claims, algorithm="HS512", secret=None):
        return jwt.encode(claims, secret or self.secret, algorithm)

    def tokens(self, queued):
        """Starts task instances, and returns tokens by the names that steps use."""
        started = {name: self.start(token) for name, token in queued.items()}
        return self.people() | started | self.altered(started["task"]) | {"queued": queued["task"]}

    def altered(self, task):
        """Tokens like that of a task, most of which are not good."""
        good = jwt.decode(task, options={"verify_signature": False})
        but = lambda **changed: self.signed({name: claim for name, claim in (good | changed).items() if claim is not None})
        now = int(time.time())
        return {
            "expired": but(iat=now - 700, nbf=now - 700, exp=now - 60),
            "just expired": but(iat=now - 600, nbf=now - 600, exp=now - 3),
            "ends soon": but(exp=now + 25),
            "not yet": but(nbf=now + 300),
            "from the future": but(iat=now + 300),
            "of nobody": but(sub=None),
            "of no task instance": but(sub="ana"),
            "endless": but(exp=None),
            "without iat": but(iat=None),
            "without jti and nbf": but(jti=None, nbf=None),
            "without scope": but(scope=None),
            "of another scope": but(scope="everything"),
            "of another audience": but(aud="urn:example:other"),
            "of audiences": but(aud=["urn:example:other", good["aud"]]),
            "HS256": self.signed(good, "HS256"),
            "of another secret": self.signed(good, secret="somebody else's secret, which is as long as " * 2),
            "unsigned": jwt.encode(good, None, "none"),
            "no token": "no token",
        }


class Airflow(Server):
    """Airflow, whose database is the one that its own settings name here."""

    def prepare(self, scenarios):
        """Makes what is there before the scenarios, and returns by scenario the tokens with which task instances start."""
        from airflow.models.asset import AssetActive, AssetModel
        from airflow.models.dag import DagModel
        from airflow.models.dag_version import DagVersion
        from airflow.models.dagbundle import DagBundleModel
        from airflow.models.dagrun import DagRun
        from airflow.models.serialized_dag import SerializedDagModel
        from airflow.models.taskinstance import TaskInstance
        from airflow.providers.standard.operators.empty import EmptyOperator
        from airflow.sdk import DAG
        from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG
        from airflow.utils.session import create_session
        from airflow.utils.types import DagRunType

        queued = {name: {} for name in scenarios}
        with create_session() as session:
            session.add(DagBundleModel(name="conformance"))
            session.flush()
            session.add_all(DagModel(dag_id=name, bundle_name="conformance", fileloc=name, is_paused=False, is_stale=False) for name in scenarios)
            session.flush()
            for name, steps in scenarios.items():
                if "asset" in str(steps):
                    known = AssetModel(name=f"{name}.rows", uri=f"file://{name}/rows", group="asset", extra={})
                    session.add(known)
                    session.flush()
                    session.add(AssetActive.for_asset(known))
                with DAG(name, schedule=None) as dag:
                    for task_id in dict(TASKS):
                        EmptyOperator(task_id=task_id)
                SerializedDagModel.write_dag(LazyDeserializedDAG.from_dag(dag), "conformance", session=session)
                session.flush()
                version = DagVersion.get_latest_version(name, session=session)
                operators = DagSerialization.from_dict(DagSerialization.to_dict(dag)).task_dict
                for run_id, when in runs(steps).items():
                    run = DagRun(
                        dag_id=name, run_id=run_id, logical_date=when, run_after=when, run_type=DagRunType.MANUAL,
                        state=ENDED.get(run_id, "running"), data_interval=(when, when),
                    )
                    run.created_dag_version = version
                    session.add(run)
                    session.flush()
                    for task_id, map_index in TASKS:
                        ti = TaskInstance(operators[task_id], version.id, run_id, "queued", map_index)
                        session.add(ti)
                        queued[name][run_id, task_id, map_index] = self.queued(str(ti.id))
        return {name: {token: of[ti] for token, ti in STARTED.items()} for name, of in queued.items()}

    def queued(self, ti):
        """What the scheduler gives with a task instance."""
        now = int(time.time())
        times = {"nbf": now, "iat": now, "exp": now + 600}
        return self.signed({"sub": ti, "scope": "workload", "jti": ti, "aud": "urn:airflow.apache.org:task"} | times)

    def people(self):
        """People as the simple auth manager knows them."""
        now = int(time.time())
        times = {"aud": "apache-airflow", "nbf": now, "iat": now, "exp": now + 3600}
        person = lambda role: self.signed({"sub": role, "role": role} | times)
        return {"reader": person("viewer"), "writer": person("user"), "admin": person("admin")}


class Excom(Server):
    """`excom serve`, with a token that may do everything."""

    def __init__(self, address, secret, admin):
        super().__init__(address, secret)
        self.admin = admin

    def prepare(self, scenarios):
        """As for Airflow."""
        return {name: self.queued(name, steps) for name, steps in scenarios.items()}

    def queued(self, name, steps):
        """Makes the runs and task instances of a scenario."""
        queued = {}
        for run_id, when in runs(steps).items():
            run = {"dag_id": name, "run_id": run_id}
            self.call("POST", "/api/excom/v1/runs", self.admin, run | {"logical_date": date(when)})
            for task_id, map_index in TASKS:
                ti = run | {"task_id": task_id, "map_index": map_index}
                _, told = self.call("POST", "/api/excom/v1/task-instances", self.admin, ti)
                queued[run_id, task_id, map_index] = told["token"]
            if run_id in ENDED:
                self.call("PATCH", "/api/excom/v1/runs", self.admin, run | {"state": ENDED[run_id]})
        return {token: queued[ti] for token, ti in STARTED.items()}

    def people(self):
        claims = jwt.decode(self.admin, options={"verify_signature": False})
        person = lambda role: self.signed(claims | {"sub": role, "role": role})
        return {"reader": person("read"), "writer": person("write"), "admin": self.admin}
