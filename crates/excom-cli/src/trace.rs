//! `excom trace`: where a value came from, or what came of it, as a tree.

use clap::ArgMatches;
use excom::Version;
use excom::core::engine::{Direction, Trace, TraceOptions, Traced, TracedVersion};
use serde_json::json;

use crate::context::Context;
use crate::output::{Output, Style};
use crate::stop::{NoValue, Stop};
use crate::{identity, text, xcom};

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let key = identity::xcom(matches, context.environment())?;
    let version = matches.get_one::<String>("version").map(|text| text.parse::<Version>()).transpose()?;
    let forwards = matches.get_flag("forwards");
    let standard = if forwards { TraceOptions::forwards() } else { TraceOptions::backwards() };
    let number = |name: &str| matches.get_one::<u32>(name).copied();
    let options = TraceOptions {
        depth: number("depth").unwrap_or(standard.depth),
        children: number("children").unwrap_or(standard.children),
        ..standard
    };
    let (door, empty) = context.looking()?;
    let trace = door.trace(&key, version, options).await?;
    let Some(trace) = trace else {
        if let Some(version) = version {
            return Err(NoValue {
                exit_code: 3,
                answer: "missing",
                message: format!("no value: {key} has no version {version}"),
                hints: vec!["`excom xcom history` shows the versions that are known".to_owned()],
                known: [("key".to_owned(), json!(key)), ("version".to_owned(), json!(version))]
                    .into_iter()
                    .collect(),
            }
            .into());
        }
        let answer = door.answer(&key).await?;
        return answer.map_or(Ok(()), |answer| Err(xcom::no_value(answer, empty)));
    };
    door.close(output).await;
    if output.json() {
        return output.document(&json!({"direction": options.direction, "trace": trace}));
    }
    let root = line(&trace, "", output);
    output.line(&root)?;
    // What is in the same run is named without it, or its name would be most of the tree.
    branches(&trace, "", &format!("{}/{}/", key.ti.dag_id, key.ti.run_id), output)?;
    if any(&trace, &|node| node.more > 0) {
        output.say("not all is shown: --children shows more at each place");
    }
    if any(&trace, &|node| node.cut) {
        output.say("there is more behind what is marked (…): --depth shows more levels");
    }
    if trace.children.is_empty() && trace.more == 0 && !trace.cut {
        output.say(match options.direction {
            Direction::Backwards => {
                "nothing was read before by whoever pushed it, as far as the ledger knows"
            }
            Direction::Forwards => "nobody read it, as far as the ledger knows",
        });
    }
    Ok(())
}

fn branches(node: &Trace, indent: &str, run: &str, output: &mut Output) -> Result<(), Stop> {
    let last = node.children.len().checked_sub(1).filter(|_| node.more == 0);
    for (i, child) in node.children.iter().enumerate() {
        let (branch, below) = if Some(i) == last { ("└── ", "    ") } else { ("├── ", "│   ") };
        let told = line(child, run, output);
        output.line(&format!("{indent}{branch}{told}"))?;
        branches(child, &format!("{indent}{below}"), run, output)?;
    }
    if node.more > 0 {
        output.line(&format!("{indent}└── and {} more", text::number(node.more)))?;
    }
    Ok(())
}

/// Whether there is such a node in the tree.
fn any(node: &Trace, such: &impl Fn(&Trace) -> bool) -> bool {
    such(node) || node.children.iter().any(|child| any(child, such))
}

fn line(node: &Trace, run: &str, output: &Output) -> String {
    let (name, about) = match &node.what {
        Traced::Version(version) => (version.info.key.to_string(), about(version)),
        Traced::Unknown { key, version, why } => (key.to_string(), format!(": version {version}, {why}")),
        Traced::Sequence { key, elements } => {
            let name = format!("{}/{}/{} `{}`", key.dag_id, key.run_id, key.task_id, key.key);
            (name, format!(": all of it, {}", text::count(*elements, "element")))
        }
        Traced::Reader { reader, task, try_number, count, first, .. } => {
            let own = task.as_ref().and_then(|ti| ti.to_string().strip_prefix(run).map(str::to_owned));
            let reader = own.map_or_else(|| reader.clone(), |task| format!("task {task}"));
            let try_number = try_number.map_or(String::new(), |number| format!(", try {number}"));
            let times = text::count(*count, "time");
            (String::new(), format!("read by {reader}{try_number}: {times}, first at {}", text::time(*first)))
        }
        _ => (String::new(), "something that this command does not know".to_owned()),
    };
    let name = name.strip_prefix(run).unwrap_or(&name);
    let mark = match (node.repeated, node.cut) {
        (true, _) => " (*)",
        (_, true) => " (…)",
        _ => "",
    };
    format!("{}{}{mark}", output.styled(Style::Heading, &text::tame(name)), text::tame(&about))
}

/// ` = VALUE (size, when it was pushed and by whom, how it ended)`.
pub(crate) fn about(version: &TracedVersion) -> String {
    let info = &version.info;
    let by = match version.try_number {
        Some(number) => format!("try {number}"),
        None => info.writer.to_string(),
    };
    let ended = version.ended.as_ref().map_or(String::new(), |ended| {
        format!("; {} at {} by {}", ended.reason, text::time(ended.at), ended.by)
    });
    let (size, at) = (text::size(info.size), text::time(version.pushed_at));
    format!(" = {} ({size}, pushed at {at} by {by}{ended})", info.preview)
}
