//! Dictionaries for small values: how they are trained, and those that are prepared in memory.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use excom_core::dictionary::Gain;
use futures_channel::oneshot;
use zstd::dict::{DecoderDictionary, EncoderDictionary};

use crate::packing::{LEVEL, pack};

/// Sizes of the values that dictionaries are for. In a larger one its own repetitions do as much.
pub(crate) const SMALL: RangeInclusive<usize> = 128..=8 << 10;

/// The fewest values that a dictionary is trained on, and the most.
pub(crate) const SAMPLES: RangeInclusive<u32> = 500..=2000;

/// The most bytes of a dictionary. Twice as many save next to nothing more.
const CAPACITY: usize = 16 << 10;

/// The number of the first dictionary: those below are reserved by zstd's format. Up to 65535 a number takes
/// two bytes of a value.
pub(crate) const FIRST: u32 = 1 << 15;

/// Where a dictionary has its number.
const NUMBER: std::ops::Range<usize> = 4..8;

/// What zstd writes in front of a dictionary's text, behind its tables: the offsets to begin with.
const OFFSETS: [u8; 12] = [1, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0];

/// Pieces of so many bytes stay in a dictionary when so many of the values share them.
const PIECE: usize = 8;
const SHARED: u32 = 20;

/// Past this many of a kind, those in memory are forgotten and prepared again by use.
const REMEMBERED: usize = 64;

/// Gives a dictionary its number.
pub(crate) fn give_number(dictionary: &mut [u8], id: u32) {
    dictionary[NUMBER].copy_from_slice(&id.to_le_bytes());
}

/// Blanks all of a dictionary that few samples share: what is in it outlives the values, and must not tell one of
/// them. False when it is no dictionary as zstd makes them.
fn keep_what_is_shared(dictionary: &mut [u8], samples: &[&Bytes]) -> bool {
    let Some(begin) = dictionary.windows(OFFSETS.len()).position(|bytes| bytes == OFFSETS) else {
        return false;
    };
    let text = &mut dictionary[begin + OFFSETS.len()..];
    let mut pieces: HashMap<&[u8], (u32, usize), foldhash::fast::RandomState> =
        text.windows(PIECE).map(|piece| (piece, (0, usize::MAX))).collect();
    for (i, sample) in samples.iter().enumerate() {
        for piece in sample.windows(PIECE) {
            if let Some((count, last)) = pieces.get_mut(piece).filter(|(_, last)| *last != i) {
                (*count, *last) = (*count + 1, i);
            }
        }
    }
    let mut shared = vec![false; text.len()];
    for (at, piece) in text.windows(PIECE).enumerate() {
        if pieces[piece].0 >= SHARED {
            shared[at..at + PIECE].fill(true);
        }
    }
    text.iter_mut().zip(shared).filter(|(_, shared)| !shared).for_each(|(byte, _)| *byte = b' ');
    true
}

/// A dictionary of what values have in common, and what it saves of those that it was not trained on. None when
/// they have nothing in common.
fn train(samples: &[Bytes]) -> (Option<Vec<u8>>, Gain) {
    let (mut held_out, mut trained_on) = (Vec::new(), Vec::new());
    for (i, sample) in samples.iter().enumerate() {
        if i % 5 == 0 { held_out.push(sample) } else { trained_on.push(sample) }
    }
    let size = |encoder: Option<&EncoderDictionary<'_>>| -> u64 {
        let sizes =
            held_out.iter().map(|value| pack(value, false, encoder)).map(|p| p.head.len() + p.body.len());
        sizes.sum::<usize>() as u64
    };
    let before = size(None);
    let trained = zstd::dict::from_samples(&trained_on, CAPACITY).ok().filter(|it| it.len() > NUMBER.end);
    let trained = trained.and_then(|mut bytes| {
        give_number(&mut bytes, FIRST);
        if !keep_what_is_shared(&mut bytes, &trained_on) {
            return None;
        }
        let encoder = EncoderDictionary::try_copy(&bytes, LEVEL).ok()?;
        Some((bytes, size(Some(&encoder))))
    });
    let after = trained.as_ref().map_or(before, |(_, after)| *after);
    (trained.map(|(bytes, _)| bytes), Gain { samples: held_out.len() as u32, before, after })
}

/// As [`train`], on a thread of its own: it takes some tenths of a second.
pub(crate) async fn trained(samples: Vec<Bytes>) -> excom_core::Result<(Option<Vec<u8>>, Gain)> {
    let (reply, answer) = oneshot::channel();
    let failed =
        || excom_core::Error::new(excom_core::ErrorKind::Other, "the training of a dictionary failed");
    std::thread::Builder::new()
        .name("excom-dictionary".to_owned())
        .spawn(move || drop(reply.send(train(&samples))))
        .map_err(|cause| failed().because(cause))?;
    answer.await.map_err(|_| failed())
}

/// The dictionaries that this process has used, prepared.
#[derive(Default)]
pub(crate) struct Dictionaries {
    decoders: Remembered<u32, Arc<DecoderDictionary<'static>>>,
    /// The newest of each DAG; none for one that has none.
    encoders: Remembered<Arc<str>, Option<Arc<EncoderDictionary<'static>>>>,
}

type Remembered<K, V> = RwLock<HashMap<K, V, foldhash::fast::RandomState>>;

impl Dictionaries {
    pub(crate) fn decoder(&self, id: u32) -> Option<Arc<DecoderDictionary<'static>>> {
        self.decoders.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    pub(crate) fn learn_decoder(&self, id: u32, decoder: Arc<DecoderDictionary<'static>>) {
        learn(&self.decoders, id, decoder);
    }

    /// The newest dictionary of a DAG, if there is one; none while that is not known.
    pub(crate) fn newest(&self, dag_id: &str) -> Option<Option<Arc<EncoderDictionary<'static>>>> {
        self.encoders.read().unwrap_or_else(PoisonError::into_inner).get(dag_id).cloned()
    }

    pub(crate) fn learn_newest(&self, dag_id: &str, encoder: Option<Arc<EncoderDictionary<'static>>>) {
        learn(&self.encoders, dag_id.into(), encoder);
    }

    /// Forgets which is the newest: there may be newer ones, also of another process.
    pub(crate) fn forget_newest(&self) {
        self.encoders.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn learn<K: Hash + Eq, V>(remembered: &Remembered<K, V>, key: K, value: V) {
    let mut remembered = remembered.write().unwrap_or_else(PoisonError::into_inner);
    if remembered.len() >= REMEMBERED {
        remembered.clear();
    }
    remembered.insert(key, value);
}

impl fmt::Debug for Dictionaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dictionaries")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_tells_nothing_of_a_single_value() {
        let secret = |i: u64| format!("{:016x}", (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let value = |i| {
            let customer = format!(
                r#""customer":{{"passport":"{}","city":"Lisbon"}},"carrier":"rail","state":"ok""#,
                secret(i)
            );
            Bytes::from(format!(
                r#"{{"order_id":{i},"status":"shipped","warehouse":"EU-{}",{customer}}}"#,
                i % 5
            ))
        };
        let samples: Vec<Bytes> = (0..1000).map(value).collect();
        let (dictionary, gain) = train(&samples);
        let dictionary = dictionary.unwrap();
        let holds = |text: &str| dictionary.windows(text.len()).any(|bytes| bytes == text.as_bytes());
        assert!(holds(r#""customer":{"passport":""#) && gain.percent() >= Gain::LEAST, "{gain:?}");
        assert!((0..1000).all(|i| !holds(&secret(i)[..6])));
        assert!(EncoderDictionary::try_copy(&dictionary, LEVEL).is_ok());
    }
}
