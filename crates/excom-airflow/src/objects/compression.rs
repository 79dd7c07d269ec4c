//! The compressions that Airflow's backend can be set to: those of fsspec that have a file name suffix.

use std::fmt;
use std::str::FromStr;

use excom_core::{Error, ErrorKind};

/// How an object is compressed. Airflow tells it by the suffix of the object's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all; no suffix.
    #[default]
    None,
    /// gzip, `.gz`.
    Gzip,
    /// bzip2, `.bz2`.
    Bz2,
    /// A zip archive of one file, `.zip`.
    Zip,
    /// xz, `.xz`.
    Xz,
    /// xz too, `.lzma`: Python writes the same container under both names.
    Lzma,
    /// An LZ4 frame, `.lz4`. Airflow needs the package `lz4` for it.
    Lz4,
    /// Zstandard, `.zst`. Airflow needs Python 3.14 or the package `zstandard` for it.
    Zstd,
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::None, Self::Gzip, Self::Bz2, Self::Zip, Self::Xz, Self::Lzma, Self::Lz4, Self::Zstd];

    /// fsspec's name for it, as `[common.io] xcom_objectstorage_compression` has it; `none` for none.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Bz2 => "bz2",
            Self::Zip => "zip",
            Self::Xz => "xz",
            Self::Lzma => "lzma",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// What object names end in, with its point; empty for none.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Bz2 => ".bz2",
            Self::Zip => ".zip",
            Self::Xz => ".xz",
            Self::Lzma => ".lzma",
            Self::Lz4 => ".lz4",
            Self::Zstd => ".zst",
        }
    }

    /// The compression that a suffix stands for.
    pub(super) fn of_suffix(suffix: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|compression| compression.suffix() == suffix)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compression {
    type Err = Error;

    /// Reads fsspec's name; the empty text is none, as in Airflow's setting.
    fn from_str(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self::None);
        }
        if let Some(compression) = Self::ALL.into_iter().find(|compression| compression.name() == text) {
            return Ok(compression);
        }
        let meant = Self::ALL.into_iter().find(|compression| {
            !text.starts_with('.') && compression.suffix().get(1..) == Some(text)
                || compression.suffix() == text
        });
        let error = Error::new(
            ErrorKind::Configuration,
            format!("`{text}` is no compression of objects that Airflow's backend reads"),
        );
        Err(match meant {
            Some(meant) => {
                error.hint(format!("`{}` is the suffix; the compression is `{meant}`", meant.suffix()))
            }
            None if text == "snappy" => {
                error.hint("fsspec knows no suffix for snappy, so Airflow refuses it")
            }
            None => error.hint(format!("one of {}", Self::ALL.map(Self::name).join(", "))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compression_is_fsspecs_name_and_not_its_suffix() {
        for compression in Compression::ALL {
            assert_eq!(compression.name().parse::<Compression>().unwrap(), compression);
            assert_eq!(Compression::of_suffix(compression.suffix()), Some(compression));
        }
        assert_eq!("".parse::<Compression>().unwrap(), Compression::None);
        for (text, hint) in [
            ("gz", "`.gz` is the suffix; the compression is `gzip`"),
            (".zst", "`.zst` is the suffix; the compression is `zstd`"),
            ("snappy", "fsspec knows no suffix for snappy, so Airflow refuses it"),
            ("brotli", "one of none, gzip, bz2, zip, xz, lzma, lz4, zstd"),
        ] {
            let error = text.parse::<Compression>().unwrap_err();
            assert_eq!((error.kind(), error.hints()), (ErrorKind::Configuration, &[hint.to_owned()][..]));
        }
    }
}
