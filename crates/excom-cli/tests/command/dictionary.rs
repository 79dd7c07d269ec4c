//! `excom dictionary`.

use excom::{Caller, Value, XComKey};

use crate::{Shell, Told};

/// Pushes similar values of a DAG, or ones that have nothing in common.
fn push(shell: &Shell, dag: &str, count: usize, similar: bool) {
    let engine = shell.engine();
    for i in 0..count {
        let n = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let value = match similar {
            true => {
                serde_json::json!({"sensor": n % 977, "position": {"latitude": n % 90, "longitude": n % 180},
                "readings": {"temperature_celsius": n % 40, "relative_humidity": n % 101, "pressure_hpa": n % 1100},
                "firmware": "2026.11.3", "calibrated_at": "2026-10-01T00:00:00Z", "quality": "verified"})
            }
            false => (0..50)
                .map(|k| format!("{:016x}", n.rotate_left(k).wrapping_mul(n | 1)))
                .collect::<String>()
                .into(),
        };
        let key = XComKey::new(dag, "r1", "read", i as i32, "k").unwrap();
        pollster::block_on(engine.push(&Caller::user("ana"), &key, Value::of(&value).unwrap().into()))
            .unwrap();
    }
    pollster::block_on(engine.close()).unwrap();
}

#[test]
fn dictionaries_are_trained_told_and_used() {
    let shell = Shell::new();
    let none = shell.run(&["dictionary", "list"]);
    assert_eq!((none.code, none.out.as_str()), (0, ""));
    assert!(none.err.starts_with("there are no dictionaries\n  nothing was ever pushed"), "{none:?}");
    assert!(!shell.home().exists(), "looking makes nothing");
    let too_few = "no DAG without a dictionary has enough small values for one\n";
    assert_eq!(shell.run(&["dictionary", "train"]), Told::out(too_few));

    push(&shell, "weather", 499, true);
    let told = shell.run(&["dictionary", "train", "--dag-id", "weather"]);
    assert_eq!(told, Told::out("weather: 499 small values in the metadata database, it takes 500\n"));
    push(&shell, "weather", 500, true);
    push(&shell, "noise", 500, false);
    let told = shell.run(&["dictionary", "train"]);
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    let lines: Vec<&str> = told.out.lines().collect();
    assert!(lines[0].starts_with("weather: dictionary 32768 of "), "{told:?}");
    assert!(lines[0].contains("; 100 other values take ") && lines[0].ends_with("% less"), "{told:?}");
    assert!(lines[1].starts_with("noise: not kept, it would save ") && lines.len() == 2, "{told:?}");

    let list = shell.run(&["dictionary", "list"]);
    assert!(
        list.out.starts_with("dictionary  dag      size") && list.out.contains("32768       weather"),
        "{list:?}"
    );
    let report = shell.run(&["dictionary", "train", "--dag-id", "weather", "--json"]).json();
    assert_eq!(
        (&report["items"][0]["kept"], &report["items"][0]["dictionary"]["id"]),
        (&true.into(), &32_769.into())
    );
    let report = shell.run(&["dictionary", "list", "--dag-id", "weather", "--json"]).json();
    assert_eq!(report["items"].as_array().unwrap().len(), 2);
    assert!(report["items"][1]["gain"]["percent"].as_u64().unwrap() >= 20, "{report}");
    let doctor = shell.run(&["doctor"]);
    assert!(doctor.code == 0 && doctor.out.contains("\ndictionary  weather saves "), "{doctor:?}");

    push(&shell, "weather", 500, true);
    let shell_pull =
        ["xcom", "pull", "--dag-id", "weather", "--run-id", "r1", "--task-id", "read", "--key", "k"];
    let told = shell.run(&[&shell_pull[..], &["--map-index", "7"]].concat());
    assert!(told.code == 0 && told.out.contains(r#""firmware":"2026.11.3""#), "{told:?}");
}
