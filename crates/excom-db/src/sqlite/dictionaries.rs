//! Dictionaries: the statements that find what to train them on, keep them, and find them again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use excom_core::dictionary::{Dictionary, Gain};
use excom_core::value::ContentHash;
use excom_core::{Error, ErrorKind};
use jiff::Timestamp;
use rusqlite::{Row, params};
use zstd::dict::{DecoderDictionary, EncoderDictionary};

use super::failure::{Failure, damaged};
use super::read::View;
use super::row;
use super::writer::Transaction;
use crate::dictionary::{FIRST, SAMPLES, SMALL, give_number};
use crate::packing::{Codec, LEVEL};

type Result<T> = std::result::Result<T, Failure>;

/// How many of the newest entries tell which DAGs could use a dictionary.
const LOOKED_AT: u32 = 20_000;

/// Values to train on: small, and in the database. A secret has no head, and nothing of it may get into a dictionary,
/// which other values are compressed with.
const SAMPLED: &str = "e.codec <> 2 AND e.head <> '' AND e.size BETWEEN ?1 AND ?2";

/// The number given out last.
const LAST: &str = "SELECT seq FROM sqlite_sequence WHERE name = 'excom_dictionary'";

impl View<'_> {
    /// The newest small values of a DAG.
    pub(super) fn samples(&self, dag_id: &str) -> Result<Vec<Bytes>> {
        let Some(dag) = self.0.name(dag_id)? else { return Ok(Vec::new()) };
        // CROSS JOIN keeps the order of the tables, so that the newest come first without sorting all of them.
        let sql = format!(
            "SELECT e.head, e.codec, e.body, e.size FROM excom_entry e CROSS JOIN excom_dag_run r ON r.id = e.run
             WHERE {SAMPLED} AND r.dag = ?3 ORDER BY e.id DESC LIMIT ?4"
        );
        let bound = (*SMALL.start() as i64, *SMALL.end() as i64, dag, *SAMPLES.end());
        let samples = self.rows(&sql, bound, |found| {
            let head: String = found.get(0)?;
            let codec =
                Codec::from_code(found.get(1)?).ok_or_else(|| damaged("an entry with an unknown codec"))?;
            let body: Option<Vec<u8>> = found.get(2)?;
            let size = found.get::<_, i64>(3)? as usize;
            row::text_of(self, head.as_bytes(), codec, &body.unwrap_or_default(), size)
        })?;
        Ok(samples.into_iter().flatten().collect())
    }

    pub(super) fn without_dictionary(&self) -> Result<Vec<Arc<str>>> {
        let sql = format!(
            "SELECT d.text FROM (SELECT * FROM excom_entry ORDER BY id DESC LIMIT ?3) e
                  JOIN excom_dag_run r ON r.id = e.run JOIN excom_name d ON d.id = r.dag
             WHERE {SAMPLED} AND NOT EXISTS (SELECT 1 FROM excom_dictionary WHERE dag = r.dag)
             GROUP BY r.dag HAVING count(*) >= ?4 ORDER BY r.dag"
        );
        let bound = (*SMALL.start() as i64, *SMALL.end() as i64, LOOKED_AT, *SAMPLES.start());
        self.rows(&sql, bound, |found| row::text(found, 0))
    }

    pub(super) fn dictionaries(&self, dag_id: Option<&str>) -> Result<Vec<Dictionary>> {
        let sql = "SELECT c.id, d.text, length(c.bytes), c.trained, c.samples, c.before, c.after
                   FROM excom_dictionary c JOIN excom_name d ON d.id = c.dag WHERE d.text = ifnull(?1, d.text) ORDER BY c.id";
        self.rows(sql, [dag_id], |found| {
            Ok(Dictionary {
                id: found.get(0)?,
                dag_id: row::text(found, 1)?,
                bytes: found.get::<_, i64>(2)? as u64,
                trained_at: row::time(found.get(3)?),
                gain: Gain {
                    samples: found.get(4)?,
                    before: found.get::<_, i64>(5)? as u64,
                    after: found.get::<_, i64>(6)? as u64,
                },
            })
        })
    }

    /// The newest dictionary of a DAG, prepared.
    pub(super) fn newest(&self, dag_id: &str) -> Result<Option<Arc<EncoderDictionary<'static>>>> {
        let bytes = match self.0.name(dag_id)? {
            Some(dag) => self.one(
                "SELECT id, bytes, hash FROM excom_dictionary WHERE dag = ?1 ORDER BY id DESC LIMIT 1",
                [dag],
                verified,
            )?,
            None => None,
        };
        let encoder =
            bytes.map(|(id, bytes)| EncoderDictionary::try_copy(&bytes, LEVEL).map_err(|_| broken(id)));
        let encoder = encoder.transpose()?.map(Arc::new);
        self.0.dictionaries.learn_newest(dag_id, encoder.clone());
        Ok(encoder)
    }

    /// The dictionary of a number, prepared; none for a number that was never given out, which only a damaged value
    /// can name.
    pub(super) fn decoder(&self, id: u32) -> Result<Option<Arc<DecoderDictionary<'static>>>> {
        if let Some(known) = self.0.dictionaries.decoder(id) {
            return Ok(Some(known));
        }
        let Some((_, bytes)) =
            self.one("SELECT id, bytes, hash FROM excom_dictionary WHERE id = ?1", [id], verified)?
        else {
            let last: u32 = self.one(LAST, [], |found| Ok(found.get(0)?))?.unwrap_or(0);
            return if (FIRST..=last).contains(&id) { Err(lost(id).into()) } else { Ok(None) };
        };
        let decoder = Arc::new(DecoderDictionary::try_copy(&bytes).map_err(|_| broken(id))?);
        self.0.dictionaries.learn_decoder(id, decoder.clone());
        Ok(Some(decoder))
    }
}

impl View<'_> {
    /// Which dictionaries are damaged or gone.
    pub(super) fn dictionary_problems(&self) -> Result<Vec<String>> {
        let whole = self.rows("SELECT id, bytes, hash FROM excom_dictionary", [], |found| {
            Ok((found.get::<_, u32>(0)?, verified(found).is_ok()))
        })?;
        let whole: BTreeMap<u32, bool> = whole.into_iter().collect();
        let last: u32 = self.one(LAST, [], |found| Ok(found.get(0)?))?.unwrap_or(0);
        let problem = |id| match whole.get(&id) {
            Some(true) => None,
            Some(false) => Some(broken(id).to_string()),
            None => Some(lost(id).to_string()),
        };
        Ok((FIRST..=last).filter_map(problem).collect())
    }
}

impl Transaction<'_> {
    pub(super) fn add_dictionary(
        &self,
        dag_id: &str,
        bytes: &[u8],
        gain: Gain,
        at: Timestamp,
    ) -> Result<Dictionary> {
        let dag = self.names.name(dag_id)?;
        let last: u32 = self.connection.prepare_cached(LAST)?.query_row([], |row| row.get(0))?;
        let id = last + 1;
        let mut bytes = bytes.to_vec();
        give_number(&mut bytes, id);
        self.execute(
            "INSERT INTO excom_dictionary VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                id,
                dag,
                bytes,
                ContentHash::of(&bytes).0.cast_signed(),
                at.as_millisecond(),
                gain.samples,
                gain.before as i64,
                gain.after as i64
            ],
        )?;
        Ok(Dictionary { id, dag_id: dag_id.into(), bytes: bytes.len() as u64, trained_at: at, gain })
    }
}

/// A dictionary's number and bytes, which must be those that were trained.
fn verified(found: &Row<'_>) -> Result<(u32, Vec<u8>)> {
    let (id, bytes): (u32, Vec<u8>) = (found.get(0)?, found.get(1)?);
    match ContentHash::of(&bytes).0.cast_signed() == found.get::<_, i64>(2)? {
        true => Ok((id, bytes)),
        false => Err(broken(id).into()),
    }
}

const RESTORE: &str =
    "values that were compressed with it can be read with nothing else: restore the database from a backup";

fn lost(id: u32) -> Error {
    let what =
        format!("dictionary {id}, which values were compressed with, is gone from the metadata database");
    Error::new(ErrorKind::Lost, what).hint(RESTORE)
}

fn broken(id: u32) -> Error {
    let what =
        format!("dictionary {id}, which values were compressed with, is damaged in the metadata database");
    Error::new(ErrorKind::Corrupt, what).hint(RESTORE)
}
