//! Sessions of others that hold locks.

use excom_testkit::postgres::Postgres;

/// A session that holds a lock until this is dropped.
pub(crate) struct Held<'a> {
    server: &'a Postgres,
    database: String,
    session: Option<std::thread::JoinHandle<()>>,
}

impl<'a> Held<'a> {
    /// Takes it by a statement of PL/pgSQL.
    pub(crate) fn start(server: &'a Postgres, database: &str, statement: &str) -> Self {
        let sql = |sql: &str| server.sql(database, sql).unwrap();
        // A sequence tells at once, also out of a transaction and into one.
        sql("CREATE SEQUENCE IF NOT EXISTS public.holding");
        sql("SELECT setval('public.holding', 1)");
        let hold = format!(
            "DO $$ BEGIN {statement}; PERFORM setval('public.holding', 2);
             WHILE (SELECT last_value FROM public.holding) = 2 LOOP PERFORM pg_sleep(0.01); END LOOP; END $$"
        );
        let url = server.url(database);
        let session = std::thread::spawn(move || Postgres::run(&url, &hold).map(drop).unwrap());
        while sql("SELECT last_value FROM public.holding") != "2" {
            std::thread::yield_now();
        }
        Self { server, database: database.to_owned(), session: Some(session) }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.server.sql(&self.database, "SELECT setval('public.holding', 3)").unwrap();
        if let Some(session) = self.session.take() {
            session.join().unwrap();
        }
    }
}
