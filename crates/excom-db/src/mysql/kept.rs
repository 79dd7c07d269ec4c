//! What holds stored bytes: looks through all of it, orphans, and moves to another place.

use excom_core::ObjectName;
use excom_core::db::{Kept, LooseObject, Place, Scan};
use excom_core::entry::{Stored, Version};
use excom_core::seal::Reference;
use excom_core::store::Side;
use jiff::Timestamp;
use mysql_async::Row;

use super::Tables;
use super::connection::{Connection, named};
use super::failure::Failure;
use super::loose::MAKE_INTENT;
use super::names::Xcom;
use super::read::with;
use super::row;
use super::write::{of_version, step};
use crate::kept::{Look, Part};
use crate::packing::{Packed, pack};

type Result<T> = std::result::Result<T, Failure>;

/// Rows that may know an object of a version, by the indexes of versions, and where they say that it is: a reference,
/// or the store of a loose object.
const KNOWING: &str =
    "SELECT STRAIGHT_JOIN d.text, r.run_id, t.text, o.map_index, k.text, o.body, o.store FROM
        (SELECT run, task, map_index, xcom_key, body, NULL AS store FROM excom_entry
         WHERE version = :version AND codec = 2
         UNION ALL SELECT run, task, map_index, xcom_key, body, NULL FROM excom_history
         WHERE version = :version AND codec = 2
         UNION ALL SELECT run, task, map_index, xcom_key, NULL, store FROM excom_loose_object
         WHERE version = :version) o
    JOIN excom_dag_run r ON r.id = o.run JOIN excom_name d ON d.id = r.dag
    JOIN excom_name t ON t.id = o.task JOIN excom_name k ON k.id = o.xcom_key";

/// Some rows in the order in which they were made.
macro_rules! kept {
    ($table:literal) => {
        concat!(
            "SELECT d.text, r.run_id, t.text, e.map_index, k.text, e.id, e.version, e.size, e.hash,
                    CASE WHEN e.codec = 2 THEN e.body END, e.head = ''
             FROM ", $table, " e JOIN excom_dag_run r ON r.id = e.run JOIN excom_name d ON d.id = r.dag
                  JOIN excom_name t ON t.id = e.task JOIN excom_name k ON k.id = e.xcom_key
             WHERE e.id > :behind AND e.codec >= 0 AND (:dag IS NULL OR d.text = :dag) ORDER BY e.id LIMIT :limit"
        )
    };
}

/// Entries, and history with bytes, by the indexes of their ids.
pub(super) const KEPT: [&str; 2] = [kept!("excom_entry"), kept!("excom_history")];

/// Where a version's bytes are, by its key; nobody moves them meanwhile.
macro_rules! found {
    ($table:literal) => {
        concat!(
            "SELECT CASE WHEN codec = 2 THEN body END FROM ",
            $table,
            " WHERE run = :run AND task = :task AND xcom_key = :key AND map_index = :map_index
              AND version = :version AND codec >= 0 FOR UPDATE"
        )
    };
}

const FOUND: [&str; 2] = [found!("excom_entry"), found!("excom_history")];

/// What is loose of a version, by its key.
const LOOSE: &str = "SELECT store, is_purge FROM excom_loose_object
    WHERE version = :version AND run = :run AND task = :task AND xcom_key = :key AND map_index = :map_index
    FOR UPDATE";

/// The same.
const TAKE_LOOSE: &str = "DELETE FROM excom_loose_object
    WHERE version = :version AND run = :run AND task = :task AND xcom_key = :key AND map_index = :map_index";

const MOVE_ENTRY: &str = "UPDATE excom_entry SET head = COALESCE(:head, head), codec = :codec, body = :body
    WHERE run = :run AND task = :task AND xcom_key = :key AND map_index = :map_index AND version = :version";

const MOVE_PAST: &str = "UPDATE excom_history
    SET head = COALESCE(:head, head), codec = :codec, body = :body, offloaded = :offloaded
    WHERE run = :run AND task = :task AND xcom_key = :key AND map_index = :map_index AND version = :version";

/// An orphan, by its key.
const CLAIM_ORPHAN: &str = "INSERT INTO excom_loose_object
        (version, run, task, xcom_key, map_index, store, since, is_purge)
    VALUES (:version, :run, :task, :key, :map_index, :store, :since, TRUE)";

/// What a version's bytes are moved to.
pub(super) struct Target<'a> {
    /// The store with the key that seals them there; none for the database.
    pub(super) store: Option<&'a Reference>,
    pub(super) packed: Packed,
}

impl<'a> Target<'a> {
    pub(super) fn of(found: &Kept, to: &'a Stored) -> Self {
        match to {
            Stored::Inline(value) => Self { store: None, packed: pack(value.bytes(), found.secret, None) },
            Stored::Offloaded(reference) => {
                Self { store: Some(reference), packed: Packed::reference(reference, String::new()) }
            }
        }
    }
}

impl Connection {
    /// Whether a version is where it was found; its task instance is locked.
    async fn is_at(&mut self, of: Xcom, found: &Kept) -> Result<bool> {
        let row = self.one(FOUND[usize::from(found.past)], of_version(of, found.version)).await?;
        let Some(row) = row else { return Ok(false) };
        let reference = row::optional_bytes(&row, 0)?.map(row::reference).transpose()?;
        let place = reference.as_ref().map(|reference| (&*reference.store, &*reference.mac));
        Ok((place.map(|place| place.0), place.map(|place| place.1)) == found.place())
    }

    async fn note_move(&mut self, found: &Kept, store: &str, at: Timestamp) -> Result<bool> {
        let Some(of) = self.known_xcom(&found.key).await? else { return Ok(false) };
        self.take([of.ti]).await?;
        if !self.is_at(of, found).await? {
            return Ok(false);
        }
        let intent = with(of_version(of, found.version), "since", at.as_millisecond());
        self.insert(MAKE_INTENT, with(intent, "store", store)).await
    }

    pub(super) async fn move_stored(&mut self, found: &Kept, to: &Target<'_>, at: Timestamp) -> Result<bool> {
        let Some(of) = self.known_xcom(&found.key).await? else { return Ok(false) };
        self.take([of.ti]).await?;
        // Whoever retires a key waits for this.
        self.share_marks().await?;
        if let Some(reference) = to.store
            && self.is_retired(&reference.key_id).await?
        {
            return Ok(false);
        }
        let store = to.store.map(|reference| &*reference.store);
        let (from, _) = found.place();
        let stays = store.is_some() && store == from;
        if !stays && !self.may_move(of, found.version, store).await? {
            return Ok(false);
        }
        if !self.is_at(of, found).await? {
            return Ok(false);
        }
        // The beginning of an offloaded value stays.
        let head = store.is_none().then(|| to.packed.head.clone());
        let parameters = with(of_version(of, found.version), "head", head);
        let parameters = with(parameters, "codec", to.packed.codec as i64);
        let parameters = with(parameters, "body", &to.packed.body[..]);
        if found.past {
            self.change(MOVE_PAST, with(parameters, "offloaded", store.is_some())).await?;
        } else {
            self.change(MOVE_ENTRY, parameters).await?;
        }
        if !stays {
            self.change(TAKE_LOOSE, of_version(of, found.version)).await?;
            if let Some(from) = from {
                self.loosen(of, found.version, from, at.as_millisecond()).await?;
            }
        }
        Ok(true)
    }

    /// Whether what is loose of a version lets it move to a store, or into the database.
    async fn may_move(&mut self, of: Xcom, version: Version, to: Option<&str>) -> Result<bool> {
        let loose = self.one(LOOSE, of_version(of, version)).await?;
        Ok(match (to, loose) {
            (Some(store), Some(intent)) => !row::is(&intent, 1)? && row::str(&intent, 0)? == store,
            (Some(_), None) => false,
            // Something of it that is being written or removed has the only row that there is for it.
            (None, loose) => loose.is_none(),
        })
    }

    async fn claim_orphan(&mut self, object: &LooseObject) -> Result<bool> {
        let since = object.since.as_millisecond();
        let of = self.xcom(&object.key, since).await?;
        self.take([of.ti]).await?;
        for table in FOUND {
            let found = self.one(table, of_version(of, object.version)).await?;
            if let Some(found) = found
                && let Some(body) = row::optional_bytes(&found, 0)?
                && row::reference(body)?.store == object.store
            {
                return Ok(false);
            }
        }
        let parameters = with(of_version(of, object.version), "store", &*object.store);
        self.insert(CLAIM_ORPHAN, with(parameters, "since", since)).await
    }
}

impl Tables {
    pub(super) async fn knows_object(
        &self,
        store: &str,
        object: &ObjectName,
        version: Version,
    ) -> Result<bool> {
        let side = Side::split(store).1;
        let known = self.rows(KNOWING, named! { "version" => version.to_code() }, |found| {
            let known = match row::optional_bytes(found, 5)? {
                Some(body) => *row::reference(body)?.store == *store,
                None => row::str(found, 6)? == store,
            };
            Ok(known && ObjectName::on(side, &row::key(found)?, version) == *object)
        });
        Ok(known.await?.contains(&true))
    }

    pub(super) async fn kept(
        &self,
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Scan<Kept>> {
        let mut look = Look::new(after, limit);
        while let Some(Part { past, behind, wanted }) = look.next() {
            let parameters = named! {
                "behind" => behind,
                "dag" => dag_id.map(str::to_owned),
                "limit" => wanted,
            };
            look.add(self.rows(KEPT[usize::from(past)], parameters, |found| kept(found, past)).await?);
        }
        Ok(look.scan())
    }

    pub(super) async fn note_move(&self, found: &Kept, store: &str, at: Timestamp) -> Result<bool> {
        if found.place().0 == Some(store) {
            return Ok(false);
        }
        step!(self, write, connection.note_move(found, store, at)).await
    }

    /// Not tried again when its outcome is not known, because then it would seem to have given way.
    pub(super) async fn move_stored(&self, found: &Kept, to: &Stored, at: Timestamp) -> Result<bool> {
        let to = &Target::of(found, to);
        step!(self, write_once, connection.move_stored(found, to, at)).await
    }

    pub(super) async fn claim_orphan(&self, object: &LooseObject) -> Result<bool> {
        step!(self, write, connection.claim_orphan(object)).await
    }
}

pub(super) fn kept(found: &Row, past: bool) -> Result<(Place, Kept)> {
    let kept = Kept {
        key: row::key(found)?,
        version: row::version(found, 6)?,
        past,
        size: row::count(found, 7)?,
        hash: row::hash(found, 8)?,
        secret: row::is(found, 10)?,
        reference: row::optional_bytes(found, 9)?.map(row::reference).transpose()?,
    };
    Ok((Place { past, row: row::int(found, 5)? }, kept))
}
