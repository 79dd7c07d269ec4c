"""The chain of the group `flow` as an Airflow DAG: each task hands on the kilobyte that it got."""

from airflow.sdk import dag, task

TASKS = 20


@task
def first():
    return "x" * 1022


@task
def step(text):
    return text


@dag(schedule=None)
def chain():
    last = first()
    for _ in range(1, TASKS):
        last = step(last)


chain()
