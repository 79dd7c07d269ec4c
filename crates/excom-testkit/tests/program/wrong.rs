//! What is typed or set, right and wrong.

use crate::{Shell, Told};

#[test]
fn wrong_arguments_say_what_is_right() {
    let shell = Shell::new();
    for (arguments, told) in [
        (&["--dag", "stepps"][..], "'steps'"),
        (&["tasks"], "say which one with --dag steps|shapes|curious"),
        (&["--dag", "steps", "--count", "three"], "'--count <whole number>': give a whole number, such as 3"),
        (&["--dag", "steps", "--count", "3", "graph"], "--count stands before the command `graph`"),
        (&["graph", "--dag", "steps", "--format", "png"], "[possible values: text, mermaid, svg]"),
        (&["rerun", "--dag", "steps"], "<TASK|--failed>"),
        (&["--dag", "shapes", "--count", "3"], "unexpected argument '--count'"),
    ] {
        shell.run(arguments).code(2).has(&[told]);
    }
    let told = shell.run(&["--dag", "steps"]).code(1);
    told.has(&["DAG `steps` needs the parameter `folder` (a path)"]);
    let told = shell.run(&["--dag", "steps", "--folder", ".", "--param", "count=x"]).code(1);
    told.has(&["parameter `count`: `x` is not a whole number", "give a whole number, such as 3"]);
}

#[test]
fn runs_of_airflow_are_airflows() {
    let shell = Shell::new()
        .with("EXCOM__DATABASE__MODE", "attached")
        .with("EXCOM__DATABASE__URL", "postgresql://ana:secret@127.0.0.1:1/airflow");
    for told in [shell.steps(&[]), shell.run(&["rerun", "--dag", "steps", "--failed"])] {
        let told = told.code(1);
        told.has(&["[database] mode = attached (from EXCOM__DATABASE__MODE)", "so are its runs"]);
        assert!(!told.err.contains("secret"), "{told:#?}");
    }
}

#[test]
fn help_names_types_that_people_know() {
    let shell = Shell::new();
    let told = shell.run(&["--dag", "steps", "--help"]).code(0);
    told.has(&[
        "--folder <path>",
        "Where tasks write that they ran",
        "--count <whole number>",
        "[default: 3]",
    ]);
    told.has(&["--resume [<RUN_ID>]", "test-task", "Without a command it runs the DAG"]);
    assert!(!told.out.contains("u64") && !told.out.contains("PathBuf"), "{}", told.out);
    shell.run(&["--help"]).code(0).has(&["--dag <ID>", "steps", "shapes"]);
}

#[test]
fn how_many_tasks_run_at_the_same_time_is_a_setting_too() {
    let shell = Shell::new().with("EXCOM__CORE__PARALLELISM", "1");
    let child = shell.holding();
    assert_eq!(shell.pushed("double"), [0], "the third waits for the second");
    shell.remove("hold");
    Told::from(child.wait_with_output().unwrap()).code(0).has(&["the sum is 6"]);
}

#[test]
fn the_length_of_mapping_is_a_setting() {
    for name in ["EXCOM__CORE__MAX_MAP_LENGTH", "AIRFLOW__CORE__MAX_MAP_LENGTH"] {
        let told = Shell::new().with(name, "2").steps(&[]).code(1);
        told.has(&["at most 2 are allowed", "[core] max_map_length"]);
    }
    let told = Shell::new().with("EXCOM__CORE__PARALLELISM", "none").steps(&[]).code(1);
    told.has(&["[core] parallelism takes a whole number from 1"]);
}
