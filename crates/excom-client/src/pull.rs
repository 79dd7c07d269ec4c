//! Pulls: many XComs in a request, sequences in pages, and what is too large for either by itself.

use std::time::Duration;

use excom_core::answer::{Found, Large};
use excom_core::engine::TaskAnswer;
use excom_core::{Answer, Error, ErrorKind, PullOptions, Result, SequenceKey, Slice, XComKey};
use reqwest::Method;
use serde::Deserialize;

use crate::call::Call;
use crate::client::Client;
use crate::place;
use crate::values::{Opened, collected};
use crate::wire::{Answers, Page, Produced, Pull, Wait, Waited};

/// The most XComs of a request.
const MOST: usize = 10_000;

/// The most XComs that one request waits for.
const MOST_WAITED: usize = 1000;

/// The most elements of a page.
const PAGE: u32 = 1000;

/// How often a value is read again that is replaced while it is read.
const REPLACED: usize = 5;

impl Client {
    /// Pulls XComs; the answers are in the order asked. More than 10,000 are several requests, and what is too large to
    /// come with others comes by itself.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses the request. What concerns one XCom is in its answer.
    pub async fn pull(&self, keys: &[XComKey], options: PullOptions) -> Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(keys.len());
        for keys in keys.chunks(MOST) {
            for answer in self.pull_within(keys, options).await? {
                answers.push(self.whole_answer(answer).await?);
            }
        }
        Ok(answers)
    }

    /// As the server tells them: what does not fit is [`Answer::Large`].
    pub(crate) async fn pull_within(&self, keys: &[XComKey], options: PullOptions) -> Result<Vec<Answer>> {
        let PullOptions { include_prior_dates } = options;
        let pull = Pull { xcoms: keys.iter().map(Into::into).collect(), include_prior_dates };
        let text = self.text(&Call::document(Method::POST, place::own("pull", [])?, &pull)?).await?;
        let told: Answers<'_> = self.read(&text)?;
        let answers: Vec<Answer> =
            told.answers.into_iter().map(|body| body.answer()).collect::<Result<_>>()?;
        self.as_many(answers, keys.len())
    }

    /// The answer of one XCom, which tells why there is no value.
    pub(crate) async fn explain(&self, key: &XComKey) -> Result<Answer> {
        let mut answers = self.pull_within(std::slice::from_ref(key), PullOptions::default()).await?;
        // `as_many` has seen that it is one.
        Ok(answers.remove(0))
    }

    /// A server that answers less than was asked would let answers slip to other XComs.
    fn as_many<T>(&self, answers: Vec<T>, asked: usize) -> Result<Vec<T>> {
        if answers.len() == asked {
            return Ok(answers);
        }
        let message =
            format!("{} gave {} answers where {asked} were asked for", self.address(), answers.len());
        Err(Error::new(ErrorKind::Incompatible, message))
    }

    /// The answer with its value, also when that is large.
    async fn whole_answer(&self, mut answer: Answer) -> Result<Answer> {
        for _ in 0..REPLACED {
            let Answer::Large(large) = answer else { return Ok(answer) };
            let Large { key, version, writer, .. } = *large;
            answer = match self.opened(&key).await? {
                Ok(Opened { version: found, payload }) if found == Some(version) => {
                    let value = collected(payload).await?;
                    let found = Found { value, version, writer };
                    return Ok(if found.value.is_null() {
                        Answer::Null(found)
                    } else {
                        Answer::Found(found)
                    });
                }
                // Replaced in between.
                Ok(_) => self.explain(&key).await?,
                Err(answer) => answer,
            };
        }
        Ok(answer)
    }

    /// Pulls everything that tasks produced under a key: one value, or a mapped task's sequence. Of a sequence with
    /// over 1000 elements the server does not tell how many task instances it has; then `length` is one more than the
    /// highest map index of an element.
    ///
    /// # Errors
    /// As [`Client::pull`].
    pub async fn pull_tasks(&self, keys: &[SequenceKey], options: PullOptions) -> Result<Vec<TaskAnswer>> {
        let mut answers = Vec::with_capacity(keys.len());
        for keys in keys.chunks(MOST) {
            for (key, produced) in keys.iter().zip(self.produced(keys, options).await?) {
                answers.push(self.whole_task(key, produced, options).await?);
            }
        }
        Ok(answers)
    }

    async fn produced(&self, keys: &[SequenceKey], options: PullOptions) -> Result<Vec<Produced>> {
        let PullOptions { include_prior_dates } = options;
        let pull = Pull { xcoms: keys.iter().map(Into::into).collect(), include_prior_dates };
        let text = self.text(&Call::document(Method::POST, place::own("pull", [])?, &pull)?).await?;
        let told: Answers<'_> = self.read(&text)?;
        let produced = told.answers.into_iter().map(|body| body.produced()).collect::<Result<_>>()?;
        self.as_many(produced, keys.len())
    }

    async fn whole_task(
        &self,
        key: &SequenceKey,
        produced: Produced,
        options: PullOptions,
    ) -> Result<TaskAnswer> {
        let (mut items, length, mut next) = match produced {
            Produced::Single(answer) => return Ok(TaskAnswer::Single(self.whole_answer(answer).await?)),
            Produced::Mapped { items, length, next } => (items, length, next),
        };
        if next.is_some() && options.include_prior_dates {
            let message = format!("{key} is too long to be pulled at once from an earlier run");
            return Err(Error::new(ErrorKind::TooLarge, message)
                .hint("pull it from the run that has it, without include_prior_dates"));
        }
        while let Some(after) = next {
            let page = self.page_within(key, Some(after), PAGE).await?;
            next = page.1;
            for (map_index, answer) in page.0 {
                items.push((map_index, self.whole_answer(answer).await?));
            }
        }
        let seen =
            items.last().map_or(0, |(map_index, _)| u64::try_from(*map_index).map_or(0, |last| last + 1));
        Ok(TaskAnswer::Mapped { items, length: length.unwrap_or(seen) })
    }

    /// The elements of a sequence behind a map index, at most so many, as far as they fit; and the map index behind
    /// which there are more.
    async fn page_within(
        &self,
        key: &SequenceKey,
        after: Option<i32>,
        limit: u32,
    ) -> Result<(Vec<(i32, Answer)>, Option<i32>)> {
        let call = Call::get(place::sequence("sequences", key)?).maybe("after", after).with("limit", limit);
        let text = self.text(&call).await?;
        let Page { items, next } = self.read(&text)?;
        Ok((items.into_iter().map(|body| body.element()).collect::<Result<_>>()?, next))
    }

    /// The elements of a sequence behind a map index, at most so many.
    ///
    /// # Errors
    /// As [`Client::pull`].
    pub async fn page(
        &self,
        key: &SequenceKey,
        mut after: Option<i32>,
        limit: u32,
    ) -> Result<Vec<(i32, Answer)>> {
        let mut items = Vec::new();
        loop {
            let left = limit.saturating_sub(u32::try_from(items.len()).unwrap_or(u32::MAX));
            if left == 0 {
                return Ok(items);
            }
            let (page, next) = self.page_within(key, after, left.min(PAGE)).await?;
            for (map_index, answer) in page {
                items.push((map_index, self.whole_answer(answer).await?));
            }
            if next.is_none() {
                return Ok(items);
            }
            after = next;
        }
    }

    /// The map indexes at which a sequence has elements, in order. No value is read.
    ///
    /// # Errors
    /// As [`Client::pull`].
    pub async fn indexes(&self, key: &SequenceKey) -> Result<Vec<i32>> {
        #[derive(Deserialize)]
        struct Told {
            indexes: Vec<i32>,
        }
        let told: Told = self.ask(&Call::get(place::sequence("indexes", key)?)).await?;
        Ok(told.indexes)
    }

    /// The number of elements of a sequence.
    ///
    /// # Errors
    /// As [`Client::pull`].
    pub async fn count(&self, key: &SequenceKey) -> Result<u64> {
        Ok(self.indexes(key).await?.len() as u64)
    }

    /// The elements at the positions of a Python slice over those that exist, each with its real map index. An element
    /// that goes between finding it and pulling it is answered as gone.
    ///
    /// # Errors
    /// As [`Client::pull`]; [`ErrorKind::InvalidRequest`] when the step is zero.
    pub async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<(i32, Answer)>> {
        drop(slice.positions(0)?);
        let indexes = slice.of_indexes(&self.indexes(key).await?)?;
        let keys: Vec<XComKey> = indexes.iter().map(|map_index| key.at(*map_index)).collect();
        Ok(indexes.into_iter().zip(self.pull(&keys, PullOptions::default()).await?).collect())
    }

    /// Pulls XComs when they are there or cannot come any more, or when the time is over, of which the server may allow
    /// less. What was not there in time is told by its place, and has the answer that a pull gives.
    ///
    /// # Errors
    /// As [`Client::pull`].
    pub async fn wait(&self, keys: &[XComKey], time: Duration) -> Result<(Vec<Answer>, Vec<usize>)> {
        if keys.len() > MOST_WAITED {
            let message = format!("{} XComs are waited for at once, the most are {MOST_WAITED}", keys.len());
            return Err(Error::new(ErrorKind::InvalidRequest, message).hint("wait for them in parts"));
        }
        let wait = Wait { xcoms: keys.iter().map(Into::into).collect(), seconds: time.as_secs() };
        let call = Call::document(Method::POST, place::own("wait", [])?, &wait)?.longer(time);
        let text = self.text(&call).await?;
        let told: Waited<'_> = self.read(&text)?;
        let bodies = self.as_many(told.answers, keys.len())?;
        let mut answers = Vec::with_capacity(bodies.len());
        for body in bodies {
            answers.push(self.whole_answer(body.answer()?).await?);
        }
        Ok((answers, told.pending))
    }
}
