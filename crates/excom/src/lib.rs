//! The XCom engine: tasks of a DAG tell each other things, on one machine.
