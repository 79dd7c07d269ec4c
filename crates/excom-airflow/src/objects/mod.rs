//! Values as objects of Airflow's own object storage backend.
//!
//! `airflow.providers.common.io.xcom.backend.XComObjectStorageBackend` (common-io 1.11.0) writes a large
//! value as a file of JSON text below a base path, and leaves the file's URL in the database:
//!
//! ```text
//! object     <base>/<dag_id>/<run_id>/<task_id>/<uuid>[.gz …]
//! database   "s3://aws@bucket/xcom/weather/manual__1/measure/0b4f…-….gz"
//! ```
//!
//! [`AirflowObjects`] keeps values in that format, so a deployment can move in either direction:
//!
//! * as a backend of the engine it writes objects that Airflow reads, and
//!   [`reference`](AirflowObjects::reference) tells the text that Airflow's database needs for them;
//! * [`resolve`](AirflowObjects::resolve) reads what Airflow wrote: a value, or the object that it refers to.
//!
//! Airflow follows every text below the base path. Here a reference leads only to an object of its own
//! task instance's folder, and nowhere through `..` or through another bucket of a like name; what leads
//! elsewhere is the text that a task returned. A lost or damaged object is an error, where Airflow hands
//! out the path. All map indexes and keys of a task share a folder: that the format cannot tell apart.
//!
//! [`decode`] and [`encode`] are the bytes of an object by themselves.

mod backend;
mod codec;
mod compression;
mod location;
mod threshold;

pub use backend::{AirflowObjects, Options};
pub use codec::{decode, encode};
pub use compression::Compression;
pub use location::BasePath;
