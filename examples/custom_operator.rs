//! An operator of one's own: a task that is configured where it is used, instead of written.
//!
//! Run it with `cargo run --example custom_operator`.

use excom::prelude::*;

/// Writes rows to a CSV file, and returns the path.
#[derive(Clone, Debug)]
struct WriteCsv {
    path: Field,
    rows: Field,
}

impl Operator for WriteCsv {
    type Output = String;

    // What is known only when the task runs: templates, parameters, values of other tasks.
    fn fields(&mut self) -> Fields<'_> {
        vec![("path".into(), &mut self.path), ("rows".into(), &mut self.rows)]
    }

    // Runs when all of that is known. An error fails the try, and the next one begins afresh.
    async fn execute(self, ti: TaskInstance) -> Result<String> {
        let (path, rows) = (self.path.text()?, self.rows.get::<Vec<Vec<String>>>()?);
        let lines: Vec<String> = rows.iter().map(|row| row.join(",") + "\n").collect();
        std::fs::write(&path, lines.concat())?;
        ti.log(&format!("{} rows are in {path}", rows.len()));
        Ok(path)
    }
}

#[task]
fn peaks() -> Vec<[String; 2]> {
    [("attic", "34.0"), ("cellar", "12.5")].map(|(station, celsius)| [station.into(), celsius.into()]).into()
}

#[dag]
fn custom_operator(dag: &Dag) {
    let (path, rows) = ("/tmp/peaks-{{ run_id }}.csv".into(), peaks(dag).into());
    let written = dag.add("write", WriteCsv { path, rows }).retries(2);
    dag.bash("show", r#"echo "$FILE has $(wc -l < "$FILE") lines"; rm "$FILE""#)
        .env("FILE", written.output());
}

excom::main!(custom_operator, show = "show");
