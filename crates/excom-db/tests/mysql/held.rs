//! Sessions of others that hold locks.

use excom_testkit::mysql::Mysql;

/// A session that holds a lock until this is dropped.
pub(crate) struct Held<'a> {
    server: &'a Mysql,
    session: std::process::Child,
    id: String,
}

impl<'a> Held<'a> {
    /// Takes it by statements.
    pub(crate) fn start(server: &'a Mysql, database: &str, statements: &str) -> Self {
        let session = server.session(database, &format!("{statements}; SELECT SLEEP(600)")).unwrap();
        let mut held = Self { server, session, id: String::new() };
        while held.id.is_empty() {
            let id = "SELECT id FROM information_schema.processlist WHERE info = 'SELECT SLEEP(600)'";
            held.id = server.sql("information_schema", id).unwrap();
        }
        held
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.server.sql("excom", &format!("KILL {}", self.id)).unwrap();
        self.session.wait().unwrap();
    }
}
