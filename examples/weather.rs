//! Four years of weather through sixteen tasks, which tell each other everything by XComs.
//!
//! ```text
//! read ─ validate ─┬─ by_month ── summary[] ─┬─ choose_table ─ load ─┐
//!                  ├─ hottest ─┬─────────────┘                       │
//!                  │           ├─ any_heat ─┬─ heat_wave ─┬─ heat ───┤
//!                  │           │            └─ no_heat ───┘          │
//!                  │           └─ count_hot ─ count (bash) ──────────┼─ report
//!                  ├─ wet_spells ────────────────────────────────────┤
//!                  └─ frosts ────────────────────────────────────────┘
//! ```
//!
//! `summary` is mapped: it has an instance for each of the 24 months. `any_heat` is a branch: one of the two tasks
//! behind it is skipped.
//!
//! Run it with `cargo run --release --example weather`; `-- --help` shows its parameters and commands, and
//! `-- graph --format svg` draws it.

use std::collections::BTreeMap;

use excom::prelude::*;
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::{Batch, Connection};

/// A day at a station, as NOAA's file has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Observation {
    station: String,
    date: String,
    precipitation: f64,
    temp_max: f64,
    temp_min: f64,
    wind: f64,
}

/// The days of a calendar month at a station, over all its years.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct MonthOfDays {
    station: String,
    month: u32,
    days: Vec<Observation>,
}

/// What a calendar month is like at a station.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Month {
    station: String,
    month: u32,
    warmest: f64,
    mean: f64,
    rain: f64,
}

/// Days without a break on which it rained.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Spell {
    station: String,
    from: String,
    days: u32,
    rain: f64,
}

/// What `choose_table` tells `load`: each field is an XCom of its own.
#[derive(Debug, Serialize, Deserialize, Outputs)]
struct Choice {
    table_name: String,
    rows: u64,
}

/// The file as records. Some 300 KB of JSON: too large for the database, so it becomes a sealed file.
#[task]
fn read(path: PathBuf) -> Result<Vec<Observation>> {
    let mut reader = csv::Reader::from_path(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let days = reader.deserialize().collect::<std::result::Result<Vec<Observation>, _>>()?;
    Ok(days)
}

/// Refuses what no thermometer shows; nothing behind it needs to look again.
#[task(retries = 1, retry_delay = "1s")]
fn validate(days: Vec<Observation>, ti: &TaskInstance) -> Result<Vec<Observation>> {
    for day in &days {
        let sane = day.temp_min <= day.temp_max
            && (-60.0..60.0).contains(&day.temp_min)
            && (0.0..1000.0).contains(&day.precipitation);
        if !sane {
            return Err(format!("{} at {} is no weather: {day:?}", day.date, day.station).into());
        }
    }
    ti.log(&format!("{} days are sane", days.len()));
    ti.xcom_push("rows", &days.len())?;
    Ok(days)
}

#[task]
fn by_month(days: Vec<Observation>) -> Result<Vec<MonthOfDays>> {
    let mut months: BTreeMap<(String, u32), Vec<Observation>> = BTreeMap::new();
    for day in days {
        let month = day.date.get(5..7).unwrap_or_default().parse()?;
        months.entry((day.station.clone(), month)).or_default().push(day);
    }
    Ok(months.into_iter().map(|((station, month), days)| MonthOfDays { station, month, days }).collect())
}

/// Mapped: each instance takes one month out of the list.
#[task(retries = 1, retry_delay = "1s")]
fn summary(month: MonthOfDays) -> Month {
    let MonthOfDays { station, month, days } = month;
    Month {
        station,
        month,
        warmest: days.iter().map(|day| day.temp_max).fold(f64::MIN, f64::max),
        mean: days.iter().map(|day| (day.temp_max + day.temp_min) / 2.0).sum::<f64>() / days.len() as f64,
        rain: days.iter().map(|day| day.precipitation).sum::<f64>() / 4.0,
    }
}

/// The days at or over a temperature, hottest first. An async task, as one that asks a service would be.
#[task]
async fn hottest(days: Vec<Observation>, floor: f64) -> Vec<Observation> {
    let mut hot: Vec<Observation> = days.into_iter().filter(|day| day.temp_max >= floor).collect();
    hot.sort_by(|a, b| b.temp_max.total_cmp(&a.temp_max));
    hot
}

/// A branch: of the tasks behind it only the one that it names runs.
#[task(branch)]
fn any_heat(hot: Vec<Observation>) -> String {
    if hot.is_empty() { "no_heat" } else { "heat_wave" }.to_owned()
}

/// The day on which the year's heat was over at each station, of all years the latest.
#[task]
fn heat_wave(hot: Vec<Observation>) -> String {
    let mut latest: BTreeMap<String, String> = BTreeMap::new();
    for day in hot {
        let day_of_year = day.date.get(5..).unwrap_or_default().to_owned();
        let known = latest.entry(day.station).or_default();
        *known = std::mem::take(known).max(day_of_year);
    }
    let ends: Vec<String> = latest.into_iter().map(|(station, day)| format!("{day} at {station}")).collect();
    format!("the heat is over by {}", ends.join(", by "))
}

#[task]
fn no_heat(floor: f64) -> String {
    format!("it never got as hot as {floor} °C")
}

/// The longest wet spell of each station.
#[task]
fn wet_spells(days: Vec<Observation>) -> Vec<Spell> {
    let mut longest: BTreeMap<String, Spell> = BTreeMap::new();
    let mut current: Option<Spell> = None;
    for day in days {
        if day.precipitation == 0.0 {
            current = None;
            continue;
        }
        let spell = match current.take() {
            Some(spell) if spell.station == day.station => {
                Spell { days: spell.days + 1, rain: spell.rain + day.precipitation, ..spell }
            }
            _ => Spell { station: day.station, from: day.date, days: 1, rain: day.precipitation },
        };
        let best = longest.entry(spell.station.clone()).or_insert_with(|| spell.clone());
        if spell.days > best.days {
            *best = spell.clone();
        }
        current = Some(spell);
    }
    longest.into_values().collect()
}

/// How many days each station froze. Where it never does there is nothing to tell: `None` pushes nothing.
#[task]
fn frosts(days: Vec<Observation>) -> Option<BTreeMap<String, u32>> {
    let mut counts = BTreeMap::new();
    for day in days.into_iter().filter(|day| day.temp_min < 0.0) {
        *counts.entry(day.station).or_insert(0) += 1;
    }
    (!counts.is_empty()).then_some(counts)
}

#[task(multiple_outputs)]
fn choose_table(months: Vec<Month>, hot: Vec<Observation>) -> Choice {
    let table_name = if hot.len() > 100 { "months_of_a_warm_place" } else { "months" };
    Choice { table_name: table_name.to_owned(), rows: months.len() as u64 }
}

/// Fills the chosen table by an SQL file that is a template, and asks it a question.
#[task]
fn load(months: Vec<Month>, rows: u64, ti: &TaskInstance) -> Result<String> {
    let database = Connection::open_in_memory()?;
    let sql = ti.render(include_str!("weather.sql"))?;
    ti.log(&sql);
    // The rows are bound, never pasted into the statement.
    let months = serde_json::to_string(&months)?;
    let mut statements = Batch::new(&database, &sql);
    while let Some(mut statement) = statements.next()? {
        match statement.parameter_count() {
            0 => statement.execute([])?,
            _ => statement.execute([(":months", &months)].as_slice())?,
        };
    }
    let table: String = ti.xcom_pull("choose_table").key("table_name").get()?;
    let (found, wettest): (u32, String) = database.query_row(
        &format!("SELECT count(*), (SELECT station || ' in month ' || month FROM {table} ORDER BY rain DESC) FROM {table}"),
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    if u64::from(found) != rows {
        return Err(format!("{table} has {found} rows, {rows} were promised").into());
    }
    Ok(format!("{table}: {found} rows; the wettest is {wettest}"))
}

/// Joins the branches: it runs also behind a task that was skipped, whose value is `None`.
#[task(trigger_rule = "none_failed_min_one_success")]
fn heat(heat_wave: Option<String>, no_heat: Option<String>) -> Result<String> {
    Ok(heat_wave.or(no_heat).ok_or("neither branch told anything")?)
}

/// A missing value of an optional argument is `None`; of any other, it fails the task.
#[task]
fn report(
    counted: String,
    months: Vec<Month>,
    hot: Vec<Observation>,
    spells: Vec<Spell>,
    frosts: Option<BTreeMap<String, u32>>,
    heat: String,
    table: String,
) -> String {
    let mut lines = vec![format!("Weather of Seattle and New York, 2012 to 2015 ({counted})"), String::new()];
    for station in ["New York", "Seattle"] {
        let of = |extreme: fn(&&Month, &&Month) -> std::cmp::Ordering| {
            months.iter().filter(|month| month.station == station).max_by(extreme)
        };
        if let Some(warm) = of(|a, b| a.mean.total_cmp(&b.mean)) {
            lines.push(format!(
                "  {station:<9} warmest month {:>2}: {:.1} °C on average",
                warm.month, warm.mean
            ));
        }
        if let Some(wet) = of(|a, b| a.rain.total_cmp(&b.rain)) {
            lines.push(format!("  {station:<9} wettest month {:>2}: {:.0} mm a year", wet.month, wet.rain));
        }
        if let Some(count) = frosts.as_ref().and_then(|counts| counts.get(station)) {
            lines.push(format!("  {station:<9} froze on {count} days"));
        }
    }
    for spell in &spells {
        lines.push(format!(
            "  {:<9} rained {} days from {} ({:.0} mm)",
            spell.station, spell.days, spell.from, spell.rain
        ));
    }
    if let Some(day) = hot.first() {
        lines.push(format!(
            "  hottest: {:.1} °C at {} on {}, of {} hot days",
            day.temp_max,
            day.station,
            day.date,
            hot.len()
        ));
    }
    lines.push(format!("  {heat}"));
    lines.push(format!("  {table}"));
    lines.join("\n")
}

/// What four years of weather at two places were like.
#[dag(id = "weather")]
fn weather(
    dag: &Dag,
    #[param(default = "examples/data/weather.csv")] file: Param<PathBuf>,
    #[param(default = 30.0)] floor: Param<f64>,
) {
    let days = validate(dag, read(dag, file));
    let months = summary(dag, expand(by_month(dag, days)));
    let hot = hottest(dag, days, floor);
    let branch = any_heat(dag, hot);
    let (wave, none) = (heat_wave(dag, hot), no_heat(dag, floor));
    dag.task(wave).after(branch);
    dag.task(none).after(branch);
    let spells = wet_spells(dag, days);
    let frosty = frosts(dag, days);
    // The last line that a command prints is its return value. Values reach it through its environment,
    // where they are data; a template fills in the rest.
    let counted = dag
        .bash("count", r#"echo "{{ ti.xcom_pull('validate', key='rows') }} days, $HOT of them over {{ params.floor }} °C""#)
        .env("HOT", count(dag, hot))
        .output();
    let choice = choose_table(dag, months, hot);
    let table = load(dag, months, choice.rows());
    report(dag, counted, months, hot, spells, frosty, heat(dag, wave, none), table);
}

#[task(task_id = "count_hot")]
fn count(days: Vec<Observation>) -> usize {
    days.len()
}

excom::main!(weather, show = "report");

#[cfg(test)]
mod tests {
    use super::*;

    /// A task's body is a function like any other.
    #[test]
    fn a_dry_day_ends_a_wet_spell() {
        let day = |date: &str, precipitation| Observation {
            station: "Here".into(),
            date: date.into(),
            precipitation,
            temp_max: 1.0,
            temp_min: 0.0,
            wind: 0.0,
        };
        let days = vec![day("1", 1.0), day("2", 0.0), day("3", 2.0), day("4", 3.0)];
        let spells = wet_spells::call(days);
        assert_eq!((spells[0].from.as_str(), spells[0].days, spells[0].rain), ("3", 2, 5.0));
    }

    /// The DAG as a whole, over the real data.
    #[test]
    fn four_years_come_to_this() {
        let folder = tempfile::tempdir().unwrap();
        let engine = excom::embedded::open(&excom::config::Settings::at(folder.path())).unwrap();
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/data/weather.csv");
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for (run, floor, heat) in [
            ("warm", "30", "the heat is over by 09-11 at New York, by 09-15 at Seattle"),
            ("cool", "45", "it never got as hot as 45 °C"),
        ] {
            let options = excom::RunOptions::new().run_id(run).param("file", file).param("floor", floor);
            let report =
                runtime.block_on(excom::Runner::new(engine.clone()).run(&weather(), options)).unwrap();
            assert!(report.succeeded(), "{report:?}");
            assert_eq!(report.task("summary").unwrap().instances.as_ref().unwrap().success, 24);
            let key = excom::XComKey::new("weather", run, "report", -1, excom::RETURN_VALUE).unwrap();
            let (user, keys) = (excom::Caller::user("test"), [key]);
            let pull = engine.pull(&user, &keys, excom::PullOptions::default());
            let told: String = runtime.block_on(pull).unwrap().remove(0).value().unwrap().get().unwrap();
            for line in ["warmest month  7: 25.5 °C", "rained 19 days from 2012-12-09 (118 mm)", heat] {
                assert!(told.contains(line), "{line:?} is not in {told}");
            }
        }
    }
}
