//! The comparison itself must notice what it is there for.

use std::time::Duration;

use excom::core::db::Scope;

use super::*;

/// A home with a small and a large current value and a large earlier one, and its model.
fn home_and_model() -> (tempfile::TempDir, excom::Engine, Model) {
    let folder = tempfile::tempdir().unwrap();
    let engine = home::open(folder.path()).unwrap();
    let mut model = Model::new(THREADS);
    for (counter, (key, size)) in [(0, 40), (1, 50_000), (1, 60_000)].into_iter().enumerate() {
        let version = engine.clock().version();
        let push = Operation::Push { key, version, counter: counter as u64, size };
        let value = home::value(counter as u64, size).unwrap();
        let caller = Caller::user("prover");
        let name = xcom(0, key).unwrap();
        pollster::block_on(engine.push_version(&caller, &name, version, value.into())).unwrap();
        model.apply(0, &push);
    }
    (folder, engine, model)
}

#[test]
fn what_is_as_it_should_be_passes() {
    let (folder, engine, mut model) = home_and_model();
    let place = Place::files();
    let home = Home { place: &place, folder: folder.path() };
    assert_eq!(verify::resolve(&engine, &mut model, &[None, None, None]).unwrap(), [true; 3]);
    assert_eq!(verify::verify(&engine, home, &model).unwrap(), 3);
    assert_eq!(pollster::block_on(engine.collect_abandoned(Duration::ZERO)).unwrap(), 0);
}

#[test]
fn a_lost_push_is_noticed() {
    let (_folder, engine, mut model) = home_and_model();
    let lost = Operation::Push { key: 2, version: engine.clock().version(), counter: 9, size: 40 };
    model.apply(0, &lost);
    assert!(verify::resolve(&engine, &mut model, &[None, None, None]).is_err());
}

#[test]
fn a_clear_by_half_is_noticed() {
    let (_folder, engine, mut model) = home_and_model();
    let attempt = engine.clock().attempt_id();
    let scope = Scope::Key(xcom(0, 0).unwrap());
    pollster::block_on(engine.clear(&Caller::user("prover"), &scope)).unwrap();
    let doubts = [Some(Operation::Start(attempt)), None, None];
    assert!(verify::resolve(&engine, &mut model, &doubts).is_err());
}

#[test]
fn files_too_many_and_too_few_and_altered_are_noticed() {
    let (folder, engine, model) = home_and_model();
    let place = Place::files();
    let home = Home { place: &place, folder: folder.path() };
    let settings = home::settings(folder.path()).unwrap();
    let values = excom::embedded::Home::of(&settings).values();

    std::fs::write(values.join("stranger.part"), "x").unwrap();
    let error = verify::verify(&engine, home, &model).unwrap_err().to_string();
    assert!(error.contains("objects that nobody knows") && error.contains("stranger.part"), "{error}");
    std::fs::remove_file(values.join("stranger.part")).unwrap();

    let file = values.join(home::value_files(&settings).unwrap().pop_first().unwrap());
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let error = verify::verify(&engine, home, &model).unwrap_err().to_string();
    assert!(error.contains("truncated"), "{error}");
    std::fs::remove_file(&file).unwrap();
    assert!(verify::verify(&engine, home, &model).is_err());
}

#[test]
fn operations_survive_their_text() {
    let (_folder, engine, _) = home_and_model();
    let version = engine.clock().version();
    for operation in [
        Operation::Push { key: 3, version, counter: 8, size: 12 },
        Operation::Start(engine.clock().attempt_id()),
        Operation::Clear(1),
        Operation::Delete(2),
    ] {
        let text = operation.to_string();
        let words: Vec<&str> = text.split(' ').collect();
        assert_eq!(Operation::parse(&words).unwrap(), operation);
    }
}
