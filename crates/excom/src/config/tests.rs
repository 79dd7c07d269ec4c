//! Every place that a setting comes from, and every way to get one wrong.

use std::path::{Path, PathBuf};

use excom_core::{Error, ErrorKind};

use super::*;

fn sources(variables: &[(&str, &str)]) -> Sources {
    Sources {
        environment: variables.iter().copied().collect(),
        folder: "/nowhere".into(),
        ..Sources::default()
    }
}

/// Sources with an `excom.toml` in a folder of its own.
fn with_file(text: &str) -> (tempfile::TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("excom.toml"), text).unwrap();
    let sources = Sources { folder: folder.path().to_owned(), ..Sources::default() };
    (folder, sources)
}

fn refused(sources: &Sources) -> Error {
    let error = Settings::load(sources).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    error
}

/// The message and hints for an `excom.toml`, without the folder's name.
fn refused_file(text: &str) -> String {
    let (folder, sources) = with_file(text);
    let told = format!("{:?}", refused(&sources));
    told.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn defaults_are_those_of_the_design() {
    let settings = Settings::load(&sources(&[])).unwrap();
    assert_eq!(*settings.core.home, Path::new("/nowhere/.excom"));
    let told: Vec<String> = TABLE.iter().map(|spec| format!("{spec} {}", spec.text(&settings))).collect();
    assert_eq!(
        told,
        [
            "[core] home .excom",
            "[core] xcom_backend database",
            "[core] parallelism 32",
            "[core] max_map_length 100000",
            "[core] fernet_key ",
            "[common.io] xcom_objectstorage_path ",
            "[common.io] xcom_objectstorage_threshold ",
            "[common.io] xcom_objectstorage_compression none",
            "[redis] url ",
            "[redis] ttl off",
            "[redis] accept_loss false",
            "[redis] timeout 5s",
            "[seal] keys ",
            "[seal] encrypt false",
            "[logging] retention 30d",
            "[database] url ",
            "[database] mode own",
            "[database] extras schema",
            "[database] connections 12",
            "[database] prepare true",
            "[database] durability normal",
            "[server] listen 127.0.0.1:8794",
            "[server] token_secret ",
            "[server] token_private_key ",
            "[server] token_keys ",
            "[server] token_kid ",
            "[server] token_algorithm ",
            "[server] token_audience urn:airflow.apache.org:task",
            "[server] token_issuer ",
            "[server] token_leeway 10s",
            "[server] tls_certificate ",
            "[server] tls_key ",
            "[server] access_log off",
            "[server] traces ",
            "[server] limit_requests off",
            "[server] limit_bytes off",
            "[server] body_limit 64MiB",
            "[server] longest_wait 1m",
            "[server] connections ",
            "[server] drain 30s",
            "[client] server ",
            "[client] token ",
            "[client] token_file ",
            "[client] authorities ",
            "[client] timeout 1m",
            "[client] patience 30s",
            "[xcom] mode open",
            "[xcom] offload threshold",
            "[xcom] inline_keys skipmixin_key, past_depends_met, _link_*",
            "[xcom] secret_keys ",
            "[xcom] inline_limit 64KiB",
            "[xcom] soft_limit 16MiB",
            "[xcom] hard_limit 1GiB",
            "[xcom] quota_run off",
            "[xcom] quota_dag off",
            "[xcom] object_format excom",
            "[xcom] backend_command ",
            "[xcom] backend_timeout 1m",
            "[xcom] also_read ",
            "[xcom] compress_from 4KiB",
            "[xcom] dictionaries true",
            "[xcom] writes any",
            "[xcom] reads any",
            "[xcom] grants ",
            "[xcom] observe false",
            "[xcom] exempt ",
            "[xcom] ledger batched",
            "[xcom] contracts refuse",
            "[xcom] retention 90d",
            "[xcom] retention_count off",
            "[xcom] retention_unread off",
            "[xcom] retention_done off",
            "[xcom] history 30d",
            "[xcom] history_bytes 7d",
            "[xcom] ledger_retention 90d",
            "[xcom] abandoned_after 1h",
        ]
    );
    assert!(TABLE.iter().all(|spec| *spec.origin(&settings) == Origin::Default));
    assert_eq!(engine::Settings::from(&settings), engine::Settings::default());
}

#[test]
fn every_default_is_a_text_that_sets_the_same() {
    for spec in TABLE {
        let name = format!("{}.{}", spec.section, spec.key);
        let settings = Settings::default().with(&name, &spec.default()).unwrap();
        assert_eq!(spec.text(&settings), spec.default());
        assert_eq!(*spec.origin(&settings), Origin::Program);
        assert_eq!(engine::Settings::from(&settings), engine::Settings::default());
    }
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let (folder, mut sources) = with_file("[xcom]\nledger = 'off'\nreads = 'run'\n\n\nhistory = '9d'\n");
    sources.environment =
        [("EXCOM__XCOM__LEDGER", "strict"), ("EXCOM__XCOM__READS", "any")].into_iter().collect();
    sources.set = vec![("xcom.ledger".into(), "batched".into())];
    let settings = Settings::load(&sources).unwrap();
    let origin = |key: &str| find("xcom", key).unwrap().origin(&settings).to_string();
    assert_eq!((settings.xcom.ledger.text(), origin("ledger")), ("batched", "--set".into()));
    assert_eq!((settings.xcom.reads.text(), origin("reads")), ("any", "EXCOM__XCOM__READS".into()));
    let line = format!("{}:6", folder.path().join("excom.toml").display());
    assert_eq!((settings.xcom.history.text(), origin("history")), ("9d", line));
    assert_eq!(origin("writes"), "default");
}

#[test]
fn the_home_comes_from_a_flag_a_variable_or_the_file() {
    let mut from = sources(&[("EXCOM_HOME", "here"), ("EXCOM__CORE__HOME", "/there")]);
    assert_eq!(*Settings::load(&from).unwrap().core.home, Path::new("/there"));
    from.home = Some("flagged".into());
    assert_eq!(*Settings::load(&from).unwrap().core.home, Path::new("/nowhere/flagged"));
    let settings = Settings::load(&sources(&[("EXCOM_HOME", "here")])).unwrap();
    assert_eq!(*settings.core.home, Path::new("/nowhere/here"));
    assert_eq!(settings.core.home.origin().to_string(), "EXCOM_HOME");

    // In a file it is relative to the file, wherever the program runs.
    let (folder, file) = with_file("core.home = 'data'\n");
    assert_eq!(*Settings::load(&file).unwrap().core.home, folder.path().join("data"));
    let named = Sources { config: Some(folder.path().join("excom.toml")), ..sources(&[]) };
    assert_eq!(*Settings::load(&named).unwrap().core.home, folder.path().join("data"));
}

#[test]
fn the_file_is_the_one_named_or_here_or_in_the_home() {
    let (folder, here) = with_file("[xcom]\nhistory = '11d'\n");
    let home = folder.path().join(".excom");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("excom.toml"), "[xcom]\nhistory = '12d'\n").unwrap();
    let other = folder.path().join("other.toml");
    std::fs::write(&other, "[xcom]\nhistory = '13d'\n").unwrap();
    let history = |sources: &Sources| Settings::load(sources).unwrap().xcom.history.to_string();

    assert_eq!(history(&here), "11d");
    let environment: Environment = [("EXCOM_CONFIG", "other.toml")].into_iter().collect();
    assert_eq!(history(&Sources { environment, ..here.clone() }), "13d");
    assert_eq!(history(&Sources { home: Some(home), ..sources(&[]) }), "12d");
    assert_eq!(history(&Sources { config: Some(other), ..here }), "13d");

    let error = refused(&sources(&[("EXCOM_CONFIG", "gone.toml")]));
    assert_eq!(error.to_string(), "EXCOM_CONFIG names the file `/nowhere/gone.toml`, which is not there");
}

#[test]
fn airflows_setting_is_read_where_excoms_is_not_set() {
    const NAME: &str = "AIRFLOW__CORE__XCOM_BACKEND";
    for class in [
        "airflow.sdk.execution_time.xcom.BaseXCom",
        "airflow.models.xcom.BaseXCom",
        "airflow.sdk.bases.xcom.BaseXCom",
    ] {
        let settings = Settings::load(&sources(&[(NAME, class)])).unwrap();
        assert_eq!(*settings.core.xcom_backend, Backend::Database);
        assert_eq!(settings.core.xcom_backend.text(), class);
        assert_eq!(settings.core.xcom_backend.origin().to_string(), NAME);
    }
    let empty = Settings::load(&sources(&[(NAME, "")])).unwrap();
    assert_eq!(*empty.core.xcom_backend.origin(), Origin::Default);

    let error = refused(&sources(&[(NAME, "mine.xcom.Backend")]));
    assert!(error.to_string().contains("Python class `Backend`"), "{error}");
    assert!(error.hints().iter().any(|hint| hint.contains("EXCOM__CORE__XCOM_BACKEND")));
    let both = sources(&[(NAME, "mine.xcom.Backend"), ("EXCOM__CORE__XCOM_BACKEND", "database")]);
    assert_eq!(
        Settings::load(&both).unwrap().core.xcom_backend.origin().to_string(),
        "EXCOM__CORE__XCOM_BACKEND"
    );
    let (_folder, mut file) = with_file("core.xcom_backend = 'database'\n");
    file.environment = both.environment;
    assert!(Settings::load(&file).is_ok());

    for (name, backend) in [
        ("redis", Backend::Redis),
        ("plugins.xcom.RedisXComBackend", Backend::Redis),
        ("object_storage", Backend::ObjectStorage),
        ("airflow.providers.common.io.xcom.backend.XComObjectStorageBackend", Backend::ObjectStorage),
    ] {
        assert_eq!(*Settings::load(&sources(&[(NAME, name)])).unwrap().core.xcom_backend, backend);
    }
    assert!(refused(&sources(&[(NAME, "data base")])).to_string().ends_with("is no XCom backend"));
}

#[test]
fn airflows_names_of_object_storage_are_read() {
    let sources = sources(&[
        ("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH", "s3://aws_default@bucket/xcom"),
        ("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD", "1048576"),
        ("EXCOM__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD", "-1"),
        ("AWS_SECRET_ACCESS_KEY", "hidden"),
    ]);
    let settings = Settings::load(&sources).unwrap();
    let path = settings.common_io.xcom_objectstorage_path.as_ref().unwrap();
    assert_eq!((path.scheme(), path.secret()), ("s3", "s3://aws_default@bucket/xcom"));
    assert_eq!(*settings.common_io.xcom_objectstorage_threshold, Some(Threshold::Never));
    assert_eq!(settings.environment.0["AWS_SECRET_ACCESS_KEY"], "hidden");
    assert!(!format!("{settings:?}").contains("hidden"));
}

#[test]
fn airflows_file_is_read_where_nothing_else_sets_it() {
    let (folder, mut sources) = with_file("core.max_map_length = 7\n");
    let path = folder.path().join("airflow.cfg");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write(
        "# As `airflow config list --defaults` writes it.\n[core]\n    # Comments are indented.\n\n\
         dags_folder = /opt/dags\nmax_map_length = 1024\nxcom_backend = \
         airflow.providers.common.io.xcom.backend.XComObjectStorageBackend\n\n[database]\n\
         sql_alchemy_connect_args = {\n    \"xcom_objectstorage_path = here\": [1,\n    2]}\n\
         sql_alchemy_conn = mysql://a:b%%40c@db/airflow?x=%%5B;y#z\n\n[common.io]\n\
         Xcom_Objectstorage_Path: s3://conn@bucket/a%%20b#c\nxcom_objectstorage_threshold = 1024\n\
         xcom_objectstorage_compression =\n",
    );
    let at = |sources: &Sources, section: &str, key: &str| {
        let (settings, spec) = (Settings::load(sources).unwrap(), find(section, key).unwrap());
        let origin = spec.origin(&settings).to_string();
        let place = format!("{}/", folder.path().display());
        (spec.text(&settings).to_owned(), origin.replace(&place, ""))
    };
    let told = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    let path_of = ("common.io", "xcom_objectstorage_path");
    assert_eq!(at(&sources, path_of.0, path_of.1), told("", "default"), "nothing names the file");
    for (name, value) in [("AIRFLOW_HOME", folder.path()), ("AIRFLOW_CONFIG", &path)] {
        let variables =
            [(name, value.to_str().unwrap()), ("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD", "5")];
        sources.environment = variables.iter().copied().collect();
        assert_eq!(at(&sources, path_of.0, path_of.1), told("s3://conn@bucket/a%20b#c", "airflow.cfg:16"));
        assert_eq!(at(&sources, "core", "xcom_backend").1, "airflow.cfg:7");
        assert_eq!(at(&sources, "core", "max_map_length"), told("7", "excom.toml:1"));
        assert_eq!(at(&sources, "common.io", "xcom_objectstorage_threshold").0, "5");
        assert_eq!(at(&sources, "common.io", "xcom_objectstorage_compression"), told("none", "default"));
    }
    for (text, part) in [
        (
            "[core]\nxcom_backend = mine.xcom.Backend\n",
            "airflow.cfg:2: [core] xcom_backend = \"mine.xcom.Backend\" is the Python",
        ),
        (
            "[common.io]\nxcom_objectstorage_path = s3://%(bucket)s\n",
            "airflow.cfg:2: [common.io] xcom_objectstorage_path refers to",
        ),
        ("[core\n", "airflow.cfg cannot be read as Airflow does"),
    ] {
        write(text);
        assert!(refused(&sources).to_string().contains(part), "{}", refused(&sources));
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(at(&sources, path_of.0, path_of.1), told("", "default"), "the file is not there");
}

#[test]
fn sections_with_a_dot_lists_and_booleans_are_read_from_a_file() {
    let (_folder, sources) = with_file(
        "[common.io]\nxcom_objectstorage_path = 'file:///xs'\nxcom_objectstorage_threshold = 0\n\
         [seal]\nkeys = ['env:NEW', 'fernet:file:/old key']\nencrypt = true\n",
    );
    let settings = Settings::load(&sources).unwrap();
    assert_eq!(*settings.common_io.xcom_objectstorage_threshold, Some(Threshold::From(0)));
    assert!(settings.common_io.xcom_objectstorage_path.origin().to_string().ends_with("excom.toml:2"));
    assert_eq!(settings.seal.keys.text(), "env:NEW, fernet:file:/old key");
    assert_eq!(settings.seal.keys[1], KeySource { fernet: true, place: KeyPlace::File("/old key".into()) });
    assert!(*settings.seal.encrypt);

    for (text, told) in [
        ("[common]\nio = 1", "[common.io] is a section, not a setting"),
        ("[common.oi]\npath = 'x'", "there is no setting [common] oi"),
        ("[common.io]\npath = 'x'", "excom.toml:2: there is no setting [common.io] path"),
        ("[common.io]\nxcom_objectstorage_path = '/xs'", "has no scheme"),
        ("[common.io]\nxcom_objectstorage_threshold = '1.5'", "is no whole number"),
        ("[seal]\nkeys = ['0123abc']", "none of file:, env: and command:"),
        ("[seal]\nkeys = [1]", "has an item that is no text"),
        ("[seal]\nencrypt = 'maybe'", "\"maybe\" is neither"),
    ] {
        assert!(refused_file(text).contains(told), "{}", refused_file(text));
    }
}

#[test]
fn passwords_in_urls_are_not_shown() {
    let url = "redis://ana:p4ss@redis.example:6379/0";
    let settings = Settings::default().with("redis.url", url).unwrap();
    let settings = settings.with("xcom.also_read", &format!("s3://old/x,{url}")).unwrap();
    assert_eq!(settings.redis.url.text(), "redis://ana:***@redis.example:6379/0");
    assert_eq!(settings.redis.url.as_ref().unwrap().secret(), url);
    let server = "postgresql://db/excom?user=ana&password=p4ss&sslmode=disable";
    let settings = settings.with("database.url", server).unwrap();
    let shown = "postgresql://db/excom?user=ana&password=***&sslmode=disable";
    assert_eq!(settings.database.url.text(), shown);
    assert!(!format!("{settings:?}").contains("p4ss"), "{settings:?}");
    let error = Settings::default().with("xcom.also_read", &format!("{url},/folder")).unwrap_err();
    assert!(!format!("{error:?}").contains("p4ss"), "{error:?}");
}

#[test]
fn airflows_own_database_is_one_that_airflow_may_have() {
    const MODE: (&str, &str) = ("EXCOM__DATABASE__MODE", "attached");
    const URL: &str = "EXCOM__DATABASE__URL";
    for url in [
        "postgresql+psycopg2://ana:p4ss@db/airflow",
        "mysql+mysqldb://ana:p4ss@db/airflow?beside=excom_2",
        "sqlite+aiosqlite:////home/ana/airflow/airflow.db",
    ] {
        let loaded = Settings::load(&sources(&[MODE, (URL, url)]));
        assert_eq!(*loaded.unwrap().database.mode, DatabaseMode::Attached);
    }
    for (url, told) in [
        ("", "[database] url is not set"),
        ("sqlite:///airflow.db", "[database] url is sqlite:///airflow.db (from EXCOM__DATABASE__URL)"),
        (
            "oracle://ana:p4ss@db/airflow",
            "[database] url is oracle://ana:***@db/airflow (from EXCOM__DATABASE__URL)",
        ),
    ] {
        let error = refused(&sources(&[MODE, (URL, url)]));
        let begin = "[database] mode = attached (from EXCOM__DATABASE__MODE) needs Airflow's database";
        assert_eq!(error.to_string(), format!("{begin}, and {told}"));
        assert!(error.hints()[0].contains("sql_alchemy_conn"), "{error:?}");
    }
    let error = refused(&sources(&[("EXCOM__DATABASE__MODE", "beside")]));
    assert_eq!(error.hints(), ["[database] mode takes own or attached"]);
}

#[test]
fn airflows_limit_of_mapping_is_read_too() {
    let settings = Settings::load(&sources(&[("AIRFLOW__CORE__MAX_MAP_LENGTH", "1024")])).unwrap();
    assert_eq!(*settings.core.max_map_length, 1024);
    let error = refused(&sources(&[("EXCOM__CORE__PARALLELISM", "0")]));
    assert!(error.to_string().ends_with("is too little: nothing could run"), "{error}");
    assert_eq!(error.hints(), ["[core] parallelism takes a whole number from 1"]);
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_its_line_and_what_is_right() {
    for (text, told) in [
        (
            "\n[xcom]\ninline_limt = 5\n",
            "excom.toml:3: there is no setting [xcom] inline_limt (configuration)\n  \
             hint: nearest: [xcom] inline_limit",
        ),
        (
            "[core]\nhistory = '1d'\n",
            "excom.toml:2: there is no setting [core] history (configuration)\n  hint: nearest: [xcom] history",
        ),
        (
            "[databse]\ndurability = 'full'\n",
            "excom.toml:1: there is no setting [databse] durability (configuration)\n  \
             hint: nearest: [database] durability",
        ),
        (
            "retention = '5d'\n",
            "excom.toml:1: there is no setting `retention` (configuration)\n  hint: nearest: [xcom] retention",
        ),
        (
            "[what]\nzzz = 1\n",
            "excom.toml:1: there is no setting [what] zzz (configuration)\n  \
             hint: `excom config list` shows all settings",
        ),
        (
            "[xcom]\n\nledger = true\n",
            "excom.toml:3: [xcom] ledger is a boolean; it takes batched, strict or off (configuration)\n  \
             hint: the default is ledger = \"batched\"",
        ),
        (
            "[xcom]\nretention = 90\n",
            "excom.toml:2: [xcom] retention is a bare number; it takes a length of time, such as 90d, 12h or \
             10s, or off (configuration)\n  hint: write it in quotes; the default is retention = \"90d\"",
        ),
        (
            "[xcom]\nquota_dag = 1.5\n",
            "excom.toml:2: [xcom] quota_dag is a number with a fraction; it takes a number of bytes, such as 65536, \
             64KiB or 1MB, or off (configuration)\n  hint: the default is quota_dag = \"off\"",
        ),
        (
            "[xcom]\nhard_limit = '3 parsecs'\n",
            "excom.toml:2: [xcom] hard_limit = \"3 parsecs\" is no size: `parsecs` is no unit of bytes \
             (configuration)\n  hint: [xcom] hard_limit takes a number of bytes, such as 65536, 64KiB or 1MB",
        ),
        (
            "[xcom]\nreads = 'some'\n",
            "excom.toml:2: [xcom] reads = \"some\" is not among what can be chosen (configuration)\n  \
             hint: [xcom] reads takes any, run or declared",
        ),
        (
            "xcom = 5\n",
            "excom.toml:1: [xcom] is a section, not a setting (configuration)\n  \
             hint: write [xcom] on a line of its own, and the settings under it",
        ),
    ] {
        assert_eq!(refused_file(text), told);
    }
    assert!(refused_file("[xcom]\n\nledger = = 1\n").starts_with("excom.toml:3: this is not TOML: "));
    assert!(
        refused_file("[xcom]\nledger = 'off'\nledger = 'off'\n")
            .starts_with("excom.toml:3: this is not TOML: ")
    );

    let (folder, file) = with_file("");
    std::fs::write(folder.path().join("excom.toml"), b"a = 1\nb = '\xff'\n").unwrap();
    assert!(refused(&file).to_string().ends_with("excom.toml:2: the file is not UTF-8 here"));
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("excom.toml")).unwrap();
    let error = refused(&Sources { folder: folder.path().to_owned(), ..Sources::default() });
    assert!(error.to_string().contains("excom.toml cannot be read: "), "{error}");
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let (_folder, file) =
        with_file("[databse]\nx = 1\n[xcom]\nledger = true\nretention = 'soon'\nhistory = '1d'\n");
    let environment = sources(&[("EXCOM__XCOM__READS", "some")]).environment;
    let error = refused(&Sources { environment, set: vec![("xcom.writes".into(), "all".into())], ..file });
    let told = error.to_string();
    assert!(told.starts_with("5 settings are wrong: "), "{told}");
    let mut behind = &*told;
    for part in
        ["excom.toml:1: ", "[xcom] ledger is a boolean", "[xcom] retention = \"soon\"", "READS: ", "--set: "]
    {
        behind = behind.split_once(part).unwrap_or_else(|| panic!("{part} is in {told}")).1;
    }
    assert!(error.hints().iter().any(|hint| hint == "[xcom] writes takes any or own"), "{error:?}");
}

#[test]
fn what_is_wrong_in_the_environment_and_in_flags_is_told_too() {
    let error = refused(&sources(&[("EXCOM__XCOM__RETENTON", "5d")]));
    assert_eq!(error.to_string(), "EXCOM__XCOM__RETENTON: there is no setting [xcom] retenton");
    assert_eq!(error.hints(), ["nearest: [xcom] retention"]);
    let error = refused(&sources(&[("EXCOM__XCOM__RETENTION", "")]));
    assert!(
        error.to_string().starts_with("EXCOM__XCOM__RETENTION: [xcom] retention = \"\" is no"),
        "{error}"
    );
    let error = refused(&sources(&[("EXCOM_HOME", "~/x")]));
    assert!(error.to_string().contains("only a shell replaces"), "{error}");
    let set = vec![("inline_limit".into(), "1".into())];
    let error = refused(&Sources { set, ..sources(&[]) });
    assert_eq!(error.to_string(), "--set: there is no setting `inline_limit`");
    assert_eq!(error.hints(), ["nearest: [xcom] inline_limit"]);
}

#[test]
fn sizes_and_ages() {
    for (text, bytes) in
        [("0", 0), ("65536", 65_536), ("64KiB", 65_536), ("64 kib", 65_536), ("1MB", 1_000_000)]
    {
        assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
    }
    for text in ["", "KiB", "-1", "1.5MiB", "1XB", "99999999TiB", "99999999999999999999"] {
        assert!(text.parse::<Size>().is_err(), "{text}");
    }
    for (text, seconds) in
        [("0s", 0), ("10s", 10), ("5m", 300), ("12h", 43_200), ("90d", 7_776_000), ("2w", 1_209_600)]
    {
        assert_eq!(text.parse(), Ok(Age(std::time::Duration::from_secs(seconds))), "{text}");
    }
    for text in ["", "90", "d", "-1d", "1.5h", "1y", "400000d", "99999999999999999999s"] {
        assert!(text.parse::<Age>().is_err(), "{text}");
    }
    for text in ["0s", "10s", "5m", "12h", "90d"] {
        assert_eq!(text.parse::<Age>().unwrap().to_string(), text);
    }
    let kept = Settings::default().with("xcom.retention", "off").unwrap();
    assert_eq!(engine::Settings::from(&kept).retention.entries, None);
}

#[test]
fn contradictions_are_errors_and_defaults_give_way() {
    let error = refused(&sources(&[("EXCOM__XCOM__INLINE_LIMIT", "2GiB")]));
    assert_eq!(
        error.to_string(),
        "[xcom] inline_limit = 2GiB (from EXCOM__XCOM__INLINE_LIMIT) is over [xcom] hard_limit = 1GiB (from default)"
    );
    let small = Settings::load(&sources(&[("EXCOM__XCOM__HARD_LIMIT", "10KiB")])).unwrap();
    assert_eq!((small.xcom.inline_limit.text(), small.xcom.soft_limit.0), ("10KiB", 10_240));
    let short = Settings::load(&sources(&[("EXCOM__XCOM__HISTORY", "1d")])).unwrap();
    assert_eq!(short.xcom.history_bytes.to_string(), "1d");
    for (name, text) in [
        ("EXCOM__XCOM__HARD_LIMIT", "0"),
        ("EXCOM__XCOM__ABANDONED_AFTER", "0s"),
        ("EXCOM__XCOM__SOFT_LIMIT", "2GiB"),
        ("EXCOM__XCOM__INLINE_LIMIT", "512MiB"),
        ("EXCOM__XCOM__HISTORY_BYTES", "31d"),
    ] {
        let error = refused(&sources(&[(name, text)]));
        assert!(error.to_string().contains(name) && !error.hints().is_empty(), "{error:?}");
    }
}

#[test]
fn settings_of_a_program() {
    let settings = Settings::at("data").with("xcom.inline_limit", "1KiB").unwrap();
    let settings = settings.with("xcom.ledger", "off").unwrap();
    assert_eq!(*settings.core.home, PathBuf::from("data"));
    assert_eq!(settings.xcom.inline_limit.origin().to_string(), "the program");
    assert!(settings.with("xcom.nothing", "").is_err());
    assert_eq!(
        find("core", "xcom_backnd").unwrap_err().to_string(),
        "there is no setting [core] xcom_backnd"
    );
}

#[test]
fn the_exclusive_mode_sets_what_nothing_else_does() {
    let (folder, mut file) = with_file("[xcom]\nmode = 'exclusive'\nreads = 'declared'\n");
    let line = format!("{}:2", folder.path().join("excom.toml").display());
    let settings = Settings::load(&file).unwrap();
    let told = |settings: &Settings, key: &str| {
        let spec = find("xcom", key).unwrap();
        (spec.text(settings).to_owned(), spec.origin(settings).to_string())
    };
    let preset = format!("[xcom] mode = \"exclusive\", {line}");
    for (key, value) in [("offload", "all"), ("writes", "own"), ("ledger", "strict")] {
        assert_eq!(told(&settings, key), (value.to_owned(), preset.clone()), "{key}");
    }
    assert_eq!(settings.xcom.reads.text(), "declared");
    let rules = engine::Settings::from(&settings);
    assert_eq!((rules.offload, rules.ledger), (Offload::All, Ledger::Strict));
    assert_eq!((rules.access.writes, rules.access.reads), (Writes::Own, Reads::Declared));
    assert_eq!(rules.access.writes_from, preset);
    assert!(rules.access.reads_from.ends_with("excom.toml:3"), "{rules:?}");

    // What is set to the default itself is set all the same, from wherever.
    file.environment = [("EXCOM__XCOM__LEDGER", "batched")].into_iter().collect();
    file.set = vec![("xcom.writes".into(), "any".into())];
    let settings = Settings::load(&file).unwrap();
    assert_eq!(told(&settings, "ledger").1, "EXCOM__XCOM__LEDGER");
    assert_eq!(told(&settings, "writes"), ("any".into(), "--set".into()));
    assert_eq!(told(&settings, "offload"), ("all".into(), preset));

    // A mode that is changed back leaves nothing behind.
    let exclusive = Settings::default().with("xcom.mode", "exclusive").unwrap();
    assert_eq!(told(&exclusive, "reads").1, "[xcom] mode = \"exclusive\", the program");
    let open = exclusive.with("xcom.mode", "open").unwrap();
    assert_eq!(engine::Settings::from(&open), engine::Settings::default());
    assert_eq!(told(&open, "reads"), ("any".into(), "default".into()));
}

#[test]
fn lists_and_booleans_are_read_from_toml_and_from_text() {
    let (_folder, file) = with_file(
        "[xcom]\nobserve = true\ngrants = ['report reads weather/*', 'report/send reads a.b/c']\n\
         exempt = ['old until 2026-12-31']\ninline_keys = []\n",
    );
    let settings = Settings::load(&file).unwrap();
    let rules = engine::Settings::from(&settings);
    assert!(rules.access.observe && rules.inline_keys.is_empty());
    assert_eq!(rules.access.exempt[0].until.to_string(), "2026-12-31");
    assert_eq!(settings.xcom.grants.text(), "report reads weather/*, report/send reads a.b/c");
    let same = Settings::load(&sources(&[
        ("EXCOM__XCOM__GRANTS", "report reads weather/*,report/send  reads a.b/c,"),
        ("EXCOM__XCOM__INLINE_KEYS", "a, b*"),
        ("EXCOM__XCOM__SECRET_KEYS", "*password*, *_token"),
    ]));
    let same = engine::Settings::from(&same.unwrap());
    assert_eq!(same.access.grants, rules.access.grants);
    assert!(same.inline_keys.len() == 2 && same.inline_keys[1].fits("bc") && !same.inline_keys[0].fits("ab"));
    assert!(rules.secret_keys.is_empty() && same.secret_keys.iter().any(|glob| glob.fits("DB_PASSWORD_2")));

    for (line, told) in [
        ("observe = 'yes'", "[xcom] observe = \"yes\" is neither true nor false"),
        ("observe = 1", "[xcom] observe is a bare number; it takes true or false"),
        ("inline_keys = [1]", "[xcom] inline_keys has an item that is no text, or has a comma"),
        ("inline_keys = ['a,b']", "[xcom] inline_keys has an item that is no text, or has a comma"),
        ("ledger = ['off']", "[xcom] ledger is a list; it takes batched"),
        (
            "grants = ['a reads b.c']",
            "has `a reads b.c`, which names no task of `b.c`: write `b.c/*` for all",
        ),
        ("grants = ['a writes b/c']", "has `a writes b/c`, which is not `DAG reads DAG/TASK`"),
        ("grants = ['* reads b/c']", "where `*` stands for DAGs: name each DAG"),
        ("grants = ['a reads b/']", "has `a reads b/`, where a name is empty"),
        ("exempt = ['old']", "has `old`, which is not `DAG until YYYY-MM-DD`"),
        ("exempt = ['old until May']", "has `old until May`, where `May` is no day (YYYY-MM-DD)"),
    ] {
        let refused = refused_file(&format!("[xcom]\n{line}\n"));
        assert!(refused.contains("excom.toml:2: ") && refused.contains(told), "{line}: {refused}");
    }
}

#[test]
fn tokens_are_signed_by_a_secret_or_by_keys_and_tls_needs_both_files() {
    let both = refused_file("[server]\ntoken_secret = 'x'\ntoken_keys = 'keys.json'\n");
    assert!(both.contains("[server] token_secret (from excom.toml:2)"), "{both}");
    assert!(both.contains("[server] token_keys (from excom.toml:3)"), "{both}");
    let half = refused_file("[server]\ntls_certificate = 'cert.pem'\n");
    assert!(half.contains("[server] tls_key is not"), "{half}");

    let airflow = [
        ("AIRFLOW__API_AUTH__JWT_PRIVATE_KEY_PATH", "/keys/own.pem"),
        ("AIRFLOW__API_AUTH__TRUSTED_JWKS_URL", "https://keys.example/jwks.json"),
        ("AIRFLOW__API_AUTH__JWT_LEEWAY", "30"),
        ("AIRFLOW__EXECUTION_API__JWT_AUDIENCE", "ours,theirs"),
    ];
    let settings = Settings::load(&sources(&airflow)).unwrap();
    assert_eq!(settings.server.token_private_key.as_deref(), Some(Path::new("/keys/own.pem")));
    assert_eq!(settings.server.token_keys.as_deref(), Some("https://keys.example/jwks.json"));
    assert_eq!(*settings.server.token_leeway, Seconds(30));
    assert_eq!(*settings.server.token_audience, ["ours", "theirs"]);
    // One of Airflow's that is not wanted is set to nothing.
    let unwanted = [("EXCOM__SERVER__TOKEN_KEYS", ""), ("EXCOM__SERVER__TOKEN_PRIVATE_KEY", "")];
    let mut from = sources(&airflow.iter().chain(&unwanted).copied().collect::<Vec<_>>());
    from.set = vec![("server.token_secret".into(), "a secret".into())];
    assert!(Settings::load(&from).is_ok());
}
