"""Tasks that are mapped over what others return, in every way that Airflow's scheduler asks for a length."""

from airflow.sdk import dag, task, task_group


@dag(schedule=None)
def mapped():
    @task
    def source():
        """Airflow never runs it: what it returns is pushed through Excom."""

    @task
    def each(a=None, b=None):
        return a

    @task_group
    def group(x):
        each(x)

    def a(name):
        return source.override(task_id=name)()

    def expanded(name, **arguments):
        each.override(task_id=name).expand(**arguments)

    expanded("over_list", a=a("list"))
    expanded("over_dict", a=a("dict"))
    expanded("over_nothing", a=a("nothing"))
    expanded("over_large", a=a("large"))
    expanded("over_two", a=a("left").map(lambda x: x).zip(a("right")), b=[1, {"task_id": "plain"}])
    expanded("over_number", a=a("number"))
    each.override(task_id="over_kwargs").expand_kwargs(a("kwargs"))
    group.expand(x=a("grouped"))
    each.override(task_id="over_plain")(a("plain"))
    expanded("over_long", a=a("long"))


mapped()
