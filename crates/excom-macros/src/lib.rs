//! The attribute macros of Excom: `#[task]`, `#[dag]` and `#[derive(Outputs)]`.
//!
//! What they write refers to `::excom` only, and to nothing there but `::excom::__private`, so that the
//! library can change behind them. Errors point at what is wrong in the source.

mod attributes;
mod dag;
mod names;
mod outputs;
mod task;

use proc_macro::TokenStream;

/// Makes a task of a function.
///
/// The function becomes one that adds a task to a DAG: it takes `&Dag` first, and each argument as a
/// value, as another task's `XComArg`, or as a `Param`. What it was before stays as `name::call`, for
/// unit tests.
///
/// ```
/// # extern crate excom_flow as excom;
/// use excom::prelude::*;
///
/// #[task]
/// fn read(station: String) -> Vec<f64> { if station == "attic" { vec![21.5, 34.0] } else { vec![] } }
///
/// #[task(retries = 3, retry_delay = "10s")]
/// async fn hottest(days: Vec<f64>, floor: f64) -> Option<f64> {
///     days.into_iter().filter(|day| *day >= floor).reduce(f64::max)
/// }
///
/// #[dag]
/// fn thermometer(dag: &Dag) {
///     hottest(dag, read(dag, "attic"), 30.0);
/// }
///
/// assert_eq!(thermometer().graph()?.tasks().len(), 2);
/// assert_eq!(read::call("attic".into()), [21.5, 34.0]);   // in a test, the body is a function
/// # Ok::<(), excom_core::Error>(())
/// ```
///
/// - A parameter of type `&TaskInstance` (or `TaskInstance`) is the running task instance, and no
///   argument.
/// - An argument that is [`expand`](https://docs.rs/excom) of a sequence runs the task once for each element.
///   `name::partial()` has a method for each argument, and `expand_kwargs` for a sequence of dicts.
/// - A parameter of type `Option<T>` is `None` when there is no value; any other type fails the try then.
/// - It returns a value, or a `Result` of one. `()` and `None` push nothing.
///
/// | argument | meaning | default |
/// | --- | --- | --- |
/// | `task_id = "…"` | the task's id | the function's name |
/// | `retries = 3` | how often it is tried again after it failed | `0` |
/// | `retry_delay = "10s"` | how long to wait before that: a number and `ms`, `s`, `m` or `h` | `"5m"` |
/// | `retry_exponential_backoff = 2.0` | what the delay is multiplied with for each further try, with jitter | off |
/// | `max_retry_delay = "1h"` | the longest delay between tries | `"24h"` |
/// | `execution_timeout = "10m"` | how long one try may take | as long as it needs |
/// | `max_active_tis_per_dagrun = 4` | how many of its instances run at the same time in a run | all |
/// | `trigger_rule = "all_done"` | when it may run, by the states of the tasks before it | `"all_success"` |
/// | `setup`, `teardown` | it prepares, or takes away what was prepared | |
/// | `branch` | follows the tasks behind it whose ids it returns (text, `Option`, list), and skips the others | |
/// | `short_circuit` | skips everything behind it when what it returns is false, null, 0 or empty | |
/// | `do_xcom_push = false` | does not push what it returns | `true` |
/// | `multiple_outputs` | pushes each entry of the returned dict or struct under its own key too | `false` |
#[proc_macro_attribute]
pub fn task(arguments: TokenStream, item: TokenStream) -> TokenStream {
    finish(task::expand(arguments.into(), item.into()))
}

/// Makes a DAG definition of a function that builds a DAG.
///
/// The function takes `&Dag` first, and then the DAG's parameters, each a `Param<T>` with `#[param]`. It
/// becomes a function without arguments that returns a `DagDefinition`.
///
/// ```
/// # extern crate excom_flow as excom;
/// use excom::prelude::*;
///
/// #[task]
/// fn read(file: PathBuf) -> Result<String> { Ok(std::fs::read_to_string(file)?) }
///
/// /// Reads the observations.
/// #[dag(id = "weather")]
/// fn weather(
///     dag: &Dag,
///     #[param(default = "weather.csv", doc = "the observations")] file: Param<PathBuf>,
/// ) {
///     read(dag, file);
/// }
///
/// assert_eq!((weather().id(), weather().params()[0].name), ("weather", "file"));
/// ```
///
/// `id` is the DAG's id (the function's name unless given). A parameter without `default` must be given
/// to every run. Comments become documentation that `excom` shows.
#[proc_macro_attribute]
pub fn dag(arguments: TokenStream, item: TokenStream) -> TokenStream {
    finish(dag::expand(arguments.into(), item.into()))
}

/// Gives the `XComArg` of a struct a method for each field, for tasks with `multiple_outputs`.
///
/// `choose(dag).table_name()` is then the `XComArg<String>` of the key `table_name`. The methods are in a
/// trait of the struct's name with `Outputs` behind it, `ChoiceOutputs` for `Choice`. Names follow
/// `#[serde(rename)]` and `#[serde(rename_all)]`; fields that serde skips have no method.
#[proc_macro_derive(Outputs, attributes(serde))]
pub fn outputs(item: TokenStream) -> TokenStream {
    finish(outputs::expand(item.into()))
}

fn finish(expanded: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    expanded.unwrap_or_else(|error| error.into_compile_error()).into()
}
