"""Tasks that take connections as hooks and templates do, and one that there is not."""

from airflow.sdk import BaseHook, BaseOperator, dag, task

try:
    from airflow.sdk.exceptions import AirflowNotFoundException
except ImportError:  # Before Airflow 3.2.
    from airflow.exceptions import AirflowNotFoundException


class Rendered(BaseOperator):
    """Returns what was made of its template."""

    template_fields = ("text",)

    def __init__(self, text, **kwargs):
        super().__init__(**kwargs)
        self.text = text

    def execute(self, context):
        return self.text


@task
def taken():
    found = BaseHook.get_connection("my_db")
    return [found.conn_id, found.conn_type, found.host, found.schema, found.login, found.password, found.port, found.extra_dejson]


@task
def missing():
    try:
        return BaseHook.get_connection("nowhere").host
    except AirflowNotFoundException:
        return "not found"


@dag(schedule=None)
def connections():
    taken() >> missing() >> Rendered(task_id="rendered", text="{{ conn.files.host }}:{{ conn.get('nowhere', 'none') }}")


connections()
