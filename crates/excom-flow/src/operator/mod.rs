//! Operators: tasks that are configured rather than written.

mod bash;
mod field;
mod process;

pub(crate) use process::TERM_GRACE;

use std::borrow::Cow;
use std::future::Future;

use excom_core::ErrorKind;
use serde::Serialize;

pub use bash::Bash;
pub use field::Field;

use crate::dag::NamedSource;
use crate::error::within;
use crate::instance::TaskInstance;
use crate::outcome::{Result, returned};
use crate::work::{Arguments, Running, Work};

/// A task that is configured rather than written: its fields are values, templates, parameters or the
/// values of other tasks, and `execute` runs when they are known.
///
/// ```
/// # extern crate excom_flow as excom;
/// use excom::prelude::*;
///
/// /// Writes a text to a file, and returns how many bytes that were.
/// #[derive(Clone, Debug)]
/// struct WriteFile {
///     path: Field,
///     text: Field,
/// }
///
/// impl Operator for WriteFile {
///     type Output = usize;
///
///     fn fields(&mut self) -> Vec<(Cow<'static, str>, &mut Field)> {
///         vec![("path".into(), &mut self.path), ("text".into(), &mut self.text)]
///     }
///
///     async fn execute(self, ti: TaskInstance) -> Result<usize> {
///         let (path, text) = (self.path.text()?, self.text.text()?);
///         ti.log(&format!("writing {path}"));
///         std::fs::write(path, &text)?;
///         Ok(text.len())
///     }
/// }
///
/// #[task]
/// fn report() -> String { "all is well".into() }
///
/// #[dag]
/// fn daily(dag: &Dag) {
///     let report = report(dag);
///     dag.add("write", WriteFile { path: "/tmp/{{ run_id }}.txt".into(), text: report.into() });
/// }
/// assert_eq!(daily().graph()?.tasks()[1].upstream().collect::<Vec<_>>(), ["report"]);
/// # use std::borrow::Cow;
/// # Ok::<(), excom_core::Error>(())
/// ```
pub trait Operator: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// What it returns and pushes.
    type Output: Serialize + Send;

    /// The fields that are known only when it runs, each with its name, always in the same order.
    fn fields(&mut self) -> Vec<(Cow<'static, str>, &mut Field)>;

    /// Runs one try. The fields are rendered.
    ///
    /// When the run is cancelled, [`TaskInstance::cancelled`] resolves; the operator then has a moment to
    /// end what it started before it is dropped.
    ///
    /// # Errors
    /// An error fails the try, [`Skip`](crate::Skip) skips the task.
    fn execute(self, ti: TaskInstance) -> impl Future<Output = Result<Self::Output>> + Send;
}

/// An operator as the work of a task.
#[derive(Debug)]
pub(crate) struct Operated<O>(pub(crate) O);

impl<O: Operator> Work for Operated<O> {
    fn name(&self) -> &'static str {
        let name = std::any::type_name::<O>();
        let name = name.split('<').next().unwrap_or(name);
        name.rsplit("::").next().unwrap_or(name)
    }

    fn inputs(&self) -> Vec<NamedSource> {
        // `fields` takes `&mut`, because that is what rendering needs.
        let mut operator = self.0.clone();
        operator
            .fields()
            .into_iter()
            .filter_map(|(name, field)| field.source().map(|source| (name, source.clone())))
            .collect()
    }

    fn start(&self, ti: TaskInstance, mut arguments: Arguments) -> Running {
        let mut operator = self.0.clone();
        Running::Graceful(Box::pin(async move {
            let push = ti.pushes();
            let mut templates = false;
            for (_, field) in operator.fields() {
                if field.source().is_some()
                    && let Some((name, argument)) = arguments.next()
                {
                    let value = argument.required();
                    field.set(value.map_err(|e| within(&format!("field `{name}`"), e))?);
                }
                templates |= field.is_template();
            }
            if templates {
                // A template may pull, and so block.
                operator = render(operator, ti.clone()).await?;
            }
            returned(operator.execute(ti).await, push)
        }))
    }
}

async fn render<O: Operator>(mut operator: O, ti: TaskInstance) -> excom_core::Result<O> {
    let rendered = tokio::task::spawn_blocking(move || {
        for (name, field) in operator.fields() {
            field.render(&ti, &name)?;
        }
        Ok(operator)
    });
    rendered.await.unwrap_or_else(|e| {
        Err(excom_core::Error::new(ErrorKind::Other, "rendering the templates panicked").because(e))
    })
}
