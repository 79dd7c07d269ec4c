//! Metadata databases for Excom: SQLite.
