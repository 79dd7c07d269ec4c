//! What attackers try: old tokens, names that lead elsewhere, and values that others of this kind took for code. All of it
//! is refused or stays what it is, and none of it is an error of the server.

use axum::http::{Method, Request, header};
use excom_core::engine::{Reads, Writes};
use excom_server::Role;
use jsonwebtoken::Algorithm;
use serde_json::{Value as Json, json};

use crate::auth::{claims, forged};
use crate::client::{SECRET, Server, Worker, begin};

/// A server whose tasks stay in their own run, and write only what is their own.
fn guarded() -> Server {
    let server = Server::with(|mut settings| {
        (settings.access.writes, settings.access.reads) = (Writes::Own, Reads::Run);
        settings
    });
    server.run("r1");
    server
}

#[test]
fn a_token_of_the_try_before_is_worth_nothing() {
    let server = guarded();
    let waiting = server.queued("extract", -1, 1);
    let first = server.started(waiting.clone());
    first.push("extract/k", &json!("first")).is(201);
    first.ends("up_for_retry").is(204);
    let second = server.started(server.queued("extract", -1, 2));
    second.push("extract/k", &json!("second")).is(201);
    // The token that waited in the queue starts nothing again, and does nothing else.
    let (id, queued) = &waiting;
    let start = format!("/execution/task-instances/{id}/run");
    server.call(queued, Method::PATCH, &start, Some(&begin())).is(409);
    server.call(queued, Method::POST, "/execution/xcoms/weather/r1/extract/k", Some(&json!(0))).is(403);
    server.call(queued, Method::GET, "/api/excom/v1/values/weather/r1/extract/-1/k", None).is(403);
    // Neither does the one with which the first try ran, wherever it writes.
    first.call(Method::PATCH, &format!("/task-instances/{}/run", first.id), Some(&begin())).is(409);
    first.push("extract/k", &json!(0)).is(409);
    first.call(Method::DELETE, "/xcoms/weather/r1/extract/k", None).is(409);
    first
        .own(Method::PATCH, "state", &json!({"state": "failed", "end_date": "2026-11-21T10:00:09Z"}))
        .is(410);
    first.own(Method::PUT, "heartbeat", &json!({"hostname": "vm", "pid": 12})).is(410);
    first.own(Method::PUT, "rtif", &json!({"command": "x"})).is(409);
    let own = "/api/excom/v1/values/weather/r1/extract/-1/k";
    server.call(&first.token, Method::PUT, own, Some(&json!(0))).is(409);
    server.call(&first.token, Method::DELETE, own, None).is(409);
    assert_eq!(second.get("/xcoms/weather/r1/extract/k").is(200).json()["value"], "second");
}

/// Texts that some servers cut, decode once more, or take for a part of a path.
fn tricks() -> Vec<String> {
    let mut tricks: Vec<String> = [
        "..",
        ".",
        "../load",
        "../../r0/load",
        "../load/k",
        "..%2fload",
        "..%2Fload%2Fk",
        "%2e%2e%2fload",
        "%2e%2e/load/k",
        "%252e%252e%252fload",
        "..%5cload",
        "..%c0%afload",
        "%c0%ae%c0%ae%c0%afload",
        "%e0%80%ae%e0%80%ae",
        "%00",
        "k%00",
        "k%00.json",
        "%ff%fe",
        "%ed%a0%80",
        "%",
        "%2",
        "%zz",
        "%0d%0aexcom-version:%200000000000000000",
        "%0a",
        ";x=1",
        "k;map_index=-1",
        "//load",
        "%2f",
        "/",
        "%20",
        "+",
        "k%3fmap_index=0",
        "k%23",
        "~",
        "*",
        "%27%20OR%201=1--",
        "%22",
        "%24%7bjndi:ldap://x%7d",
        "{{7*7}}",
        "k/item/99999999999999999999",
        "k/item/-99999999999999999999",
        "k/slice",
        // A right-to-left mark, a full-width dot and stroke, a letter with and without its own code, no letter at all.
        "%e2%80%aek",
        "%ef%bc%8e%ef%bc%8e%ef%bc%8fload",
        "%c3%a9",
        "e%cc%81",
        "%f0%9f%92%a3",
        "-1",
        "0",
        "99999999999999999999",
        "-2147483649",
        "NaN",
        "null",
        "undefined",
        "__proto__",
    ]
    .map(str::to_owned)
    .to_vec();
    for length in [251, 513, 5_000] {
        tricks.push("a".repeat(length));
        tricks.push("%c3%a9".repeat(length));
    }
    tricks
}

/// Every route with names in its path, each once with a trick in the place of each name.
fn crafted(trick: &str) -> Vec<String> {
    const ID: &str = "01936a5e-7b1c-7000-8000-000000000001";
    let routes = [
        ("/execution/xcoms", vec!["weather", "r1", "extract", "k"], ""),
        ("/execution/xcoms", vec!["weather", "r1", "extract", "k", "item", "0"], ""),
        ("/execution/task-instances", vec![ID, "run"], ""),
        ("/execution/task-instances", vec![ID, "state"], ""),
        ("/execution/task-instances", vec![ID, "heartbeat"], ""),
        ("/execution/task-instances", vec![ID, "skip-downstream"], ""),
        ("/execution/dag-runs", vec!["weather", "r1", "state"], ""),
        ("/execution/dag-runs", vec!["weather", "r1", "clear"], ""),
        ("/execution/task-instances/previous", vec!["weather", "extract"], ""),
        ("/execution/hitlDetails", vec![ID], ""),
        ("/execution/dags", vec!["weather"], ""),
        (
            "/api/v2/dags",
            vec!["weather", "dagRuns", "r1", "taskInstances", "extract", "-1", "hitlDetails"],
            "",
        ),
        ("/execution/variables", vec!["name"], ""),
        ("/execution/connections", vec!["name"], ""),
        ("/api/excom/v1/values", vec!["weather", "r1", "extract", "-1", "k"], ""),
        ("/api/excom/v1/history", vec!["weather", "r1", "extract", "-1", "k"], ""),
        (
            "/api/v2/dags",
            vec!["weather", "dagRuns", "r1", "taskInstances", "extract", "xcomEntries", "k"],
            "",
        ),
        ("/execution/xcoms", vec!["weather", "r1", "extract", "k"], "?map_index="),
        ("/execution/xcoms", vec!["weather", "r1", "extract", "k"], "?offset="),
        ("/execution/xcoms", vec!["weather", "r1", "extract", "k", "slice"], "?start=1&step="),
        ("/execution/task-instances/states", vec![], "?dag_id=weather&run_ids="),
        ("/execution/dag-runs/count", vec![], "?dag_id=weather&logical_dates="),
        ("/execution/dag-runs/previous", vec![], "?dag_id=weather&logical_date="),
        ("/api/v2/dags/~/dagRuns/~/taskInstances/~/xcomEntries", vec![], "?order_by="),
        ("/api/v2/dags/~/dagRuns/~/taskInstances/~/xcomEntries", vec![], "?xcom_key_pattern="),
        ("/api/v2/dags/~/dagRuns/~/taskInstances/~/xcomEntries", vec![], "?logical_date_gte="),
    ];
    let mut paths = Vec::new();
    for (prefix, names, query) in routes {
        if !query.is_empty() {
            let path = names.iter().fold(prefix.to_owned(), |path, name| format!("{path}/{name}"));
            paths.push(format!("{path}{query}{trick}"));
            continue;
        }
        for place in 0..names.len() {
            let named =
                |(at, name): (usize, &&str)| if at == place { trick.to_owned() } else { (*name).to_owned() };
            paths.push(format!(
                "{prefix}/{}",
                names.iter().enumerate().map(named).collect::<Vec<_>>().join("/")
            ));
        }
    }
    paths
}

/// All XComs of a task, as a person sees them.
fn entries(server: &Server, task: &str) -> Vec<(String, i64)> {
    let mut found = Vec::new();
    loop {
        let offset = found.len();
        let path = format!(
            "/api/v2/dags/weather/dagRuns/r1/taskInstances/{task}/xcomEntries?limit=100&offset={offset}"
        );
        let list = server.call(&server.person(Role::Read), Method::GET, &path, None).is(200).json();
        let entry =
            |entry: &Json| (entry["key"].as_str().unwrap().to_owned(), entry["map_index"].as_i64().unwrap());
        found.extend(list["xcom_entries"].as_array().unwrap().iter().map(entry));
        if found.len() == offset {
            return found;
        }
    }
}

#[test]
fn no_name_in_a_path_leads_to_what_is_anothers() {
    let server = guarded();
    let (task, other) = (server.running("extract", -1), server.running("load", -1));
    other.push("load/k", &json!("theirs")).is(201);
    other.push("load/secret", &json!("theirs")).is(201);
    let ask = |method: &Method, path: &str| {
        // What no request can be made of, no client can send.
        if Request::builder().uri(path).body(()).is_err() {
            return 0;
        }
        let answer = server.call(&task.token, method.clone(), path, Some(&json!("ours")));
        assert!(answer.status.as_u16() < 500, "{method} {path}: {answer:?}");
        // Within the run values are everybody's to look at.
        assert!(method == Method::GET || !answer.text.contains("theirs"), "{method} {path}: {answer:?}");
        1
    };
    let paths: Vec<String> = tricks().iter().flat_map(|trick| crafted(trick)).collect();
    let all = |methods: &[Method]| -> usize {
        methods.iter().map(|method| paths.iter().map(|path| ask(method, path)).sum::<usize>()).sum()
    };
    let asked = all(&[Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH]);
    assert!(asked > 10_000, "{asked}");
    // What it did push is its own, under the names that it said.
    let own = entries(&server, "extract");
    for key in ["..", "../load", "%2e%2e%2fload", "k;map_index=-1", "é", "e\u{301}", "' OR 1=1--"] {
        assert!(own.contains(&(key.to_owned(), -1)), "{key} in {own:?}");
    }
    all(&[Method::DELETE]);
    for key in ["k", "secret"] {
        assert_eq!(other.get(&format!("/xcoms/weather/r1/load/{key}")).is(200).json()["value"], "theirs");
    }
    assert_eq!(entries(&server, "load"), [("k".to_owned(), -1), ("secret".to_owned(), -1)]);
}

#[test]
fn another_tasks_run_dag_or_team_is_out_of_reach() {
    let server = guarded();
    let weather = server.running("extract", -1);
    weather.push("extract/k", &json!("theirs")).is(201);
    // A task of another team's DAG, with a token that is good.
    let run = json!({"dag_id": "finance", "run_id": "r1"});
    let admin = server.person(Role::Admin);
    server.call(&admin, Method::POST, "/api/excom/v1/runs", Some(&run)).is(201);
    let instance = json!({"dag_id": "finance", "run_id": "r1", "task_id": "sum"});
    let queued =
        server.call(&admin, Method::POST, "/api/excom/v1/task-instances", Some(&instance)).is(201).json();
    let (id, token) = (queued["id"].as_str().unwrap(), queued["token"].as_str().unwrap());
    let stranger = server.started((id.to_owned(), token.to_owned()));
    let theirs = "/xcoms/weather/r1/extract/k";
    for (method, body) in [(Method::GET, None), (Method::POST, Some(json!(0))), (Method::DELETE, None)] {
        let refused = stranger.call(method.clone(), theirs, body.as_ref()).is(403).json();
        assert_eq!(refused["detail"]["reason"], "forbidden", "{method} {refused}");
    }
    let pull = json!({"dag_id": "weather", "run_id": "r1", "xcoms": [{"task_id": "extract", "key": "k", "map_index": -1}]});
    let pulled = server.call(&stranger.token, Method::POST, "/api/excom/v1/pull", Some(&pull));
    assert!(!pulled.text.contains("theirs"), "{pulled:?}");
    for path in ["values", "history"] {
        let path = format!("/api/excom/v1/{path}/weather/r1/extract/-1/k");
        let answer = server.call(&stranger.token, Method::GET, &path, None).is(403);
        assert!(!answer.text.contains("theirs"), "{answer:?}");
    }
    for what in ["state", "heartbeat", "rtif", "skip-downstream"] {
        let path = format!("/task-instances/{}/{what}", weather.id);
        for method in [Method::PATCH, Method::PUT] {
            let status = stranger.call(method, &path, Some(&json!({}))).status.as_u16();
            assert!([403, 405].contains(&status), "{what}: {status}");
        }
    }
    weather.get(theirs).is(200);
}

#[test]
fn claims_of_a_task_that_cannot_be_are_refused() {
    let server = guarded();
    let task = server.running("extract", -1);
    let long = "x".repeat(251);
    for (name, value) in [
        ("dag_id", json!("")),
        ("dag_id", json!(long)),
        ("run_id", json!("a\u{0}b")),
        ("task_id", json!(null)),
        ("task_id", json!({"$ne": 1})),
        ("map_index", json!(-2)),
        ("map_index", json!(1e99)),
        ("try_number", json!(-1)),
        ("max_tries", json!("1")),
        ("after", json!("nobody")),
    ] {
        let mut claims = claims(&server, &task.id);
        claims["ti"][name] = value.clone();
        let token = forged(Algorithm::HS512, SECRET, &claims);
        for path in ["/execution/xcoms/weather/r1/extract/k", "/api/excom/v1/values/weather/r1/extract/-1/k"]
        {
            let status = server.call(&token, Method::GET, path, None).status.as_u16();
            assert!([403, 422].contains(&status), "{name} = {value}: {status}");
        }
    }
}

#[test]
fn the_head_of_a_request_chooses_nobody() {
    let server = guarded();
    let task = server.running("extract", -1);
    let ask = |head: &[(&str, &str)]| {
        let mut request = Request::builder().uri("/execution/xcoms/weather/r1/extract/k");
        for (name, value) in head {
            request = request.header(*name, *value);
        }
        server.send(request.body(axum::body::Body::empty()).unwrap()).status.as_u16()
    };
    let good = format!("Bearer {}", task.token);
    assert_eq!(ask(&[("authorization", &good)]), 404);
    for head in [
        &[][..],
        &[("authorization", "Bearer")],
        &[("authorization", "Bearer ")],
        &[("authorization", "Basic YWRtaW46YWRtaW4=")],
        &[("authorization", &task.token)],
        &[("cookie", "_token=x"), ("x-forwarded-user", "admin"), ("x-real-ip", "127.0.0.1")],
        &[("x-original-url", "/execution/health"), ("x-rewrite-url", "/execution/health")],
        &[("x-http-method-override", "GET")],
    ] {
        assert_eq!(ask(head), 401, "{head:?}");
    }
    // Of two the first counts, whoever put the second there.
    assert_eq!(ask(&[("authorization", "Bearer nonsense"), ("authorization", &good)]), 403);
}

/// Values that Airflow's deserialization would make objects of, or run.
fn poisoned(marker: &str) -> Vec<Json> {
    let call = json!({"__classname__": "subprocess.Popen", "__version__": 1, "__data__": {"args": ["touch", marker]}});
    vec![
        call.clone(),
        json!([[{"deep": call}]]),
        json!({"__type": "airflow.sdk.definitions.deadline.DeadlineReference", "__var": {"classpath": "os.system"}}),
        json!({"__classname__": "airflow.triggers.base.Trigger", "__data__": {"kwargs": {"command": format!("touch {marker}")}}}),
        json!(call.to_string()),
        json!(json!(call.to_string()).to_string()),
        json!({"py/reduce": [{"py/function": "os.system"}, {"py/tuple": [format!("touch {marker}")]}]}),
        json!(format!("{{{{ cycler.__init__.__globals__.os.popen('touch {marker}').read() }}}}")),
        json!(format!("$(touch {marker})")),
    ]
}

/// What a task pushed is read by everybody as the text that it is.
fn is_data(server: &Server, task: &Worker<'_>, key: &str, value: &Json) {
    let path = format!("extract/{key}");
    task.push(&path, value).is(201);
    assert_eq!(task.get(&format!("/xcoms/weather/r1/{path}")).is(200).json()["value"], *value);
    let person = server.person(Role::Read);
    let entry = format!("/api/v2/dags/weather/dagRuns/r1/taskInstances/extract/xcomEntries/{key}");
    assert_eq!(server.call(&person, Method::GET, &entry, None).is(200).json()["value"], *value);
    // Whatever becomes of these, no value is revived.
    for option in ["deserialize=true", "stringify=false"] {
        let status = server.call(&person, Method::GET, &format!("{entry}?{option}"), None).status.as_u16();
        assert!(status < 500, "{option}: {status}");
    }
    let streamed = format!("/api/excom/v1/values/weather/r1/extract/-1/{key}");
    assert_eq!(server.call(&person, Method::GET, &streamed, None).is(200).json(), *value);
}

fn marker() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("was-run").display().to_string();
    (folder, marker)
}

#[test]
fn cve_2023_50943_pickled_bytes_are_no_value() {
    let (server, (folder, marker)) = (guarded(), marker());
    let task = server.running("extract", -1);
    // What Python would run when it unpickles them, in both protocols.
    let code = format!("cos\nsystem\n(S'touch {marker}'\ntR.");
    let binary = [b"\x80\x04\x95", code.as_bytes()].concat();
    for pickled in [code.as_bytes(), &binary] {
        for kind in ["application/json", "application/octet-stream", "application/python-pickle"] {
            let request =
                Request::builder().method(Method::POST).uri("/execution/xcoms/weather/r1/extract/k");
            let request = request
                .header(header::AUTHORIZATION, format!("Bearer {}", task.token))
                .header(header::CONTENT_TYPE, kind)
                .body(pickled.to_vec().into());
            server.send(request.unwrap()).is(422);
        }
    }
    // As a text they are a text.
    is_data(&server, &task, "text", &json!(code));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn cve_2026_34538_who_may_not_read_xcoms_gets_none_by_waiting_for_a_run() {
    let server = guarded();
    let task = server.running("extract", -1);
    task.push("extract/return_value", &json!("theirs")).is(201);
    task.ends("success").is(204);
    // A person with a good token and no role.
    let now = excom_core::Clock::now(&*server.clock).as_second();
    let nobody = json!({"sub": "nobody", "aud": "urn:excom:api", "iat": now, "exp": now + 600});
    let nobody = forged(Algorithm::HS512, SECRET, &nobody);
    let run = "/api/v2/dags/weather/dagRuns/r1";
    let entries = format!("{run}/taskInstances/extract/xcomEntries");
    for path in [
        format!("{run}/wait?interval=1&result=extract"),
        format!("{run}/wait?interval=1&result=extract&result=return_value"),
        run.to_owned(),
        entries.clone(),
        format!("{entries}/return_value"),
        "/metrics".to_owned(),
    ] {
        let answer = server.call(&nobody, Method::GET, &path, None);
        assert!([403, 404].contains(&answer.status.as_u16()), "{path}: {answer:?}");
        assert!(!answer.text.contains("theirs"), "{path}: {answer:?}");
    }
    for token in [&nobody, ""] {
        let pull = json!({"dag_id": "weather", "run_id": "r1", "xcoms": [{"task_id": "extract"}]});
        let answer = server.call(token, Method::POST, "/api/excom/v1/pull", Some(&pull));
        assert!(answer.status.is_client_error() && !answer.text.contains("theirs"), "{answer:?}");
    }
}

const ENTRIES: &str = "/api/v2/dags/weather/dagRuns/r1/taskInstances/extract/xcomEntries";

#[test]
fn cve_2026_33858_a_crafted_value_that_is_made_by_hand_runs_nowhere() {
    let (server, (folder, marker)) = (guarded(), marker());
    let task = server.running("extract", -1);
    let writer = server.person(Role::Write);
    for (count, value) in poisoned(&marker).into_iter().enumerate() {
        let new = json!({"key": format!("made{count}"), "value": value});
        let status = server.call(&writer, Method::POST, ENTRIES, Some(&new)).status.as_u16();
        // Where Airflow revives it, it is refused; where nobody does, it is data.
        assert!([201, 422].contains(&status), "{value}: {status}");
        let object = value.is_object() || value.is_array();
        let reserved = ["\"__classname__\"", "\"__type\""].iter().any(|key| value.to_string().contains(key));
        assert!(!(object && reserved) || status == 422, "{value}: {status}");
        is_data(&server, &task, &format!("k{count}"), &value);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn cve_2026_42359_neither_does_one_that_is_changed_by_hand() {
    let (server, (folder, marker)) = (guarded(), marker());
    let task = server.running("extract", -1);
    task.push("extract/k", &json!("before")).is(201);
    task.ends("success").is(204);
    let writer = server.person(Role::Write);
    for value in poisoned(&marker) {
        let change = json!({"value": value});
        let status =
            server.call(&writer, Method::PATCH, &format!("{ENTRIES}/k"), Some(&change)).status.as_u16();
        let new = json!({"key": "other", "value": value});
        let made = server.call(&writer, Method::POST, ENTRIES, Some(&new)).status.as_u16();
        // Both doors have one rule.
        assert_eq!(status == 422, made == 422, "{value}");
        let delete = format!("{ENTRIES}/other");
        server.call(&server.person(Role::Admin), Method::DELETE, &delete, None);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn cve_2025_54550_who_only_looks_changes_no_value_that_a_worker_takes() {
    let server = guarded();
    let task = server.running("extract", -1);
    task.push("extract/command", &json!("date")).is(201);
    task.ends("success").is(204);
    let evil = json!("date; touch /tmp/was-run");
    let reader = server.person(Role::Read);
    for (method, path, body) in [
        (Method::POST, ENTRIES.to_owned(), json!({"key": "command", "value": evil})),
        (Method::PATCH, format!("{ENTRIES}/command"), json!({"value": evil})),
        (Method::DELETE, format!("{ENTRIES}/command"), json!(null)),
        (Method::PUT, "/api/excom/v1/values/weather/r1/extract/-1/command".to_owned(), evil.clone()),
        (Method::DELETE, "/api/excom/v1/values/weather/r1/extract/-1/command".to_owned(), json!(null)),
        (Method::POST, "/execution/xcoms/weather/r1/extract/command".to_owned(), evil),
    ] {
        server.call(&reader, method, &path, Some(&body)).is(403);
    }
    let entry = server.call(&reader, Method::GET, &format!("{ENTRIES}/command"), None).is(200).json();
    assert_eq!(entry["value"], "date");
}

#[test]
fn cve_2026_25917_links_are_values_like_any_other() {
    let (server, (folder, marker)) = (guarded(), marker());
    let task = server.running("extract", -1);
    for (count, value) in poisoned(&marker).into_iter().enumerate() {
        is_data(&server, &task, &format!("_link_Logs{count}"), &value);
    }
    let links = "/api/v2/dags/weather/dagRuns/r1/taskInstances/extract/links";
    let status = server.call(&server.person(Role::Read), Method::GET, links, None).status.as_u16();
    assert!([200, 404].contains(&status), "{status}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
