extern crate excom_flow as excom;

use excom::prelude::*;

pub mod tasks {
    use excom::prelude::*;

    /// Documented.
    #[task(task_id = "other", retries = 3, retry_delay = "500ms", do_xcom_push = true, multiple_outputs = false)]
    pub async fn public(ti: TaskInstance, mut days: Vec<u8>) -> std::io::Result<Vec<u8>> {
        days.push(u8::try_from(ti.try_number()).unwrap_or(0));
        Ok(days)
    }

    #[derive(Serialize, Deserialize, Outputs)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub struct Choice {
        /// The table.
        pub table_name: String,
        #[serde(rename(serialize = "n", deserialize = "n"), default)]
        pub rows: Option<u64>,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        pub notes: Vec<String>,
        #[serde(skip)]
        _scratch: u8,
    }

    #[task(multiple_outputs)]
    pub fn choose() -> Choice {
        Choice { table_name: String::new(), rows: None, notes: vec![], _scratch: 0 }
    }
}

use tasks::ChoiceOutputs;

#[task]
fn r#type(r#match: u8) -> u8 {
    r#match
}

#[task]
fn shadowing(ti: &TaskInstance, arguments: u8, settings: u8, function: u8) -> u8 {
    let _ = ti;
    arguments + settings + function
}

#[task]
fn takes(name: String, rows: Option<u64>, notes: Vec<String>) {
    let _ = (name, rows, notes);
}

/// A DAG.
#[dag(id = "some dag")]
pub fn shapes(dag: &Dag, /** commented */ #[param(default = 1)] n: Param<u8>) {
    #[task]
    fn inner() {}
    inner(dag);
    let _ = tasks::public(dag, vec![1]);
    shadowing(dag, r#type(dag, n), 1, 2);
    let choice = tasks::choose(dag);
    takes(dag, choice.table_name(), choice.rows(), choice.notes());
}

fn main() {
    let _ = shapes();
    let _ = r#type::call(1);
}
